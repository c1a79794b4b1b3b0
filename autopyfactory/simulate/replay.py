"""Replay demand through the factory's own cycles on a virtual clock, against model sites.

Cycle, Board and the rules are the daemon's; jobs, pilots and time are models (`model`). One heap of events drives
it: jobs that arrive, cycles, pilots that are ready to start or end.
"""

import heapq
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

from autopyfactory.batch import Order
from autopyfactory.batch.order import make_order
from autopyfactory.board import Board, claim_of
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.cycle import Cycle
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.model import EndedPilot, Submitted
from autopyfactory.outcomes import Outcomes
from autopyfactory.sched.demand import Claim, job_cores
from autopyfactory.simulate.arrivals import Arrival
from autopyfactory.simulate.model import Cell, Fleet, Jobs, ModelSource, SiteOptions, VirtualClock, totals

SAMPLES = 600

Sites = Callable[[str], SiteOptions]


@dataclass(slots=True)
class Course:
    """What happened to one queue: samples over time, and sums. Times are in seconds from the beginning."""

    times: list[float] = field(default_factory=list)
    demand: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    submitted: int = 0
    finished: int = 0
    wasted: int = 0
    failed: int = 0
    blocked: int = 0
    cycles: int = 0
    first_pilot: list[float] = field(default_factory=list)
    """Seconds from each beginning of a demand to the first pilot that took a job of it."""
    waited: float = 0.0
    """Seconds that all jobs together waited for their pilot."""
    jobs: int = 0


class _NoLedger(Ledger):
    """A model never forgets and never hangs: nothing needs to be written down."""

    def __init__(self) -> None:
        pass

    def open(
        self, queue: str, source: str, count: int, *, waiting: int, in_flight: int, resource_type: str = ""
    ) -> str:
        return "replay"

    def close(self, name: str, outcome: Outcome, count: int) -> None:
        pass


class _Door:
    """What a cycle submits to."""

    def __init__(self, take: Callable[[str, str, int], None]) -> None:
        self._take = take

    def submit(self, order: Order) -> Submitted:
        self._take(order.queue.name, order.shape.resource_type, order.count)
        return Submitted(order.id, ("",) * order.count)


class Replay:
    """One run of one configuration. `sites` tells what the site of a queue is like; `lag` is that of the WMS."""

    def __init__(self, config: Config, sites: Sites, *, lag: float, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.jobs = Jobs(self.clock, lag)
        self.courses = {name: Course() for name in config.queues}
        self._config = config
        self._seed = seed
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._never = Event()
        self._fleets = {queue.name: self._parts(queue, sites(queue.name)) for queue in config.queues.values()}
        self._since: dict[str, float] = {}
        self._wanting = {
            (queue.name, part.resource_type): (part, claim_of(part))
            for queue in config.queues.values()
            for part in queue.parts
        }
        self._source = ModelSource("model", _Door(self._submit), self.clock, self._fleets)
        self._outcomes = Outcomes(self.clock)
        rules = {queue.name: queue.rules for queue in config.queues.values()}
        self._judging = {name for name, one in rules.items() if one.throttle is not None or one.empty_guard is not None}
        self._board = Board(config.factory.max_per_factory)
        self._board.configure(config.queues, (self._source,), config.factory.max_per_factory)
        self._cycles = {name: self._cycle(queue) for name, queue in config.queues.items()}

    def run(self, arrivals: Iterator[Arrival], days: float) -> Mapping[str, Course]:
        """Run to the end and return what happened by queue."""
        end = days * 86400.0
        dice = random.Random(self._seed)  # noqa: S311
        for name, cycle in self._cycles.items():
            self._at(dice.uniform(0.0, cycle.queue.options.interval), partial(self._do_cycle, name))
        self._next_arrival(arrivals, end)
        self._at(0.0, partial(self._sample, end / SAMPLES, end))
        while self._events and self._events[0][0] <= end:
            self.clock.at, _, event = heapq.heappop(self._events)
            event()
        for name, course in self.courses.items():
            sums = totals(self._fleets, name)
            course.submitted, course.finished = sums["submitted"], sums["finished"]
            course.wasted, course.failed = sums["wasted"], sums["failed"]
        return self.courses

    def _parts(self, queue: QueueConfig, site: SiteOptions) -> dict[str, Fleet]:
        dice = random.Random(f"{self._seed} {queue.name}")  # noqa: S311
        return {part.resource_type: Fleet(site, part.options.cores, dice) for part in queue.parts}

    def _cycle(self, queue: QueueConfig) -> Cycle:
        order = partial(make_order, self._config, endpoint="model")
        wms = self.jobs if queue.options.wms else None
        endings = partial(self._outcomes.endings, queue.name, options=queue.rules)
        # Pilots of a model take a job in the moment they start.
        options = queue.options.model_copy(update={"first_job_after": 0.0})
        return Cycle(
            replace(queue, options=options),
            self._source,
            wms,
            self._board,
            _NoLedger(),
            self.clock,
            make_order=order,
            endpoint="model",
            endings=lambda endpoint: endings(""),
        )

    def _at(self, at: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, event))

    def _next_arrival(self, arrivals: Iterator[Arrival], end: float) -> None:
        arrival = next(arrivals, None)
        if arrival is not None and arrival.at <= end:
            self._at(arrival.at, partial(self._arrive, arrival, arrivals, end))

    def _arrive(self, arrival: Arrival, arrivals: Iterator[Arrival], end: float) -> None:
        name = arrival.wmsqueue
        if arrival.known:
            self.jobs.unknown.discard(name)
        else:
            self.jobs.unknown.add(name)
        if arrival.count:
            if not self.jobs.activated(name):
                self._since[name] = self.clock.at
            self.jobs.arrive(name, arrival.resource_type, arrival.label, arrival.count)
        self.jobs.note(name)
        self._next_arrival(arrivals, end)

    def _do_cycle(self, name: str) -> None:
        cycle, course = self._cycles[name], self.courses[name]
        report = cycle.run(self._never)
        course.cycles += 1
        course.blocked += report.blocked is not None
        self._at(self.clock.at + cycle.queue.options.interval, partial(self._do_cycle, name))

    def _submit(self, queue: str, resource_type: str, count: int) -> None:
        fleets = self._fleets[queue]
        kind = resource_type if resource_type in fleets else next(iter(fleets))
        fleet = fleets[kind]
        fleet.pending += count
        fleet.submitted += count
        for _ in range(count):
            self._at(self.clock.at + fleet.about(fleet.site.start_delay), partial(self._ready, queue, kind))

    def _ready(self, queue: str, kind: str) -> None:
        self._fleets[queue][kind].ready += 1
        self._start(queue)

    def _start(self, queue: str) -> None:
        """Start the pilots for which the site has room."""
        fleets = self._fleets[queue]
        for kind, fleet in fleets.items():
            while fleet.ready and sum(one.running for one in fleets.values()) < fleet.site.capacity:
                fleet.started(self.clock.at)
                self._live(queue, kind, fleet)

    def _live(self, queue: str, kind: str, fleet: Fleet) -> None:
        """Let a pilot that starts fail, or take its jobs, or find none."""
        site = fleet.site
        if fleet.fails():
            fleet.failed += 1
            return self._until(site.failure_time, queue, kind, exit_code=1)
        part, claim = self._wanting[queue, kind]
        if not part.options.wms:
            return self._until(fleet.about(site.job_length), queue, kind, count=1)
        cell, count = self._take(queue, part, claim)
        if cell is None:
            fleet.wasted += 1
            return self._until(site.empty_time, queue, kind)
        return self._until(fleet.about(site.job_length), queue, kind, cell, count)

    def _until(
        self, lives: float, queue: str, kind: str, cell: Cell | None = None, count: int = 0, *, exit_code: int = 0
    ) -> None:
        pilot = EndedPilot("", queue, "", exit_code, lived=lives, at=self.clock.at + lives)
        self._at(pilot.at, partial(self._end, pilot, kind, cell, count))

    def _take(self, queue: str, part: QueueConfig, claim: Claim) -> tuple[Cell | None, int]:
        """Take what fits into a pilot from the first cell with jobs that the queue counts."""
        options = part.options
        for cell in self.jobs.cells.get(options.wmsqueue, {}).values():
            if cell.activated and claim.counts(cell.face):
                cores = job_cores(cell.face.resource_type, options.job_cores, None, options.cores)
                came = cell.take(max(1, options.cores // cores))
                self._served(queue, options.wmsqueue, came)
                return cell, len(came)
        return None, 0

    def _served(self, queue: str, wmsqueue: str, came: list[float]) -> None:
        course = self.courses[queue]
        course.jobs += len(came)
        course.waited += sum(self.clock.at - at for at in came)
        since = self._since.pop(wmsqueue, None)
        if since is not None:
            course.first_pilot.append(self.clock.at - since)

    def _end(self, pilot: EndedPilot, kind: str, cell: Cell | None, count: int) -> None:
        if pilot.queue in self._judging:
            self._outcomes.add([pilot])
        fleet = self._fleets[pilot.queue][kind]
        fleet.running -= 1
        fleet.finished += bool(count)
        if cell is not None:
            cell.running -= count
        self._start(pilot.queue)

    def _sample(self, step: float, end: float) -> None:
        for name, course in self.courses.items():
            sums = totals(self._fleets, name)
            course.times.append(self.clock.at)
            course.demand.append(self.jobs.activated(self._config.queues[name].options.wmsqueue))
            course.pending.append(sums["pending"])
            course.running.append(sums["running"])
        if self.clock.at + step <= end:
            self._at(self.clock.at + step, partial(self._sample, step, end))
