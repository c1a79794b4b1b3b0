"""Keep in a file of `state_dir` which number each source has in the cids of its pilots.

A pilot keeps its name as long as it lives, so no number changes because sections come, go, move or are renamed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from autopyfactory.config.models import Section
from autopyfactory.errors import OperateError
from autopyfactory.statefile import StateFile

log = logging.getLogger(__name__)

FILE = "positions.json"
_FORM = TypeAdapter(list[tuple[str, str]])


class Positions:
    """The numbers of all sources there ever were, from 0. With `looking` nothing is written down."""

    def __init__(self, state_dir: Path, *, looking: bool = False) -> None:
        self._file = StateFile(state_dir / FILE)
        self._looking = looking

    def of(self, sources: Mapping[str, Section]) -> dict[str, int]:
        """Return the number of each section; a new one has the next that is free, the first ones go by their order."""
        try:
            before = _FORM.validate_json(self._file.read() or b"[]")
        except (OperateError, ValueError) as error:
            said = str(error) if isinstance(error, OperateError) else f"{self._file.path} is damaged, remove it"
            log.error("%s; until then pilots are named by the order of the sections", said)
            return {key: number for number, key in enumerate(sources)}
        present = {_name(section): _place(section) for section in sources.values()}
        numbers = _numbered(before, present)
        after = dict(enumerate(before)) | {number: (name, present[name]) for name, number in numbers.items()}
        if list(after.values()) != before and not self._looking:
            self._keep(list(after.values()))
        return {key: numbers[_name(section)] for key, section in sources.items()}

    def _keep(self, positions: list[tuple[str, str]]) -> None:
        try:
            self._file.write(_FORM.dump_json(positions))
        except (OperateError, OSError) as error:
            log.warning("%s (which number each source has in the names of pilots)", error)


def _numbered(before: Sequence[tuple[str, str]], present: Mapping[str, str]) -> dict[str, int]:
    """Return the number of each section that is present, by its name; `present` and `before` tell its place.

    Living pilots are at a place: a section has its place's number, whatever it was called before, and that of its name
    only where no other section has it.
    """
    numbers: dict[str, int] = {}
    for same in (_same, _renamed, _moved):
        for now in present.items():
            free = (number for number, was in enumerate(before) if number not in numbers.values() and same(was, now))
            if now[0] not in numbers and (number := next(free, None)) is not None:
                numbers[now[0]] = number
    new = (name for name in present if name not in numbers)
    return numbers | {name: len(before) + further for further, name in enumerate(new)}


def _same(was: tuple[str, str], now: tuple[str, str]) -> bool:
    return was == now


def _renamed(was: tuple[str, str], now: tuple[str, str]) -> bool:
    return now[1] != "" and was[1] == now[1]


def _moved(was: tuple[str, str], now: tuple[str, str]) -> bool:
    return was[0] == now[0]


def _name(section: Section) -> str:
    return f"{section.kind} {section.name}"


def _place(section: Section) -> str:
    """Return which batch system a section means, "" where its options do not tell."""
    options: tuple[str, ...] = getattr(section.options, "place", ())
    return json.dumps([section.kind, *(str(getattr(section.options, name)) for name in options)]) if options else ""
