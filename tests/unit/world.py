"""A virtual world: a clock that moves when told, a batch system and a WMS with switchable faults.

The factory's own parts (Cycle, PilotSource, Ledger, Board) are the real ones; they are driven synchronously.
Pilots that start take a job of their wmsqueue, at once or after a while, so every pilot that finds none was submitted
for nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from autopyfactory.assess import Standstill
from autopyfactory.batch import ALL_STATES, Order
from autopyfactory.batch.order import shape_of
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.cycle import Cycle
from autopyfactory.errors import Ambiguous, Refused, SourceError, UnknownWmsqueue
from autopyfactory.ledger import Ledger
from autopyfactory.memory import Memory
from autopyfactory.model import (
    Downtime,
    EndedPilot,
    JobCount,
    PilotGroup,
    PilotReport,
    PilotState,
    Site,
    Snapshot,
    Submitted,
    Trouble,
    tagged_type,
)
from autopyfactory.model import Pilot as Listed
from autopyfactory.outcomes import Outcomes
from autopyfactory.report import CycleReport
from autopyfactory.sched.options import RuleOptions

START = 1_700_000_000.0
POLL = 10.0
MAX_AGE = 120.0
DEADLINE = 20.0
WMS_MAX_AGE = 360.0
CALL = 0.001
"""Seconds that a submission takes on its way there and back: no two things happen at one instant."""


class ManualClock(Clock):
    """A clock that stands still until it is moved."""

    def __init__(self, at: float = START) -> None:
        super().__init__()
        self.at = at

    def now(self) -> float:
        return self.at


def make_queue(
    name: str,
    *,
    rules: Mapping[str, Any] | None = None,
    by_type: Mapping[str, Mapping[str, object]] | None = None,
    **options: Any,
) -> QueueConfig:
    given = {"backend": "fork", "wms": "panda", "wmsqueue": name, "first_job_after": 0.0, **options}
    return QueueConfig(name, QueueOptions(**given), Options(), RuleOptions(**(rules or {})), by_type=by_type or {})


def order_at_the_pool(queue: QueueConfig, name: str, count: int, at: float) -> Order:
    return replace(order_of(queue, name, count, at), endpoint="pool")


def order_of(queue: QueueConfig, name: str, count: int, at: float) -> Order:
    return Order(name, queue, "ce", shape_of(queue), count, Path("/bin/true"), Path("/nowhere"))


@dataclass(slots=True)
class Pilot:
    cid: str
    submission: str
    queue: str
    wmsqueue: str
    host: str
    born: float
    visible: float
    shape: str
    state: PilotState = PilotState.PENDING
    started: float = 0.0
    since: float = 0.0
    ended: float = 0.0
    code: int = 0
    endpoint: str = "pool"
    fault: str = ""
    fetched: bool = False

    def may_take(self, name: str) -> bool:
        """Tell whether it takes jobs of a wmsqueue, or of a type there; without a type of its own it takes any."""
        wmsqueue, _, kind = name.partition(":")
        return wmsqueue in self.wmsqueue.split(", ") and (not kind or tagged_type(self.shape) in ("", kind))

    def told(self) -> EndedPilot:
        lived = self.ended - (self.started or self.ended)
        return EndedPilot(
            self.cid,
            self.queue,
            self.submission,
            self.code,
            self.fault,
            endpoint=self.endpoint,
            node="n1",
            lived=lived,
            at=self.ended,
        )


class FakeWms:
    """Jobs by wmsqueue, or by wmsqueue and resource type (`Q:SCORE`).

    The published table is made anew every `period` seconds, unless it is frozen. It never claims to be younger
    than it is.
    """

    Options: ClassVar[type[Options]] = Options

    def __init__(self, clock: Clock, *, lag: float = 0.0, period: float = 0.0) -> None:
        self._clock = clock
        self.lag = lag
        self.period = period
        self.activated: dict[str, int] = {}
        self.status = "online"
        self.downtimes: tuple[Downtime, ...] = ()
        self.kind = ("", "")
        """Resource type and label of all jobs."""
        self.share = ""
        """Their global share."""
        self.statuses: dict[str, str] = {}
        self.frozen = self.down = self.typo = False
        self._table: dict[str, int] = {}
        self._made = float("-inf")
        self.pools: list[Pool] = []

    def tick(self) -> None:
        """Publish the table when it is time."""
        if not self.frozen and self._clock.now() >= self._made + self.period:
            self._table, self._made = dict(self.activated), self._clock.now()

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        self._may_fail(wmsqueue)
        now = self._clock.now()
        speaks_of = min(now - self.lag, self._made)
        if now - speaks_of > WMS_MAX_AGE:
            raise SourceError("wms panda", "the figures are too old")
        places = {name: name.partition(":")[::2] for name in self._table}
        typed = [name for name, (queue, kind) in places.items() if kind and queue == wmsqueue]
        cells = tuple(JobCount(places[name][1], "", {"activated": self._table[name]}) for name in typed) or (
            JobCount(*self.kind, {"activated": self._table.get(wmsqueue, 0)}, share=self.share),
        )
        return Snapshot(cells, "wms panda", now, speaks_of)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        self._may_fail(wmsqueue)
        status = self.statuses.get(wmsqueue, self.status)
        site = Site(status, downtimes=self.downtimes)
        return Snapshot(site, "wms panda", self._clock.now(), self._clock.now())

    def close(self) -> None:
        pass

    def _may_fail(self, wmsqueue: str) -> None:
        if self.down:
            raise SourceError("wms panda", "503")
        if self.typo:
            raise UnknownWmsqueue(f"wms panda does not know the wmsqueue '{wmsqueue}'")


@dataclass
class Pool:
    """A batch system. Several factories may use it, each through a `PoolBatch` of its own."""

    clock: ManualClock
    wms: FakeWms
    start_after: float | None = 30.0
    fetch_after: float = 0.0
    """Seconds from a pilot's start until it asks for a job."""
    run_for: float = 600.0
    code: int = 0
    hold: bool = False
    down: bool = False
    hidden: bool = False
    hidden_from: float = float("inf")
    half: bool = False
    visible_after: float = 0.0
    refusing: set[str] = field(default_factory=set)
    answer: str = "ok"
    slots: int = 1_000_000
    troubles: dict[str, Trouble] = field(default_factory=dict)
    pilots: dict[str, Pilot] = field(default_factory=dict)
    gone: dict[str, Pilot] = field(default_factory=dict)
    submissions: Counter[str] = field(default_factory=Counter)
    idle: int = 0
    served: int = 0
    released: int = 0

    def tick(self) -> None:
        """Let time pass over all pilots."""
        now = self.clock.now()
        running = sum(pilot.state is PilotState.RUNNING for pilot in self.pilots.values())
        for pilot in list(self.pilots.values()):
            if pilot.state is PilotState.PENDING and self.hold:
                pilot.state, pilot.since = PilotState.HELD, now
            elif pilot.state is PilotState.PENDING and self._may_start(pilot, now) and running < self.slots:
                running += 1
                self._start(pilot, now)
            elif pilot.state is PilotState.RUNNING:
                self._go_on(pilot, now)

    def accept(self, order: Order, host: str, count: int) -> tuple[str, ...]:
        queue = order.queue
        if self.submissions[order.id]:
            raise AssertionError(f"the id {order.id} was used twice")
        cids = tuple(f"{order.id}.{k}" for k in range(count))
        now = self.clock.now()
        for cid in cids:
            wmsqueue = queue.options.wmsqueue
            shown = now + self.visible_after
            self.pilots[cid] = Pilot(
                cid, order.id, queue.name, wmsqueue, host, now, shown, order.shape.tag(), endpoint=order.endpoint
            )
        self.submissions[order.id] += count
        self.tick()
        return cids

    def remove_held(self) -> None:
        """End the fault "held" as an admin does."""
        self.hold = False
        for cid in [cid for cid, pilot in self.pilots.items() if pilot.state is PilotState.HELD]:
            self.remove(cid)

    def remove(self, cid: str) -> bool:
        if cid not in self.pilots:
            return False
        self.pilots[cid].fault = "removed"
        self._end(self.pilots[cid], self.clock.now(), 0)
        return True

    def release(self, cid: str) -> bool:
        pilot = self.pilots.get(cid)
        if pilot is None or pilot.state is not PilotState.HELD:
            return False
        pilot.state, pilot.since = PilotState.PENDING, self.clock.now()
        self.released += 1
        return True

    def shown(self) -> list[Pilot]:
        if self.hidden:
            return []
        now = self.clock.now()
        seen = [pilot for pilot in self.pilots.values() if now >= pilot.visible and pilot.born < self.hidden_from]
        return [pilot for k, pilot in enumerate(seen) if not self.half or k % 2]

    @property
    def in_flight(self) -> int:
        return len(self.pilots)

    @property
    def submitted(self) -> int:
        return sum(self.submissions.values())

    def count(self, queue: str, *states: PilotState) -> int:
        return sum(p.queue == queue and (not states or p.state in states) for p in self.pilots.values())

    def _may_start(self, pilot: Pilot, now: float) -> bool:
        return self.start_after is not None and now >= pilot.born + self.start_after

    def _start(self, pilot: Pilot, now: float) -> None:
        pilot.state, pilot.started, pilot.since = PilotState.RUNNING, now, now
        self._go_on(pilot, now)

    def _go_on(self, pilot: Pilot, now: float) -> None:
        fetches = pilot.started + self.fetch_after
        if not pilot.fetched and now >= fetches:
            self._fetch(pilot, now)
        elif pilot.fetched and now >= fetches + self.run_for:
            self._end(pilot, now, self.code)

    def _fetch(self, pilot: Pilot, now: float) -> None:
        if name := self._job_for(pilot):
            self.wms.activated[name] -= 1
            self.served += 1
            pilot.fetched = True
            if not self.run_for:
                self._end(pilot, now, self.code)
        else:
            self.idle += 1
            self._end(pilot, now, 0)

    def _job_for(self, pilot: Pilot) -> str:
        """Return the wmsqueue or type whose job a pilot takes: where several have some, what others leave most of."""
        there = [name for name, jobs in self.wms.activated.items() if jobs and pilot.may_take(name)]
        if len(there) < 2:
            return there[0] if there else ""
        waiting = [other for pool in self.wms.pools for other in pool.pilots.values() if other is not pilot]
        lacking = Counter({name: self.wms.activated[name] for name in there})
        for other in waiting:
            mine = [name for name in there if other.may_take(name)]
            coming = other.state is PilotState.PENDING or (other.state is PilotState.RUNNING and not other.fetched)
            if coming and len(mine) == 1:
                lacking[mine[0]] -= 1
        return lacking.most_common(1)[0][0]

    def _end(self, pilot: Pilot, now: float, code: int) -> None:
        pilot.ended, pilot.code = now, code
        self.gone[pilot.cid] = self.pilots.pop(pilot.cid)


class PoolBatch:
    """One factory's way to a pool; contract of `Batch`."""

    source_kind: ClassVar[str] = "pool"
    SourceOptions: ClassVar[type[Options]] = Options
    QueueOptions: ClassVar[type[Options]] = Options

    def __init__(self, name: str, options: Pool, context: Any) -> None:
        self.pool = options
        self.host = str(context)
        self.polls = 0
        self.heard = float("-inf")
        self.at_crash: Callable[[], None] = lambda: None
        self._told: set[str] = set()

    @property
    def endpoint(self) -> str:
        return "pool"

    def poll(self) -> PilotReport:
        self.polls += 1
        self._may_fail()
        self.heard = self.pool.clock.now()
        groups = Counter((p.submission, p.queue, p.state, p.host, p.endpoint, p.shape) for p in self.pool.shown())
        news = [pilot for cid, pilot in self.pool.gone.items() if cid not in self._told]
        self._told.update(pilot.cid for pilot in news)
        return PilotReport(
            tuple(PilotGroup(*key[:3], count, *key[3:]) for key, count in groups.items()),
            tuple(pilot.told() for pilot in news),
            dict(self.pool.troubles),
        )

    def submit(self, order: Order) -> Submitted:
        self.pool.clock.at += CALL
        try:
            return self._submit(order)
        finally:
            self.pool.clock.at += CALL

    def _submit(self, order: Order) -> Submitted:
        answer, pool = self.pool.answer, self.pool
        assert pool.clock.now() <= self.heard + MAX_AGE, "submitted while the pilots were unknown"
        if answer == "refused" or pool.down or order.endpoint in pool.refusing:
            raise Refused("the pool says no")
        if answer == "lost":
            raise Ambiguous("time-out")
        if answer == "bug":
            raise ZeroDivisionError("a bug of the plug-in")
        if answer == "partial" and order.count > 1:
            raise Refused("full", cids=pool.accept(order, self.host, order.count // 2))
        cids = pool.accept(order, self.host, order.count)
        if answer == "ambiguous":
            raise Ambiguous("time-out")
        if answer == "crash":
            self.at_crash()
            raise SystemExit
        return Submitted(order.id, cids)

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        self._may_fail()
        alive = {pilot.submission for pilot in self.pool.pilots.values()}
        past = {pilot.submission for pilot in self.pool.gone.values()}
        return frozenset(name for name in submissions if name in past - alive)

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Listed]:
        self._may_fail()
        return [
            Listed(
                p.cid,
                p.queue,
                p.state,
                p.cid,
                p.submission,
                p.endpoint,
                p.born,
                p.since or p.born,
                hold_reason="x" if p.state is PilotState.HELD else "",
            )
            for p in self.pool.shown()
            if queue in {"", p.queue} and p.state in states
        ]

    def remove_pilots(self, pilots: Sequence[Listed]) -> int:
        self._may_fail()
        return sum(self.pool.remove(pilot.id) for pilot in pilots)

    def release_pilots(self, pilots: Sequence[Listed]) -> int:
        self._may_fail()
        return sum(self.pool.release(pilot.id) for pilot in pilots)

    def close(self) -> None:
        pass

    def _may_fail(self) -> None:
        if self.pool.down:
            raise SourceError("pool", "no answer")


class World:
    """One factory over one pool and one WMS, with queues that are driven one cycle at a time.

    A second factory on the same pool is a second world with the first one's `pool`. `further` are the names of other
    pools, for queues that name one as their `source`.
    """

    def __init__(
        self,
        folder: Path,
        queues: Sequence[QueueConfig],
        *,
        lag: float = 0.0,
        period: float = 0.0,
        maximum: int | None = None,
        host: str = "here",
        pool: Pool | None = None,
        further: Sequence[str] = (),
    ) -> None:
        self.clock = pool.clock if pool else ManualClock()
        self.wms = pool.wms if pool else FakeWms(self.clock, lag=lag, period=period)
        self.pool = pool or Pool(self.clock, self.wms)
        self.pools = {"pool": self.pool} | {name: Pool(self.clock, self.wms) for name in further}
        self.wms.pools = list(self.pools.values())
        self.host = host
        self.path = folder / f"{host}.jsonl"
        self.queues = {queue.name: queue for queue in queues}
        self.maximum = maximum
        self.standstills: dict[str, Standstill] = {}
        self.downtimes: dict[str, tuple[Downtime, ...]] = {}
        self.restart()

    def restart(self) -> None:
        """Forget all but the file, as a process that is killed and started again does."""
        self.ledger = Ledger(self.path, self.clock)
        self._connect()
        self._fill({})

    def crash(self, name: str) -> None:
        """Be killed between the submission of a queue and its answer, if it submits at all, and start again."""
        files: list[bytes] = []
        batch, pool = self.source_of(name).batch, self.pools[self.source_of(name).name]
        assert isinstance(batch, PoolBatch)
        batch.at_crash = lambda: files.append(self.path.read_bytes())
        before, pool.answer = pool.answer, "crash"
        try:
            self.cycle(name)
        except SystemExit:
            self.path.write_bytes(files[0])
        pool.answer = before
        self.restart()

    def reload(self, queues: Sequence[QueueConfig]) -> None:
        """Go over to other queues; the source and its history stay."""
        memories = {name: cycle.memory for name, cycle in self.cycles.items()}
        self.queues = {queue.name: queue for queue in queues}
        self._fill(memories)

    def cycle(self, *names: str) -> dict[str, CycleReport]:
        """Run one cycle of the named queues, or of all."""
        stopping = Event()
        return {name: self.cycles[name].run(stopping) for name in names or self.cycles}

    def advance(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass over jobs and pilots."""
        while seconds > 0:
            self.clock.at += min(step, seconds)
            seconds -= step
            for pool in self.pools.values():
                pool.tick()
            self.wms.tick()

    def run(self, seconds: float, interval: float = 30.0) -> None:
        """Run all queues' cycles every `interval` for a while."""
        for _ in range(int(seconds // interval)):
            self.cycle()
            self.advance(interval)

    def activate(self, wmsqueue: str, jobs: int) -> None:
        """Let users submit jobs, and the WMS publish that."""
        self.wms.activated[wmsqueue] = self.wms.activated.get(wmsqueue, 0) + jobs
        self.wms.tick()

    def source_of(self, name: str) -> PilotSource:
        """Return the source that a queue submits through."""
        return self.sources.get(self.queues[name].options.source, self.source)

    def _connect(self) -> None:
        self.outcomes = Outcomes(self.clock)
        self.sources = {name: self._source(name, pool) for name, pool in self.pools.items()}
        self.source = self.sources["pool"]
        batch = self.source.batch
        assert isinstance(batch, PoolBatch)
        self.batch = batch
        self.board = Board(self.maximum, self.ledger.most_waiting)

    def _source(self, name: str, pool: Pool) -> PilotSource:
        return PilotSource(
            name,
            PoolBatch(name, pool, self.host),
            self.ledger,
            self.clock,
            interval=POLL,
            max_age=MAX_AGE,
            deadline=DEADLINE,
            host=self.host,
            on_ended=self.outcomes.add,
        )

    def _fill(self, memories: Mapping[str, Memory]) -> None:
        self.ledger.adopt({old: name for name, queue in self.queues.items() for old in queue.options.formerly})
        for source in self.sources.values():
            source.adopt({name: queue.options.formerly for name, queue in self.queues.items()})
        self.board.configure(self.queues, self.sources.values(), self.maximum)
        self.outcomes.keep(self.queues)
        self.cycles = {name: self._cycle(queue) for name, queue in self.queues.items()}
        for name, memory in memories.items():
            if name in self.cycles:
                self.cycles[name].memory = memory

    def _cycle(self, queue: QueueConfig) -> Cycle:
        return Cycle(
            queue,
            self.source_of(queue.name),
            self.wms,
            self.board,
            self.ledger,
            self.clock,
            make_order=order_at_the_pool,
            standstill=self._standstill,
            endpoint="pool",
            downtimes=lambda: self.downtimes.get(queue.name, ()),
            endings=lambda place: self.outcomes.endings(queue.name, place, queue.rules),
            endpoints=queue.options.endpoints,
        )

    def _standstill(self, queue: str) -> Standstill | None:
        if twin := self.source_of(queue).twin:
            return Standstill(twin, cause="twin")
        return self.standstills.get(queue)
