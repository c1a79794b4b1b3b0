"""Demand from the configuration, for queues that no WMS stands behind."""

import difflib
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options, Words
from autopyfactory.errors import UnknownWmsqueue
from autopyfactory.model import JobCount, Site, Snapshot


class StaticOptions(Options):
    """`[wms NAME]` with `plugin = static`."""

    activated: int | None = Field(None, ge=0, description="activated jobs of every wmsqueue that `jobs` does not name")
    jobs: Words = Field((), description="activated jobs by wmsqueue, e.g. LOCAL:12, OTHER:3")
    status: str = Field("online", pattern=r"^[a-z]+$", description="site status of every wmsqueue")
    resource_type: str = Field("", description="resource type of the jobs, for queues with resource_types")
    label: str = Field("", description="label of the jobs, for queues with labels")

    @field_validator("jobs")
    @classmethod
    def _readable(cls, jobs: tuple[str, ...]) -> tuple[str, ...]:
        for word in jobs:
            name, _, count = word.rpartition(":")
            if not name.strip() or not (count.strip().isascii() and count.strip().isdigit()):
                raise ValueError(f"'{word}' is no count of jobs, write NAME:12")
        return jobs

    @model_validator(mode="after")
    def _says_something(self) -> "StaticOptions":
        if self.activated is None and not self.jobs:
            raise ValueError("no counts are given, set activated or jobs")
        return self

    @property
    def counts(self) -> dict[str, int]:
        """Return `jobs` as a map."""
        return {name.strip(): int(count) for name, _, count in (word.rpartition(":") for word in self.jobs)}


class Static:
    """A WMS that always says the same; its figures are never old."""

    Options: ClassVar[type[Options]] = StaticOptions

    def __init__(self, name: str, options: StaticOptions, clock: Clock) -> None:
        self.name = f"wms {name}"
        self._options = options
        self._counts = options.counts
        self._clock = clock

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the configured jobs as one cell; contract of `Wms`."""
        self._expect(wmsqueue)
        count = self._counts.get(wmsqueue, self._options.activated or 0)
        now = self._clock.now()
        cell = JobCount(self._options.resource_type, self._options.label, {"activated": count})
        return Snapshot((cell,), self.name, now, now)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return the configured status; contract of `Wms`."""
        self._expect(wmsqueue)
        now = self._clock.now()
        return Snapshot(Site(self._options.status), self.name, now, now)

    def close(self) -> None:
        """Do nothing: no one ever waits here."""

    def _expect(self, wmsqueue: str) -> None:
        if wmsqueue in self._counts or self._options.activated is not None:
            return
        close = difflib.get_close_matches(wmsqueue, self._counts, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "add it to the option jobs"
        raise UnknownWmsqueue(f"{self.name} does not know the wmsqueue '{wmsqueue}', {hint}")
