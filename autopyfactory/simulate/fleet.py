"""Models of the sites of a replay: pilots that wait and run, and the batch system as the cycles see it."""

import random
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from autopyfactory.batch import Order
from autopyfactory.batch.pace import Pace
from autopyfactory.batch.source import PilotSource
from autopyfactory.batch.tally import Tally
from autopyfactory.config.fields import Duration, Number, Options, fraction
from autopyfactory.model import Pilot, PilotCounts, PilotState, Snapshot, Submitted
from autopyfactory.simulate.model import VirtualClock

MEMORY = 3600.0
"""Seconds for which a start is remembered."""


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
class Fleet:
    """The pilots of one queue, or of its part for one resource type.

    `waiting` holds those that have not started by number, with the time of their submission, the oldest first;
    `ready` the numbers of those whose start delay is over.
    """

    site: SiteOptions
    cores: int
    dice: random.Random
    waiting: dict[int, float] = field(default_factory=dict)
    ready: deque[int] = field(default_factory=deque)
    running: int = 0
    submitted: int = 0
    wasted: int = 0
    failed: int = 0
    finished: int = 0
    retired: int = 0
    starts: list[float] = field(default_factory=list)
    _bad: float = field(init=False)

    def __post_init__(self) -> None:
        self._bad = float(self.site.failures)

    @property
    def pending(self) -> int:
        """Return how many have not started."""
        return len(self.waiting)

    def submit(self, at: float) -> int:
        """Add a pilot and return its number."""
        self.submitted += 1
        self.waiting[self.submitted] = at
        return self.submitted

    def remove(self, number: int) -> bool:
        """Take away a pilot that waits; tell whether it was still there."""
        if self.waiting.pop(number, None) is None:
            return False
        if number in self.ready:
            self.ready.remove(number)
        self.retired += 1
        return True

    def fails(self) -> bool:
        """Throw the dice whether a pilot fails at its start."""
        return self.dice.random() < self._bad

    def started(self, at: float) -> None:
        """Let the pilot start that has been ready for longest."""
        del self.waiting[self.ready.popleft()]
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


Fleets = Mapping[str, Mapping[str, Fleet]]
"""The fleets by queue, and by resource type where it counts each alone."""


class ModelBatch:
    """The part of a batch object that a cycle of the replay uses.

    `take` lets so many pilots of a queue and resource type wait.
    """

    def __init__(self, fleets: Fleets, take: Callable[[str, str, int], None]) -> None:
        self._fleets = fleets
        self._take = take

    def submit(self, order: Order) -> Submitted:
        """Accept all pilots of an order."""
        self._take(order.queue.name, order.shape.resource_type, order.count)
        return Submitted(order.id, ("",) * order.count)

    def pilots(self, queue: str, states: Container[PilotState]) -> list[Pilot]:
        """Return the pilots of a queue that wait, whatever states are meant."""
        return [
            Pilot(f"{kind}/{number}", queue, PilotState.PENDING, submitted=at)
            for kind, fleet in self._fleets[queue].items()
            for number, at in fleet.waiting.items()
        ]

    def remove_pilots(self, pilots: Iterable[Pilot]) -> int:
        """Remove pilots and return how many were still there."""
        named = ((pilot.queue, *pilot.id.rsplit("/", 1)) for pilot in pilots)
        return sum(self._fleets[queue][kind].remove(int(number)) for queue, kind, number in named)


class ModelSource(PilotSource):
    """A source whose pilots are a model's: always there, always current. One thread uses it."""

    def __init__(self, name: str, batch: ModelBatch, clock: VirtualClock, fleets: Fleets) -> None:
        # Nothing of the real one is wanted but its face: no polls, no ledger, no twin.
        self.name = name
        self.batch = batch  # type: ignore[assignment]  # what cycles call is there
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


def totals(fleets: Fleets, queue: str) -> Counter[str]:
    """Return the sums over a queue's parts, by the names of the fields."""
    found: Counter[str] = Counter()
    for fleet in fleets[queue].values():
        for name in ("pending", "running", "submitted", "wasted", "failed", "finished", "retired"):
            found[name] += getattr(fleet, name)
    return found
