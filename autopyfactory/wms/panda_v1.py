"""What the v1 API of a PanDA server answers, read with suspicion: pure, and pydantic at the edge.

Every answer is an envelope `{"success": bool, "message": str, "data": ...}`, errors too, with HTTP 200.
An answer that cannot be believed raises ValueError with one line for the admin; one bad entry among good
ones takes out only the wmsqueue it belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from autopyfactory.logs import clean
from autopyfactory.model import JobCount, Site

STATISTICS = "/api/v1/statistics/active_job_detailed_stats_by_site"
SHARES = "/api/v1/statistics/job_stats_by_site_share_and_resource_type?time_window=1"
SITES = "/api/v1/metaconfig/get_site_specs?type=all"

_NOT_READY = {"pending", "defined", "assigned", "waiting", "throttled"}
_TAKEN = {"sent", "starting", "running", "holding", "transferring", "merging"}
_ENDED = {"finished", "failed", "cancelled", "closed"}
KNOWN_STATUSES = frozenset({"activated"} | _NOT_READY | _TAKEN | _ENDED)

_Name = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=0, le=10**9)]
_ByStatus = Annotated[dict[_Name, _Count], Field(min_length=1)]
_ByLabel = Annotated[dict[_Name, _ByStatus], Field(min_length=1)]
_ByType = Annotated[dict[_Name, _ByLabel], Field(min_length=1)]
_Cores = Annotated[int | None, Field(ge=0)]
_CORES: TypeAdapter[int | None] = TypeAdapter(_Cores, config={"strict": True})
_STATISTICS_ENTRY: TypeAdapter[dict[str, dict[str, dict[str, int]]]] = TypeAdapter(_ByType, config={"strict": True})


class NotJson(ValueError):
    """The body is no JSON at all: a Python repr for want of the right `Accept`, HTML, half a body."""


class Envelope(BaseModel):
    """The frame of every answer."""

    model_config = ConfigDict(strict=True)

    success: bool
    message: str = ""
    data: Any = None

    @property
    def maybe_idle(self) -> bool:
        """Tell whether this is what a server says that has no job at all, or has lost its database."""
        failed = not self.success and self.message.startswith("Database failure")
        return self.data == {} and isinstance(self.data, dict) and (failed or self.success)


class _SiteEntry(BaseModel):
    model_config = ConfigDict(strict=True)

    status: str = Field(pattern=r"\S")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Jobs by wmsqueue and cell; `bad` has the wmsqueues whose entry cannot be read, and why."""

    jobs: Mapping[str, tuple[JobCount, ...]]
    bad: Mapping[str, str]
    strange: frozenset[str] = frozenset()
    """Status words that no one knows; their jobs are not counted."""


@dataclass(frozen=True, slots=True)
class SiteTable:
    """Status and cores by wmsqueue, children `QUEUE/RESOURCE_TYPE` included; `bad` as in Statistics.

    `odd` are entries whose number of cores cannot be read, and why; it counts as not told.
    """

    sites: Mapping[str, Site]
    bad: Mapping[str, str]
    odd: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Return every name the table has, readable entry or not."""
        return frozenset(self.sites) | frozenset(self.bad)


def envelope(body: bytes) -> Envelope:
    """Read the frame of an answer. Raises NotJson, or ValueError for JSON of another shape."""
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise NotJson(f"no JSON but '{_excerpt(body)}'" if body else "an empty body") from None
    try:
        return Envelope.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"JSON of another shape, {_first(error)}") from None


def entries(answer: Envelope) -> dict[str, Any]:
    """Return the map of a successful answer. Raises ValueError for a failure, and for an empty map."""
    if not answer.success:
        said = clean(answer.message, 200)
        hint = " (no jobs at all, or its database is down)" if answer.maybe_idle else ""
        raise ValueError(f"success false, '{said}'{hint}")
    if not isinstance(answer.data, dict):
        raise ValueError(f"JSON of another shape, data is {_kind(answer.data)}")
    if not answer.data:
        raise ValueError("an empty map, which says nothing")
    return answer.data


def statistics(data: Mapping[str, Any], *, by_share: bool = False) -> Statistics:
    """Read `{wmsqueue: {resource type: {label: {status: count}}}}`. Raises ValueError if no entry is of that shape.

    By share it is `{wmsqueue: {global share: {resource type: {status: count}}}}`.
    """
    jobs: dict[str, tuple[JobCount, ...]] = {}
    bad: dict[str, str] = {}
    strange: set[str] = set()
    for name, entry in data.items():
        try:
            by_type = _STATISTICS_ENTRY.validate_python(entry)
        except ValidationError as error:
            bad[name] = _first(error)
            continue
        jobs[name] = tuple(
            _cell(outer, inner, by_status, by_share)
            for outer, by_inner in by_type.items()
            for inner, by_status in by_inner.items()
        )
        strange |= {word for by in by_type.values() for counts in by.values() for word in counts} - KNOWN_STATUSES
    _not_all(bad, data)
    return Statistics(jobs, bad, frozenset(strange))


def _cell(outer: str, inner: str, by_status: Mapping[str, int], by_share: bool) -> JobCount:
    known = {word: number for word, number in by_status.items() if word in KNOWN_STATUSES}
    return JobCount(inner, "", known, share=outer) if by_share else JobCount(outer, inner, known)


def site_table(data: Mapping[str, Any]) -> SiteTable:
    """Read `{wmsqueue: {status, coreCount, ...}}`. Raises ValueError if no entry is of that shape."""
    sites: dict[str, Site] = {}
    bad: dict[str, str] = {}
    odd: dict[str, str] = {}
    for name, entry in data.items():
        try:
            site = _SiteEntry.model_validate(entry)
        except ValidationError as error:
            bad[name] = _first(error)
            continue
        try:
            cores = _CORES.validate_python(entry.get("coreCount"))
        except ValidationError as error:
            cores, odd[name] = None, f"coreCount: {_first(error)}"
        sites[name] = Site(site.status.strip().lower(), cores or None)
    _not_all(bad, data)
    return SiteTable(sites, bad, odd)


def http_error(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Say what an answer with another status than 200 means, and what to do."""
    squid = headers.get("X-Squid-Error")
    if squid:
        return f"HTTP {status}, the squid says {clean(squid, 80)}"
    text = f", '{_excerpt(body)}'" if headers.get("Content-Type", "").startswith("text/plain") and body else ""
    if status in {403, 404}:
        return f"HTTP {status}{text}: wrong url, or a server without the v1 API; check the option url"
    if status == 407:
        return "HTTP 407, the proxy wants a user: check the option http_proxy"
    if 300 <= status < 400:
        return f"HTTP {status}, a redirection, which is not followed: check the option url"
    return f"HTTP {status}{text}"


def _not_all(bad: Mapping[str, str], data: Mapping[str, Any]) -> None:
    if len(bad) == len(data):
        name, why = next(iter(bad.items()))
        raise ValueError(f"JSON of another shape, {clean(name, 60)}: {why}")


def _first(error: ValidationError) -> str:
    detail = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(clean(str(part), 40) for part in detail["loc"])
    return f"{where}: {detail['msg'].lower()}" if where else detail["msg"].lower()


def _kind(value: Any) -> str:
    names = {type(None): "null", list: "a list", str: "a text", bool: "a truth value"}
    return names.get(type(value), "a number")


def _excerpt(body: bytes) -> str:
    return clean(body[:400].decode("utf-8", "replace"), 80)
