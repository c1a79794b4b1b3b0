"""A CRIC document: PanDA queues with their computing elements.

Format: a JSON object with one object per PanDA queue, keyed by its name; a list of such objects; or one such
object alone, as PanDA servers publish them per queue. A null, an empty text or a word where a number is
expected is common, and means "not said".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError


class Unusable(Exception):
    """What was read is no CRIC document; the message says why."""


def _text(value: object) -> str:
    """Return a text as one line, for it becomes part of one."""
    said = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return " ".join(line.strip() for line in said.splitlines()).strip()


def _number(value: object) -> int | None:
    """Return a positive whole number, None for anything else: zero means "no limit said"."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        return None
    return number if 0 < number < 10**12 else None


def _objects(value: object) -> list[Any]:
    listed = list(value.values()) if isinstance(value, dict) else value
    return [entry if isinstance(entry, dict) else None for entry in listed] if isinstance(listed, list) else []


def _params(value: object) -> dict[str, str]:
    return {_text(name): _text(text) for name, text in value.items()} if isinstance(value, dict) else {}


Text = Annotated[str, BeforeValidator(_text)]
Count = Annotated[int | None, BeforeValidator(_number)]


class _Tolerant(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CeQueue(_Tolerant):
    """One queue of one CE; an older one has the lower `ce_queue_id`."""

    ce_name: Text = ""
    ce_endpoint: Text = ""
    ce_flavour: Text = ""
    ce_jobmanager: Text = ""
    ce_queue_id: Count = None
    ce_queue_name: Text = ""
    ce_queue_status: Text = ""
    ce_state: Text = ""
    ce_status: Text = ""


class PandaQueue(_Tolerant):
    """One PanDA queue; `maxrss`, `maxmemory`, `memory` are MB, `maxtime` is seconds. None: not said.

    Of the CE queues None is an entry that is no object.
    """

    nickname: Text = ""
    panda_resource: Text = ""
    panda_site: Text = ""
    atlas_site: Text = ""
    vo_name: Text = ""
    cloud: Text = ""
    type: Text = ""
    workflow: Text = ""
    resource_type: Text = ""
    pilot_manager: Text = ""
    state: Text = ""
    site_state: Text = ""
    catchall: Text = ""
    corecount: Count = None
    maxrss: Count = None
    maxmemory: Count = None
    memory: Count = None
    maxtime: Count = None
    transferringlimit: Count = None
    params: Annotated[dict[str, str], BeforeValidator(_params)] = {}
    queues: Annotated[tuple[CeQueue | None, ...], BeforeValidator(_objects)] = ()


Document = Mapping[str, PandaQueue | None]
"""PanDA queues by name; None where the entry is no object."""


def read(content: bytes) -> Document:
    """Return the queues of a document. Raises Unusable for what is none, an empty one included."""
    try:
        paper = json.loads(content)
    except (ValueError, RecursionError) as error:
        start = content[:40].decode("utf-8", "replace").strip()
        raise Unusable(f"it is no JSON ({type(error).__name__}), it begins with {start!r}") from None
    found = {name: _queue(entry) for name, entry in _entries(paper)}
    if not any(found.values()):
        raise Unusable("it holds no PanDA queue")
    return found


def _entries(paper: object) -> Iterator[tuple[str, object]]:
    if isinstance(paper, dict) and isinstance(paper.get("nickname") or paper.get("panda_resource"), str):
        paper = [paper]
    if isinstance(paper, dict):
        if paper.get("success") is False or "errorMessage" in paper:
            raise Unusable("it is an error message")
        yield from ((_text(name), entry) for name, entry in paper.items())
    elif isinstance(paper, list):
        for number, entry in enumerate(paper, 1):
            name = _text(entry.get("nickname") or entry.get("panda_resource")) if isinstance(entry, dict) else ""
            yield name or f"entry {number}", entry
    else:
        raise Unusable("it is neither an object nor a list")


def _queue(entry: object) -> PandaQueue | None:
    try:
        return PandaQueue.model_validate(entry) if isinstance(entry, dict) else None
    except ValidationError:
        return None
