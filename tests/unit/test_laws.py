"""The laws under attack: floods, faults in any order, and life after them.

The floods are those that have happened to factories; the machine at the end looks for the ones that have not.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from autopyfactory.assess import Standstill
from autopyfactory.model import PilotState
from tests.unit.world import Pool, World, make_queue

SIBLINGS = ("A", "B", "C")
QUEUES = st.sampled_from([*SIBLINGS, "Y"])
FAULTS = st.sampled_from(
    [
        *(f"submissions {answer}" for answer in ("refused", "partial", "ambiguous", "ambiguous", "lost")),
        *(f"pool {fault}" for fault in ("down", "slow", "hides", "holds")),
        *(f"wms {fault}" for fault in ("down", "frozen", "typo")),
        *(f"site {status}" for status in ("brokeroff", "offline", "nobody knows")),
        *(f"paused {name}" for name in SIBLINGS),
    ]
)
WMSQUEUES = st.sampled_from(["X", "Y"])
LONG = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 1
"""So many times as many examples, for an attack of some minutes."""


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("interval", [5.0, 10.0, 60.0])
@pytest.mark.parametrize("run_for", [0.0, 7.0, 3600.0])
def test_pilots_that_start_at_once_while_the_statistics_are_frozen(
    tmp_path: Path, run_for: float, interval: float, restarts: bool
) -> None:
    one = World(tmp_path, [make_queue("Q")], lag=120.0)
    one.pool.start_after, one.pool.run_for = 0.0, run_for
    one.advance(30)
    one.activate("Q", 40)
    one.wms.frozen = True
    for _ in range(int(120 / interval)):
        one.cycle()
        one.advance(interval)
        if restarts:
            one.restart()
    one.wms.frozen = False
    one.wms.tick()
    one.run(900, interval)
    assert (one.pool.submitted, one.pool.served, one.pool.idle) == (40, 40, 0)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("names", [("A",), SIBLINGS])
@pytest.mark.parametrize("lag", [0.0, 130.0])
def test_pilots_that_need_time_to_fetch_their_first_job(
    tmp_path: Path, lag: float, names: tuple[str, ...], restarts: bool
) -> None:
    queues = [make_queue(name, wmsqueue="X", first_job_after=60.0) for name in names]
    one = World(tmp_path, queues, lag=lag, period=min(lag, 30.0))
    one.pool.start_after, one.pool.fetch_after, one.pool.run_for = 5.0, 50.0, 0.0
    for _ in range(3):
        one.activate("X", 20)
        for k in range(60):
            one.cycle()
            one.advance(10)
            if restarts and k < 20:
                one.restart()
    assert (one.pool.submitted, one.pool.served, one.pool.idle) == (60, 60, 0)


def test_a_pilot_that_needs_longer_than_its_queue_says_is_asked_for_again(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("A", wmsqueue="X", first_job_after=20.0)])
    one.pool.start_after, one.pool.fetch_after = 0.0, 60.0
    one.activate("X", 20)
    one.run(120, 10)
    assert one.pool.submitted > one.pool.served == 20


def test_new_jobs_after_a_flood_that_was_held_back_are_served(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q")], lag=120.0, period=60.0)
    one.pool.start_after, one.pool.run_for = 0.0, 0.0
    for _ in range(5):
        one.activate("Q", 40)
        one.run(400, 10)
    assert (one.pool.served, one.pool.idle) == (200, 0)


def test_every_pilot_is_held_at_once(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q", rules={"max_per_cycle": 50})])
    one.activate("Q", 1000)
    one.pool.hold = True
    one.run(3600, 30)
    assert 50 <= one.pool.submitted <= 50 + 50 + 3600 / 600
    one.pool.remove_held()
    one.run(3600, 30)
    assert one.pool.served == 1000


@pytest.mark.parametrize("start_after", [None, 0.0, 45.0])
def test_three_sections_on_one_wmsqueue(tmp_path: Path, start_after: float | None) -> None:
    one = World(tmp_path, [make_queue(name, wmsqueue="X") for name in SIBLINGS], lag=60.0, period=30.0)
    one.pool.start_after = start_after
    one.activate("X", 40)
    one.run(600, 15)
    assert (one.pool.submitted, one.pool.idle) == (40, 0)
    assert {one.pool.submissions.total()} == {40}


def test_300_queues_come_back_together(tmp_path: Path) -> None:
    names = [f"Q{k:03}" for k in range(300)]
    one = World(tmp_path, [make_queue(name) for name in names], maximum=1000)
    one.pool.start_after = None
    one.pool.down = True
    for name in names:
        one.activate(name, 50)
    one.cycle()
    one.pool.down = False
    one.advance(120)
    polls = one.batch.polls
    counts = []
    for _ in range(4):
        counts.append(sum(report.submitted_count for report in one.cycle().values()))
        assert one.pool.in_flight <= 1000
        one.advance(15)
    assert counts[:2] == [300, 600]
    assert sum(counts) == 1000
    assert one.batch.polls == polls + 4, "one poll serves them all"
    assert min(one.pool.count(name) for name in names) >= 3


def test_a_full_factory_gives_what_becomes_free_to_everyone_in_turn(tmp_path: Path) -> None:
    names = [f"Q{k}" for k in range(10)]
    one = World(tmp_path, [make_queue(name) for name in names], maximum=5)
    one.pool.start_after, one.pool.run_for = 0.0, 95.0
    for name in names:
        one.activate(name, 10)
    for _ in range(40):
        for name in names:
            one.cycle(name)
            one.advance(10)
    assert one.pool.served == 100


def test_the_first_queue_after_a_start_does_not_take_the_whole_budget(tmp_path: Path) -> None:
    names = [f"Q{k}" for k in range(10)]
    one = World(tmp_path, [make_queue(name) for name in names], maximum=100)
    one.pool.start_after = None
    for name in names:
        one.activate(name, 1000)
    one.cycle()
    assert {one.pool.count(name) for name in names} <= set(range(4, 11))
    one.run(120)
    assert one.pool.in_flight == 100


def test_two_factories_with_one_id(tmp_path: Path) -> None:
    here = World(tmp_path, [make_queue("Q")], host="here")
    there = World(tmp_path, [make_queue("Q")], host="there", pool=here.pool)
    here.pool.start_after = None
    here.activate("Q", 10)
    for one in (here, there):
        one.source.snapshot()
    for one in (here, there):
        one.cycle()
    here.advance(15)
    here.activate("Q", 100)
    said = [one.cycle()["Q"].blocked for one in (here, there)]
    assert [
        blocked is not None and f"from host {host}" in blocked.reason
        for blocked, host in zip(said, ("there", "here"), strict=True)
    ] == [True, True]
    assert here.pool.submitted == 20


def test_an_outage_of_one_wms_leaves_the_pilots_known(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q")])
    one.activate("Q", 40)
    one.wms.down = True
    one.run(1200)
    assert one.pool.submitted == 0
    one.wms.down = False
    one.run(1200)
    assert (one.pool.served, one.pool.idle) == (40, 0)


def test_what_was_submitted_without_an_answer_and_never_was_is_asked_for_again(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q")], lag=130.0, period=30.0)
    one.advance(150)
    one.activate("Q", 10)
    one.advance(150)
    one.pool.answer = "lost"
    one.cycle()
    one.pool.answer = "ok"
    one.run(600)
    assert (one.pool.submitted, one.pool.served, one.pool.idle) == (10, 10, 0)


class Attack(RuleBasedStateMachine):
    """Everything that can go wrong, in any order; then it stops going wrong, and all jobs are served.

    A pilot that finds no job was asked for twice: at no time there may be one, whatever went wrong.
    """

    folder: TemporaryDirectory[str]
    world: World

    @initialize(
        lag=st.sampled_from([0.0, 130.0]),
        maximum=st.sampled_from([None, 25]),
        start_after=st.sampled_from([0.0, 20.0, 300.0]),
        run_for=st.sampled_from([0.0, 100.0, 2000.0]),
        fetch_after=st.sampled_from([0.0, 50.0]),
    )
    def begin(
        self, lag: float, maximum: int | None, start_after: float, run_for: float, fetch_after: float = 0.0
    ) -> None:
        self.folder = TemporaryDirectory()
        self.more: dict[str, Any] = {"first_job_after": 60.0 if fetch_after else 0.0}
        queues = [
            make_queue(name, wmsqueue="X", rules={"max_pilots": 20}, weight=k, **self.more)
            for k, name in enumerate(SIBLINGS, 1)
        ]
        queues.append(make_queue("Y", rules={"max_per_cycle": 17, "max_pending": 22}, **self.more))
        self.world = World(Path(self.folder.name), queues, lag=lag, period=min(lag, 30.0), maximum=maximum)
        pool = self.world.pool
        pool.start_after, pool.run_for, pool.fetch_after = start_after, run_for, fetch_after
        self.jobs = 0

    @rule(wmsqueue=WMSQUEUES, jobs=st.integers(1, 12))
    def users_submit(self, wmsqueue: str, jobs: int) -> None:
        self.jobs += jobs
        self.world.activate(wmsqueue, jobs)

    @rule(names=st.lists(QUEUES, min_size=1, max_size=4))
    def some_cycle(self, names: list[str]) -> None:
        for name in names:
            self.cycle(name)

    @rule(seconds=st.sampled_from([0.0, 5.0, 11.0, 30.0, 150.0]))
    def all_cycle_after(self, seconds: float) -> None:
        self.pass_time(seconds)
        for name in self.world.cycles:
            self.cycle(name)

    @rule(seconds=st.sampled_from([5.0, 11.0, 150.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(name=QUEUES, again=st.sampled_from([0.0, 15.0, 60.0]))
    def killed_while_submitting(self, name: str, again: float) -> None:
        if not self.hides:
            self.world.crash(name)
            self.pass_time(again)

    @rule()
    def restarted(self) -> None:
        self.world.restart()

    @rule(weight=st.integers(0, 3))
    def reloaded(self, weight: int) -> None:
        changed = make_queue("A", wmsqueue="X", rules={"max_pilots": 20}, weight=weight, **self.more)
        self.world.reload(list((self.world.queues | {"A": changed}).values()))

    @rule(fault=FAULTS)
    def something_fails(self, fault: str) -> None:
        """Let one thing fail: one rule of many, so that most of the time most things work."""
        pool, wms = self.target, self.world.wms
        kind, _, what = fault.partition(" ")
        if kind == "submissions" and not self.hides:
            pool.answer = what
        elif kind == "wms":
            setattr(wms, what, True)
        elif kind == "site":
            wms.status = what
        elif kind == "paused":
            self.world.standstills[what] = Standstill("paused")
        elif fault == "pool down":
            pool.down = True
        elif fault == "pool slow":
            pool.visible_after = 15.0
        elif fault == "pool holds":
            pool.hold = True
            pool.tick()
        elif fault == "pool hides":
            pool.answer, pool.hidden_from = "ok", min(pool.hidden_from, self.world.clock.at)

    @rule()
    def all_is_mended(self) -> None:
        one = self.world
        for pool in one.pools.values():
            pool.remove_held()
            pool.down, pool.answer = False, "ok"
            pool.hidden_from, pool.visible_after = float("inf"), 0.0
        one.wms.down = one.wms.frozen = one.wms.typo = False
        one.wms.status = "online"
        one.standstills.clear()
        one.wms.tick()

    @invariant()
    def caps_hold(self) -> None:
        pool = self.world.pool
        for name, queue in self.world.queues.items():
            assert pool.count(name) <= queue.rules.max_pilots
        assert pool.in_flight <= (self.world.maximum or 10_000)
        assert pool.count("Y", PilotState.PENDING) <= 22
        assert not pool.idle, "a pilot found no job"

    @property
    def hides(self) -> bool:
        return any(pool.hidden_from < float("inf") for pool in self.world.pools.values())

    @property
    def target(self) -> Pool:
        """Return the pool that something happens to next."""
        return self.world.pool

    @property
    def served(self) -> int:
        return sum(pool.served for pool in self.world.pools.values())

    @property
    def submitted(self) -> int:
        return sum(pool.submitted for pool in self.world.pools.values())

    def pass_time(self, seconds: float) -> None:
        """Let time pass; nothing is hidden for longer than a source is doubted."""
        self.world.advance(seconds)
        for pool in self.world.pools.values():
            if self.world.clock.at > pool.hidden_from + 900:
                pool.hidden_from = float("inf")

    def cycle(self, name: str) -> None:
        """Run a cycle: what then waits, the figures that it saw can explain."""
        pool, before = self.world.pool, self.world.pool.submitted
        report = self.world.cycle(name)[name]
        assert (report.decision is None) != (report.blocked is None)
        if pool.submitted == before:
            return
        assert report.pilots is not None
        assert report.activated is not None
        queue = self.world.queues[name]
        waiting = sum(
            pilot.wmsqueue == queue.options.wmsqueue and pilot.state is PilotState.PENDING
            for pilot in pool.pilots.values()
        )
        assert waiting <= report.activated, f"{waiting} wait for {report.activated} jobs"

    def teardown(self) -> None:
        if hasattr(self, "world"):
            with self.folder:
                self.calm()

    def calm(self) -> None:
        """End all faults; what the users asked for is then served, without anyone's help."""
        self.all_is_mended()
        self.world.advance(60)
        began = self.world.clock.at
        while self.served < self.jobs:
            for name in self.world.cycles:
                self.cycle(name)
            self.caps_hold()
            self.world.advance(30)
            assert self.world.clock.at < began + 3600 + self.jobs * 500, "jobs wait though all faults have ended"


Attack.TestCase.settings = settings(max_examples=90 * LONG, stateful_step_count=25, deadline=None)
TestAttack = Attack.TestCase


def replay(begin: dict[str, Any], *steps: tuple[str, dict[str, Any]]) -> None:
    """Do again what the machine once found to break a law."""
    machine = Attack()
    machine.begin(**begin)
    for name, arguments in steps:
        getattr(machine, name)(**arguments)
        machine.caps_hold()
    machine.teardown()


def test_pilots_of_crashed_submissions_that_ended_before_any_poll_saw_them() -> None:
    replay(
        {"lag": 130.0, "maximum": None, "start_after": 20.0, "run_for": 0.0},
        ("time_passes", {"seconds": 150.0}),
        ("users_submit", {"jobs": 1, "wmsqueue": "X"}),
        ("killed_while_submitting", {"again": 60.0, "name": "A"}),
        ("killed_while_submitting", {"again": 0.0, "name": "C"}),
        ("all_cycle_after", {"seconds": 30.0}),
        ("all_cycle_after", {"seconds": 30.0}),
    )
