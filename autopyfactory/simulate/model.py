"""Models of the outside world for a replay: jobs that wait, as a WMS tells of them, and pilots at a site."""

import random
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pydantic import Field

from autopyfactory.batch.pace import Pace
from autopyfactory.batch.source import PilotSource
from autopyfactory.batch.tally import Tally
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Duration, Number, Options, fraction
from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.model import JobCount, PilotCounts, Site, Snapshot

PERIOD = 30.0
"""Seconds between two tables of the WMS."""

MEMORY = 3600.0


class VirtualClock(Clock):
    """A clock that stands where the replay puts it; in seconds from the replay's beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return self.at


class SiteOptions(Options):
    """What a site is like: a section of the file that `--sites` names, or [DEFAULT] there."""

    start_delay: Duration = Field(
        300.0, ge=0, description="from submission to start, where there is room; +- half of it"
    )
    capacity: int = Field(1000, ge=0, description="pilots that run at the same time, at most")
    failures: Number = Field(fraction("0.01"), ge=0, le=1, description="part of the pilots that fail at their start")
    failure_time: Duration = Field(60.0, ge=0, description="how long such a pilot lasts")
    empty_time: Duration = Field(120.0, ge=0, description="how long a pilot lasts that finds no job")
    job_length: Duration = Field(3600.0, gt=0, description="how long a job runs; +- half of it")


@dataclass(slots=True)
class Cell:
    """The jobs of one resource type and label that wait, oldest first, as [time of arrival, number]."""

    face: JobCount
    waiting: deque[list[float]] = field(default_factory=deque)
    activated: int = 0
    running: int = 0

    def add(self, at: float, count: int) -> None:
        """Let jobs arrive."""
        self.waiting.append([at, count])
        self.activated += count

    def take(self, count: int) -> list[float]:
        """Start at most so many jobs; return the times at which they arrived."""
        came: list[float] = []
        while self.waiting and len(came) < count:
            oldest = self.waiting[0]
            oldest[1] -= 1
            came.append(oldest[0])
            if oldest[1] <= 0:
                self.waiting.popleft()
        self.activated -= len(came)
        self.running += len(came)
        return came


class Jobs:
    """The WMS of a replay: what it tells is `lag` seconds old, and never there while the trace knows nothing."""

    Options: ClassVar[type[Options]] = Options

    def __init__(self, clock: VirtualClock, lag: float) -> None:
        self.lag = lag
        self.cells: dict[str, dict[tuple[str, str], Cell]] = {}
        self.unknown: set[str] = set()
        self._clock = clock
        self._tables: dict[str, deque[tuple[float, tuple[JobCount, ...]]]] = {}

    def arrive(self, wmsqueue: str, kind: str, label: str, count: int) -> None:
        """Add jobs of one cell."""
        cells = self.cells.setdefault(wmsqueue, {})
        cell = cells.setdefault((kind, label), Cell(JobCount(kind, label, {})))
        cell.add(self._clock.at, count)

    def note(self, wmsqueue: str) -> None:
        """Make the table that will be told in `lag` seconds; called after every change."""
        tables = self._tables.setdefault(wmsqueue, deque())
        at = self._clock.at
        if tables and at - tables[-1][0] < PERIOD:
            return
        cells = self.cells.get(wmsqueue, {}).values()
        table = tuple(
            replace(cell.face, by_status={"activated": cell.activated, "running": cell.running}) for cell in cells
        )
        tables.append((at, table))

    def activated(self, wmsqueue: str) -> int:
        """Return the jobs that wait now."""
        return sum(cell.activated for cell in self.cells.get(wmsqueue, {}).values())

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return what the WMS tells now; contract of `Wms`."""
        self._expect(wmsqueue)
        now = self._clock.at
        self.note(wmsqueue)
        tables = self._tables[wmsqueue]
        while len(tables) > 1 and tables[1][0] <= now - self.lag:
            tables.popleft()
        return Snapshot(tables[0][1], "the trace", now, min(now - self.lag, tables[0][0]))

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return a site that is online; contract of `Wms`."""
        self._expect(wmsqueue)
        return Snapshot(Site("online"), "the trace", self._clock.at, self._clock.at)

    def close(self) -> None:
        """Do nothing: no one ever waits here."""

    def _expect(self, wmsqueue: str) -> None:
        if wmsqueue in self.unknown:
            raise SourceError("the trace", "knows nothing of this time")
        if wmsqueue not in self.cells and wmsqueue not in self._tables:
            raise UnknownWmsqueue(f"the trace has no wmsqueue '{wmsqueue}'")


@dataclass(slots=True)
class Fleet:
    """The pilots of one queue, or of its part for one resource type. `ready` are those whose start delay is over."""

    site: SiteOptions
    cores: int
    dice: random.Random
    pending: int = 0
    ready: int = 0
    running: int = 0
    submitted: int = 0
    wasted: int = 0
    failed: int = 0
    finished: int = 0
    starts: list[float] = field(default_factory=list)
    _bad: float = field(init=False)

    def __post_init__(self) -> None:
        self._bad = float(self.site.failures)

    def fails(self) -> bool:
        """Throw the dice whether a pilot fails at its start."""
        return self.dice.random() < self._bad

    def started(self, at: float) -> None:
        """Note that a pilot left pending."""
        self.pending -= 1
        self.ready -= 1
        self.running += 1
        self.starts.append(at)
        if len(self.starts) > 4096 and self.starts[2048] < at - MEMORY:
            del self.starts[:2048]

    def left(self, since: float) -> int:
        """Return how many left pending after a time."""
        return len(self.starts) - bisect_right(self.starts, since)

    def about(self, seconds: float) -> float:
        """Return a time of half to one and a half of this."""
        return seconds * self.dice.uniform(0.5, 1.5)


class ModelSource(PilotSource):
    """A source whose pilots are a model's: always there, always current. One thread uses it."""

    def __init__(self, name: str, batch: object, clock: VirtualClock, fleets: dict[str, dict[str, Fleet]]) -> None:
        # Nothing of the real one is wanted but its face: no polls, no ledger, no twin.
        self.name = name
        self.batch = batch  # type: ignore[assignment]  # submit alone is ever called
        self.closed = False
        self.pace = Pace(None, 0.0, clock)
        self._clock = clock
        self._fleets = fleets

    def snapshot(self) -> Snapshot[Tally]:
        """Return an answer of now; what it holds stands in the fleets."""
        return Snapshot(Tally(), self.name, self._clock.now(), self._clock.now())

    def names(self, queue: str) -> tuple[str, ...]:
        """Return the queue's name: a model knows no former ones."""
        return (queue,)

    def counts(self, queue: str, snapshot: Snapshot[Tally], resource_type: str = "") -> PilotCounts:
        """Return a queue's pilots, or those of a resource type."""
        fleets = self._of(queue, resource_type)
        return PilotCounts(pending=sum(one.pending for one in fleets), running=sum(one.running for one in fleets))

    def doubt(self, queue: str, snapshot: Snapshot[Tally]) -> str:
        """Return "": a model never hides what it took."""
        return ""

    def left(self, queue: str, since: float, waiting: int, resource_type: str = "") -> int:
        """Return how many pilots left pending after a time."""
        return sum(one.left(since) for one in self._of(queue, resource_type))

    def in_flight(self, queue: str = "") -> int:
        """Return the pilots of a queue, or of all."""
        queues = [queue] if queue else self._fleets
        return sum(one.pending + one.running for name in queues for one in self._of(name, ""))

    def close(self) -> None:
        """Do nothing."""

    def _of(self, queue: str, resource_type: str) -> list[Fleet]:
        fleets = self._fleets.get(queue, {})
        return [fleets[resource_type]] if resource_type in fleets else list(fleets.values())


def totals(fleets: Mapping[str, Mapping[str, Fleet]], queue: str) -> Counter[str]:
    """Return the sums over a queue's parts, by the names of the fields."""
    found: Counter[str] = Counter()
    for fleet in fleets[queue].values():
        for name in ("pending", "running", "submitted", "wasted", "failed", "finished"):
            found[name] += getattr(fleet, name)
    return found
