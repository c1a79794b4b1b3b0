"""Keep in a file of `state_dir` which number each source has in the cids of its pilots.

A pilot keeps its name as long as it lives, so no number changes because sections come, go, move or are renamed.
"""

import json
import logging
from collections.abc import Iterable, Mapping
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
        after = _numbered(before, sources.values())
        if after != before and not self._looking:
            self._keep(after)
        numbers = {name: number for number, (name, _) in enumerate(after)}
        return {key: numbers[_name(section)] for key, section in sources.items()}

    def _keep(self, positions: list[tuple[str, str]]) -> None:
        try:
            self._file.write(_FORM.dump_json(positions))
        except (OperateError, OSError) as error:
            log.warning("%s (which number each source has in the names of pilots)", error)


def _numbered(before: Iterable[tuple[str, str]], sections: Iterable[Section]) -> list[tuple[str, str]]:
    """Return name and place of all sources, each at its number; one that is renamed has its place and number still."""
    result, present = list(before), {_name(section): _place(section) for section in sections}
    for name, place in present.items():
        names = [name for name, _ in result]
        renamed = (number for number, (old, at) in enumerate(result) if place and at == place and old not in present)
        number = names.index(name) if name in names else next(renamed, len(result))
        result[number : number + 1] = [(name, place)]
    return result


def _name(section: Section) -> str:
    return f"{section.kind} {section.name}"


def _place(section: Section) -> str:
    """Return which batch system a section means, "" where its options do not tell."""
    options: tuple[str, ...] = getattr(section.options, "place", ())
    return json.dumps([section.kind, *(str(getattr(section.options, name)) for name in options)]) if options else ""
