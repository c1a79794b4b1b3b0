"""Plug-ins for a factory under test: they answer at once, hang until they are let go, or cannot be built."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from autopyfactory import plugins
from autopyfactory.batch import ALL_STATES, Context, Order
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions
from autopyfactory.errors import SourceError
from autopyfactory.model import (
    EndedPilot,
    JobCount,
    Pilot,
    PilotGroup,
    PilotReport,
    PilotState,
    Site,
    Snapshot,
    Submitted,
)
from autopyfactory.report import CycleReport


class Journal:
    """What happened to all parts of one test, and the switches of what may happen."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.closed: list[str] = []
        self.looking: set[str] = set()
        self.removed: list[str] = []
        self.polls: Counter[str] = Counter()
        self.submitted: Counter[str] = Counter()
        self.groups: dict[str, list[PilotGroup]] = {}
        self.told: list[CycleReport] = []
        self.ended: list[EndedPilot] = []
        self.broken: set[str] = set()
        self.hang: set[str] = set()
        self.hangs = threading.Event()
        self.go = threading.Event()
        self.busy = threading.Semaphore(0)


JOURNAL = Journal()


class PartOptions(Options):
    """Options of a fake source."""

    interval: float = 0.0
    max_age: float = 60.0
    deadline: float = 5.0
    colour: str = ""
    max_submit_rate: float | None = None


def _build(name: str) -> None:
    JOURNAL.built.append(name)
    if name in JOURNAL.broken:
        raise RuntimeError(f"{name} cannot be built")


class FakeBatch:
    """Contract of `Batch`."""

    source_kind: ClassVar[str] = "fake"
    SourceOptions: ClassVar[type[Options]] = PartOptions
    QueueOptions: ClassVar[type[Options]] = Options

    def __init__(self, name: str, options: PartOptions, context: Context) -> None:
        _build(name)
        self.name = name
        self.position = context.position
        if context.looking:
            JOURNAL.looking.add(name)
        self.groups = JOURNAL.groups.setdefault(name, [])

    @property
    def endpoint(self) -> str:
        return f"endpoint of {self.name}"

    def poll(self) -> PilotReport:
        JOURNAL.polls[self.name] += 1
        if self.name in JOURNAL.broken:
            raise SourceError(self.name, "down")
        ended = [EndedPilot("1.0", "Q0", "s", 0)] if JOURNAL.polls[self.name] == 1 else []
        return PilotReport(tuple(self.groups), tuple(ended))

    def submit(self, order: Order) -> Submitted:
        if order.queue.name in JOURNAL.hang:
            JOURNAL.hangs.set()
            JOURNAL.go.wait(20)
        self.groups.append(PilotGroup(order.id, order.queue.name, PilotState.PENDING, order.count, "here"))
        JOURNAL.submitted[order.queue.name] += order.count
        return Submitted(order.id, tuple(f"{order.id}.{k}" for k in range(order.count)))

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        return submissions

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        if queue == "Q1":
            raise SourceError(self.name, "will not")
        return [
            Pilot(group.submission, group.queue, group.state)
            for group in self.groups
            if queue in {"", group.queue} and group.state in states
        ]

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        JOURNAL.removed += dict.fromkeys(pilot.queue for pilot in pilots)
        return len(pilots)

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        return 0

    def close(self) -> None:
        JOURNAL.closed.append(self.name)
        if f"close {self.name}" in JOURNAL.broken:
            raise RuntimeError("cannot be closed")


class FakeWms:
    """Contract of `Wms`: every wmsqueue has three jobs."""

    Options: ClassVar[type[Options]] = PartOptions

    def __init__(self, name: str, options: Any, clock: Clock) -> None:
        _build(name)
        self.name = name
        self._clock = clock

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        if wmsqueue in JOURNAL.broken:
            raise ZeroDivisionError("a bug for one queue")
        now = self._clock.now()
        return Snapshot((JobCount("", "", {"activated": 3}),), self.name, now, now)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        return Snapshot(Site("online"), self.name, self._clock.now(), self._clock.now())

    def close(self) -> None:
        JOURNAL.closed.append(self.name)


class FakeMonitor:
    """Contract of `Monitor`."""

    Options: ClassVar[type[Options]] = Options

    def __init__(self, name: str, options: Any, factory: FactoryOptions, clock: Clock) -> None:
        _build(name)
        self.name = name

    @property
    def pilot_url(self) -> str:
        return f"http://{self.name}/api"

    def send(self, reports: Sequence[CycleReport], ended: Sequence[EndedPilot]) -> None:
        JOURNAL.told += reports
        JOURNAL.ended += ended
        if JOURNAL.told and JOURNAL.ended:
            JOURNAL.busy.release()

    def close(self) -> None:
        JOURNAL.closed.append(self.name)


FAKES = {
    "autopyfactory.batch": {"fake": f"{__name__}:FakeBatch"},
    "autopyfactory.wms": {"fake": f"{__name__}:FakeWms"},
    "autopyfactory.monitor": {"fake": f"{__name__}:FakeMonitor"},
}
assert FAKES.keys() == plugins.ALIASES.keys()
