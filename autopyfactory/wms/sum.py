"""Demand that is the sum of other sources: what several WMS have for one queue."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, field_validator

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options, Words
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.wms import Wms


class SumOptions(Options):
    """`[wms NAME]` with `plugin = sum`."""

    of: Words = Field(description="names of other [wms NAME] sections; with NAME:X their wmsqueue X is asked for")

    @field_validator("of")
    @classmethod
    def _names(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not words:
            raise ValueError("names no section, write at least one [wms NAME] by its name")
        for word in words:
            if not word.partition(":")[0].strip():
                raise ValueError(f"'{word}' names no section, write NAME or NAME:WMSQUEUE")
        pairs = [tuple(piece.strip() for piece in word.partition(":")[::2]) for word in words]
        if twice := next((word for word, pair in zip(words, pairs, strict=True) if pairs.count(pair) > 1), ""):
            raise ValueError(f"'{twice}' stands there twice, its jobs would be asked for twice: take one away")
        return words

    @property
    def sections(self) -> tuple[str, ...]:
        """Return the sections that are added."""
        return tuple(dict.fromkeys(word.partition(":")[0].strip() for word in self.of))


class Sum:
    """A WMS that asks others; unknown as soon as one of them is. The first one tells the site."""

    Options: ClassVar[type[Options]] = SumOptions

    def __init__(self, name: str, options: SumOptions, clock: Clock, *, parts: Mapping[str, Wms]) -> None:
        self.name = f"wms {name}"
        pairs = [word.partition(":")[::2] for word in options.of]
        self._parts = [(parts[section.strip()], wmsqueue.strip()) for section, wmsqueue in pairs]

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the cells of all; as old as the oldest; contract of `Wms`."""
        heard = [part.jobs(name or wmsqueue) for part, name in self._parts]
        cells = tuple(cell for found in heard for cell in found.value)
        return Snapshot(cells, self.name, min(at.began for at in heard), min(at.speaks_of for at in heard))

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return what the first one says; contract of `Wms`."""
        part, name = self._parts[0]
        return part.site(name or wmsqueue)

    def shows(self, wmsqueue: str) -> list[str]:
        """Return the commands of all parts that have some."""
        none: list[str] = []
        asked = [getattr(part, "shows", lambda _: none)(name or wmsqueue) for part, name in self._parts]
        return list(dict.fromkeys(line for lines in asked for line in lines))

    def close(self) -> None:
        """Do nothing: the parts are closed by who made them."""
