"""Replay demand through the factory's own cycles on a virtual clock, against model sites.

Cycle, Board and the rules are the daemon's; jobs, pilots and time are models (`model`, `fleet`). One heap of events
drives it: jobs that arrive, cycles, pilots that are ready to start or end.
"""

import heapq
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from threading import Event

from autopyfactory.batch.order import make_order
from autopyfactory.board import Board, claim_of
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.cycle import Cycle
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.model import EndedPilot
from autopyfactory.outcomes import Outcomes
from autopyfactory.sched.demand import Claim, job_cores
from autopyfactory.simulate.arrivals import Arrival
from autopyfactory.simulate.fleet import Fleet, ModelBatch, ModelSource, SiteOptions, totals
from autopyfactory.simulate.model import Cell, Jobs, Stream, VirtualClock

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
    retired: int = 0
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


class Replay:
    """One run of one configuration. `sites` tells what the site of a queue is like; `lag` is that of each WMS."""

    def __init__(self, config: Config, sites: Sites, *, lag: float, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.jobs = {queue.options.wms: Jobs(self.clock, lag) for queue in config.queues.values() if queue.options.wms}
        self.courses = {name: Course() for name in config.queues}
        self._config = config
        self._seed = seed
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._never = Event()
        self._fleets = {queue.name: self._parts(queue, sites(queue.name)) for queue in config.queues.values()}
        self._since: dict[tuple[str, str], float] = {}
        self._wanting = {
            (queue.name, part.resource_type): (part, claim_of(part))
            for queue in config.queues.values()
            for part in queue.parts
        }
        self._telling: dict[str, tuple[str, ...]] = {}
        for options in (queue.options for queue in config.queues.values() if queue.options.wms):
            for name in options.wmsqueues:
                self._telling[name] = tuple(dict.fromkeys((*self._telling.get(name, ()), options.wms)))
        self._source = ModelSource("model", ModelBatch(self._fleets, self._submit), self.clock, self._fleets)
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
            course.wasted, course.failed, course.retired = sums["wasted"], sums["failed"], sums["retired"]
        return self.courses

    def _parts(self, queue: QueueConfig, site: SiteOptions) -> dict[str, Fleet]:
        dice = random.Random(f"{self._seed} {queue.name}")  # noqa: S311
        return {part.resource_type: Fleet(site, part.options.cores, dice) for part in queue.parts}

    def _cycle(self, queue: QueueConfig) -> Cycle:
        order = partial(make_order, self._config, endpoint="model")
        wms = self.jobs.get(queue.options.wms)
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
        name = arrival.stream.wmsqueue
        for wms in self._told(arrival.stream):
            jobs = self.jobs[wms]
            if arrival.known:
                jobs.unknown.discard(name)
            else:
                jobs.unknown.add(name)
            if arrival.count:
                if not jobs.activated(name):
                    self._since[wms, name] = self.clock.at
                jobs.arrive(arrival.stream, arrival.count)
            jobs.note(name)
        self._next_arrival(arrivals, end)

    def _told(self, stream: Stream) -> tuple[str, ...]:
        """Return the WMSs that tell of a stream, those alone that a queue asks for it."""
        names = self._telling.get(stream.wmsqueue, ())
        return tuple(name for name in names if stream.wms in ("", name))

    def _do_cycle(self, name: str) -> None:
        cycle, course = self._cycles[name], self.courses[name]
        report = cycle.run(self._never)
        course.cycles += 1
        course.blocked += report.blocked is not None
        self._at(self.clock.at + cycle.queue.options.interval, partial(self._do_cycle, name))

    def _submit(self, queue: str, resource_type: str, count: int) -> None:
        fleets = self._fleets[queue]
        kind = resource_type if resource_type in fleets else next(iter(fleets))
        fleet, now = fleets[kind], self.clock.at
        for _ in range(count):
            ready = partial(self._ready, queue, fleet, fleet.submit(now))
            self._at(now + fleet.about(fleet.site.start_delay), ready)

    def _ready(self, queue: str, fleet: Fleet, number: int) -> None:
        if number in fleet.waiting:
            fleet.ready.append(number)
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
        """Take what fits into a pilot from the jobs of one kind, of those that the queue counts the oldest."""
        options, jobs = part.options, self.jobs[part.options.wms]
        found = [
            (cell.waiting[0][0], name, cell)
            for name in options.wmsqueues
            for cell in jobs.cells.get(name, {}).values()
            if cell.activated and claim.counts(cell.face)
        ]
        if not found:
            return None, 0
        _, name, cell = min(found, key=itemgetter(0))
        cores = cell.face.cores or job_cores(cell.face.resource_type, options.job_cores, None, options.cores)
        came = cell.take(max(1, options.cores // cores))
        self._served(queue, (options.wms, name), came)
        return cell, len(came)

    def _served(self, queue: str, wmsqueue: tuple[str, str], came: list[float]) -> None:
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
            options = self._config.queues[name].options
            jobs = self.jobs.get(options.wms)
            course.demand.append(sum(jobs.activated(one) for one in options.wmsqueues) if jobs else 0)
            course.pending.append(sums["pending"])
            course.running.append(sums["running"])
        if self.clock.at + step <= end:
            self._at(self.clock.at + step, partial(self._sample, step, end))
