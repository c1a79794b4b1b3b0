"""One cycle by the daemon's own code, with nothing submitted and nothing written: what `autopyfactory plan` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from autopyfactory.batch import ALL_STATES, Order
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import QueueConfig
from autopyfactory.cycle import Cycle
from autopyfactory.errors import Refused
from autopyfactory.ledger import LedgerView
from autopyfactory.model import JobCount, Pilot, PilotGroup, PilotReport, PilotState, Shape, Site, Snapshot, Submitted
from autopyfactory.report import CycleReport

SOURCE = "the command line"


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs that are given instead of polled: jobs by WMS status, pilots by state, what the site table says."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    pilots: Mapping[PilotState, int] = field(default_factory=dict)
    status: str = "online"


def supposed(queue: QueueConfig, given: Given, clock: Clock, max_per_factory: int | None) -> CycleReport:
    """Return what a queue would do if these were its inputs: fresh, without history, siblings or other queues."""
    ledger = LedgerView(Path("/dev/null"), clock)
    batch = _GivenPilots("", (queue, given), None)
    source = PilotSource(SOURCE, batch, ledger, clock, interval=60.0, max_age=60.0, deadline=1.0)
    board = Board(max_per_factory)
    board.configure({queue.name: queue}, [source], max_per_factory)
    wms = _GivenJobs("", (queue, given), clock) if queue.options.wms else None
    cycle = Cycle(
        queue, source, wms, board, ledger, clock, make_order=_no_order, dry_run=True, endpoints=queue.options.endpoints
    )
    return cycle.run(Event())


class _GivenPilots:
    """Contract of `Batch`."""

    source_kind: ClassVar[str] = "given"
    SourceOptions: ClassVar[type[Options]] = Options
    QueueOptions: ClassVar[type[Options]] = Options
    endpoint = ""

    def __init__(self, name: str, options: Any, context: Any) -> None:
        self._queue, self._given = options

    def poll(self) -> PilotReport:
        # A submission that is older than any process: one of an earlier factory.
        pilots = {state: count for state, count in self._given.pilots.items() if count}
        shape = Shape(resource_type=_type(self._queue)).tag()
        groups = (PilotGroup("0", self._queue.name, state, count, shape=shape) for state, count in pilots.items())
        return PilotReport(tuple(groups))

    def submit(self, order: Order) -> Submitted:
        raise Refused("a plan submits nothing")

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        return submissions

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        return []

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        return 0

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        return 0

    def close(self) -> None:
        pass


class _GivenJobs:
    """Contract of `Wms`: all jobs are in one cell, of the queue's own resource type and label where it names one.

    Of a queue that counts each type alone they are of the first.
    """

    Options: ClassVar[type[Options]] = Options

    def __init__(self, name: str, options: Any, clock: Clock) -> None:
        self._queue, self._given = options
        self._clock = clock

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        options = self._queue.options
        return self._now((JobCount(_type(self._queue), _only(options.labels), self._given.jobs),))

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        return self._now(Site(self._given.status))

    def close(self) -> None:
        pass

    def _now(self, value: Any) -> Snapshot[Any]:
        return Snapshot(value, SOURCE, self._clock.now(), self._clock.now())


def _type(queue: QueueConfig) -> str:
    return next(iter(queue.by_type), _only(queue.options.resource_types))


def _only(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ""


def _no_order(queue: QueueConfig, name: str, count: int, at: float) -> Order:
    raise Refused("a plan submits nothing")
