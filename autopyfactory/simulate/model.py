"""Models for a replay: time, and jobs that wait, as a WMS tells of them."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.model import JobCount, Site, Snapshot

PERIOD = 30.0
"""Seconds between two tables of the WMS."""


class VirtualClock(Clock):
    """A clock that stands where the replay puts it; in seconds from the replay's beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return self.at


@dataclass(frozen=True, slots=True)
class Stream:
    """Jobs of one kind at one wmsqueue; `wms` is the section that tells of them, "" stands for each that may."""

    wmsqueue: str
    resource_type: str = ""
    label: str = ""
    wms: str = ""
    cores: int = 0
    share: str = ""

    @property
    def face(self) -> JobCount:
        """Return the cell of the statistics in which they are counted, without a number."""
        return JobCount(self.resource_type, self.label, {}, cores=self.cores, share=self.share)


@dataclass(slots=True)
class Cell:
    """The jobs of one kind that wait, oldest first, as [time of arrival, number]."""

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
    """A WMS of a replay: what it tells is `lag` seconds old, and never there while the trace knows nothing."""

    Options: ClassVar[type[Options]] = Options

    def __init__(self, clock: VirtualClock, lag: float) -> None:
        self.lag = lag
        self.cells: dict[str, dict[Stream, Cell]] = {}
        self.unknown: set[str] = set()
        self._clock = clock
        self._tables: dict[str, deque[tuple[float, tuple[JobCount, ...]]]] = {}

    def arrive(self, stream: Stream, count: int) -> None:
        """Add jobs of one kind."""
        cells = self.cells.setdefault(stream.wmsqueue, {})
        if stream not in cells:
            cells[stream] = Cell(stream.face)
        cells[stream].add(self._clock.at, count)

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
