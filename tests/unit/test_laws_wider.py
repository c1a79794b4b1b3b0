"""The laws under attack where more is configured: endpoints, types, several wmsqueues, guards, two sources, renames."""

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from autopyfactory.config.models import HeldOptions, QueueConfig
from autopyfactory.errors import SourceError
from autopyfactory.model import Downtime, PilotState, Trouble
from autopyfactory.report import CycleReport
from autopyfactory.sched import RULES
from autopyfactory.sched.rule import Kind
from tests.unit.test_laws import LONG, Attack
from tests.unit.world import MAX_AGE, Pilot, Pool, World, make_queue

MOST, MOST_WAITING = 20, 9
TYPES = {"SCORE": {"cores": 1}, "MCORE": {"cores": 1}}
LAYOUTS: dict[str, dict[str, dict[str, Any]]] = {
    "endpoints": {
        "A": {"wmsqueue": "X", "endpoint": "e1, e2"},
        "B": {"wmsqueue": "X", "weight": 2},
        "C": {"wmsqueue": "X", "endpoint": "e2"},
    },
    "types": {
        "S": {"wmsqueue": "T", "by_type": TYPES, "resource_types": "SCORE, MCORE"},
        "T": {"wmsqueue": "T", "resource_types": "SCORE"},
        "U": {"wmsqueue": "T", "resource_types": "MCORE", "weight": 3},
    },
    "any type": {
        "S": {"wmsqueue": "T", "by_type": TYPES, "resource_types": "SCORE, MCORE"},
        "T": {"wmsqueue": "T", "resource_types": "SCORE"},
        "U": {"wmsqueue": "T"},
    },
    "several": {
        "A": {"wmsqueue": "X"},
        "M": {"wmsqueue": "X, Y"},
        "Y": {"wmsqueue": "Y", "endpoint": "e1, e2"},
    },
}
JOBS = {
    "endpoints": ["X"],
    "types": ["T:SCORE", "T:MCORE"],
    "any type": ["T:SCORE", "T:MCORE"],
    "several": ["X", "Y"],
}
CHOOSY = {"any type", "several"}
"""Here a pilot may take a job that another one was sent for, and leave it one that the other cannot take."""
GUARDS = {
    "throttle": 0.5,
    "throttle.probe": 60,
    "throttle.shorter_than": 30,
    "throttle.window": 600,
    "empty_guard": 0.5,
    "empty_guard.probe": 60,
    "empty_guard.shorter_than": 30,
    "empty_guard.window": 600,
}
RULES_OF_ALL = {"max_pilots": MOST, "max_held": 3, "max_held.probe": 60}
HELD = {
    action: HeldOptions(match="x", action=action, times=1, after=30, rate=1)
    for action in ("leave", "release", "remove", "pause")
}
WHICH = st.integers(0, 2)
CHANGES = st.sampled_from(["renamed", "moved", "starved", "favoured"])
MORE_FAULTS = st.sampled_from(
    [
        "other pool",
        *(f"{kind} {place}" for kind in ("refuses", "trouble") for place in ("e1", "e2", "pool")),
        *(f"downtime {seconds}" for seconds in (0, 60)),
        *(f"first {status}" for status in ("offline", "brokeroff")),
        *(f"code {code}" for code in (1, 82)),
    ]
)


class Wider(Attack):
    """More that is configured, and more that goes wrong.

    A pilot may be left without a job by a user who takes back a job, or by one that goes on after it was held;
    by nothing else.
    """

    @initialize(
        layout=st.sampled_from(sorted(LAYOUTS)),
        lag=st.sampled_from([0.0, 130.0]),
        maximum=st.sampled_from([None, 25]),
        start_after=st.sampled_from([0.0, 20.0, 300.0]),
        run_for=st.sampled_from([0.0, 100.0, 2000.0]),
        fetch_after=st.sampled_from([0.0, 50.0]),
        guarded=st.booleans(),
        held=st.sampled_from(sorted(HELD)),
        work=st.lists(st.integers(1, 12), min_size=1, max_size=2),
    )
    def begin(
        self,
        layout: str,
        lag: float,
        maximum: int | None,
        start_after: float,
        run_for: float,
        fetch_after: float,
        guarded: bool,
        held: str,
        work: list[int],
    ) -> None:
        self.folder = TemporaryDirectory()
        self.layout, self.rows = LAYOUTS[layout], {"x": HELD[held]}
        self.work, self.choosy = JOBS[layout], layout in CHOOSY
        self.slots: dict[str, QueueConfig] = {}
        for slot, options in self.layout.items():
            rules: dict[str, Any] = RULES_OF_ALL | (GUARDS if guarded else {})
            rules |= {"max_pending": MOST_WAITING} if slot in "BTY" else {}
            rules |= {"retire": 1, "retire.after": 30} if slot in "AU" else {}
            age = 400 if slot in "BSM" else None
            fetches = 60.0 if fetch_after else 0.0
            self.slots[slot] = make_queue(slot, rules=rules, max_pending_age=age, first_job_after=fetches, **options)
        self.world = World(
            Path(self.folder.name),
            list(self.slots.values()),
            lag=lag,
            period=min(lag, 30.0),
            maximum=maximum,
            further=["there"],
        )
        for pool in self.world.pools.values():
            pool.start_after, pool.run_for, pool.fetch_after = start_after, run_for, fetch_after
        self.jobs = self.excused = 0
        self.at_there = False
        for number, jobs in enumerate(work):
            self.users_submit(number, jobs)
        self.all_cycle_after(30.0)

    @property
    def target(self) -> Pool:
        return self.world.pools["there" if self.at_there else "pool"]

    @rule(which=WHICH, jobs=st.integers(1, 12))
    def users_submit(self, which: int, jobs: int) -> None:
        self.jobs += jobs
        self.world.activate(self.work[which % len(self.work)], jobs)

    @rule(which=st.lists(WHICH, min_size=1, max_size=3))
    def some_cycle(self, which: list[int]) -> None:
        for number in which:
            self.cycle(self.name(number))

    @rule(seconds=st.sampled_from([0.0, 11.0, 30.0, 150.0]))
    def all_cycle_after(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.look()
        for name in self.world.cycles:
            self.cycle(name)

    @rule(which=WHICH, again=st.sampled_from([0.0, 15.0, 60.0]))
    def killed_while_submitting(self, which: int, again: float) -> None:
        if not self.hides:
            before, elsewhere = self.submitted, self.silent_elsewhere(self.name(which))
            self.world.crash(self.name(which))
            self.excused += (self.submitted - before) * elsewhere
            self.pass_time(again)

    @rule(which=WHICH, how=CHANGES)
    def reloaded(self, which: int, how: str) -> None:
        slot = list(self.slots)[which]
        options = self.slots[slot].options
        former = (*options.formerly, self.slots[slot].name)
        changes: dict[str, dict[str, Any]] = {
            "renamed": {"name": f"{slot}{len(former)}", "formerly": former},
            "moved": {"source": "" if options.source else "there"},
            "starved": {"weight": Fraction(0)},
            "favoured": {"weight": Fraction(3)},
        }
        self.change(slot, **changes[how])

    @rule(which=WHICH, fault=MORE_FAULTS)
    def something_else_fails(self, which: int, fault: str) -> None:
        pool, wms, now = self.target, self.world.wms, self.world.clock.at
        kind, _, what = fault.partition(" ")
        if fault == "other pool":
            self.at_there = not self.at_there
        elif kind == "refuses":
            pool.refusing ^= {what}
        elif kind == "trouble":
            pool.troubles = {what: Trouble("unreachable", now)}
        elif kind == "downtime":
            start = now + float(what)
            self.world.downtimes[self.name(which)] = (Downtime(start, start + 200.0, "cooling"),)
        elif kind == "first":
            wms.statuses[self.work[0].partition(":")[0]] = what
        elif kind == "code":
            pool.code, pool.run_for = int(what), float(which)

    @rule(which=WHICH, what=st.sampled_from(["tended", "removed", "taken back"]))
    def pilots_or_jobs_go(self, which: int, what: str) -> None:
        if what == "tended":
            self.tend()
        elif what == "taken back":
            self.take_back(self.work[which % len(self.work)], 3)
        else:
            waiting = [pilot.cid for pilot in self.of(list(self.slots)[which]) if pilot.state is PilotState.PENDING]
            for cid in waiting[:3]:
                any(pool.remove(cid) for pool in self.world.pools.values())

    @rule()
    def all_is_mended(self) -> None:
        super().all_is_mended()
        for pool in self.world.pools.values():
            pool.refusing.clear()
            pool.troubles.clear()
            pool.code, pool.run_for = 0, max(100.0, pool.run_for)
        self.world.downtimes.clear()
        self.world.wms.statuses.clear()

    @invariant()
    def caps_hold(self) -> None:
        pools = self.world.pools.values()
        for slot, queue in self.slots.items():
            mine = self.of(slot)
            assert len(mine) <= MOST, slot
            if queue.rules.max_pending is not None:
                waiting = sum(pilot.state is PilotState.PENDING for pilot in mine)
                assert waiting <= MOST_WAITING + self.released + self.excused, slot
        assert sum(pool.in_flight for pool in pools) <= (self.world.maximum or 10_000)
        idle = sum(pool.idle for pool in pools)
        assert self.choosy or idle <= self.excused + self.released, "a pilot found no job"

    @property
    def released(self) -> int:
        return sum(pool.released for pool in self.world.pools.values())

    def name(self, which: int) -> str:
        return self.slots[list(self.slots)[which]].name

    def of(self, slot: str) -> list[Pilot]:
        names = {self.slots[slot].name, *self.slots[slot].options.formerly}
        return [pilot for pool in self.world.pools.values() for pilot in pool.pilots.values() if pilot.queue in names]

    def take_back(self, name: str, jobs: int) -> None:
        """Let users take back jobs that have not begun."""
        count = min(jobs, self.world.wms.activated.get(name, 0))
        self.jobs -= count
        self.excused += count
        self.world.wms.activated[name] = self.world.wms.activated.get(name, 0) - count
        self.world.wms.tick()

    def change(self, slot: str, **options: Any) -> None:
        queue = self.slots[slot]
        name = options.pop("name", queue.name)
        self.slots[slot] = replace(queue, name=name, options=queue.options.model_copy(update=options))
        self.world.reload(list(self.slots.values()))

    def look(self) -> None:
        """Ask the sources that no queue uses now, as the factory does."""
        for source in self.world.sources.values():
            with suppress(SourceError):
                source.snapshot()

    def tend(self) -> None:
        """Look after single pilots, in this thread."""
        for source in self.world.sources.values():
            tender, answer = source.tender, source.latest()
            tender.close()
            tender.configure(self.rows, self.slots.values())
            if answer and (wanted := tender.wanted(answer.by_queue)):
                tender.tend(wanted)

    def cycle(self, name: str) -> None:
        before, now = self.submitted, self.world.clock.at
        report = self.world.cycle(name)[name]
        came = self.submitted - before
        self.check(report, came, now)
        self.excused += came * self.silent_elsewhere(name)
        if came:
            self.check_waiting(report, name)

    def silent_elsewhere(self, name: str) -> bool:
        """Tell whether another source is silent: a queue that has moved does not wait for its pilots there."""
        own = self.world.source_of(name)
        return any(source.silent for source in self.world.sources.values() if source is not own)

    def check(self, report: CycleReport, came: int, now: float) -> None:
        decision = report.decision
        assert (decision is None) != (report.blocked is None)
        assert came <= (decision.count if decision else 0)
        if decision is None:
            return
        assert decision.count >= 0
        assert all(count >= 0 for count in decision.by_type.values())
        assert not decision.by_type or sum(decision.by_type.values()) == decision.count
        for step in decision.steps:
            assert step.after >= 0
            assert RULES.get(step.rule) is None or RULES[step.rule].kind is not Kind.LIMIT or step.after <= step.before
        downtimes = self.world.downtimes.get(report.queue, ())
        assert not came or not any(one.start <= now < one.end for one in downtimes), "submitted in a downtime"

    def check_waiting(self, report: CycleReport, name: str) -> None:
        """What waits for the jobs that a queue counts and for no others, its figures can explain."""
        queue = self.world.queues[name]
        assert report.jobs is not None
        assert report.decision is not None
        reach = queue.options.wmsqueues
        for part in (part for part in queue.parts if report.decision.of(part.resource_type)):
            kinds = part.options.resource_types
            cells = {
                f"{cell.wmsqueue or reach[0]}{cell.resource_type and f':{cell.resource_type}'}": cell.activated
                for cell in report.jobs
                if not kinds or not cell.resource_type or cell.resource_type in kinds
            }
            waiting = sum(
                pilot.state is PilotState.PENDING
                and all(other in cells for other in self.work if pilot.may_take(other))
                for pool in self.world.pools.values()
                for pilot in pool.pilots.values()
            )
            jobs = sum(cells.values())
            assert waiting <= jobs + self.released + self.excused, f"{waiting} wait for {jobs} jobs of {cells}"

    def calm(self) -> None:
        """End all faults; what the users asked for is then served, without anyone's help."""
        self.all_is_mended()
        for slot in self.slots:
            self.change(slot, weight=Fraction(1))
        self.world.advance(60)
        began = self.world.clock.at
        while self.served < self.jobs:
            self.look()
            for name in self.world.cycles:
                self.cycle(name)
            self.tend()
            self.all_is_mended()
            self.caps_hold()
            self.world.advance(30)
            assert self.world.clock.at < began + 7200 + self.jobs * 500, "jobs wait though all faults have ended"


Wider.TestCase.settings = settings(max_examples=40 * LONG, stateful_step_count=25, deadline=None)
TestWider = Wider.TestCase


def test_a_queue_that_moves_does_not_ask_again_for_what_waits_where_it_was(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q", rules={"max_pending": 12})], further=["there"])
    for pool in one.pools.values():
        pool.start_after = None
    one.activate("Q", 10)
    one.run(60)
    one.reload([make_queue("Q", rules={"max_pending": 12}, source="there")])
    report = one.cycle("Q")["Q"]
    assert report.pilots is not None
    assert (report.pilots.awaited, report.pilots.in_flight) == (10, 10)
    one.activate("Q", 5)
    one.run(60)
    assert [pool.submitted for pool in one.pools.values()] == [10, 2]
    one.restart()
    one.cycle()
    assert [pool.submitted for pool in one.pools.values()] == [10, 2], "nor before the old source has answered"
    one.advance(MAX_AGE + 1)
    one.run(60)
    assert [pool.submitted for pool in one.pools.values()] == [10, 12], "of a source that is silent nothing is awaited"


def test_pilots_of_siblings_without_figures_are_deducted(tmp_path: Path) -> None:
    """After a restart during an outage of the WMS the first queue to know more does not ask for the others' jobs."""
    one = World(
        tmp_path,
        [make_queue("A", wmsqueue="X"), make_queue("B", wmsqueue="X", weight=2), make_queue("C", wmsqueue="X")],
        lag=130,
        period=30,
    )
    one.pool.start_after, one.pool.run_for = 0.0, 0.0
    one.activate("X", 4)
    one.advance(30)
    one.cycle()
    assert one.pool.submitted == 4
    one.wms.down = True
    one.restart()
    one.cycle()
    one.wms.down = False
    for name in "ABC":
        one.cycle(name)
    assert (one.pool.submitted, one.pool.idle) == (4, 0)
