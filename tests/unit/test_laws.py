"""The laws under attack: floods, faults in any order, and life after them.

The floods are those that have happened to factories; the machine at the end looks for the ones that have not.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from autopyfactory.cycle import Standstill
from autopyfactory.model import CycleReport, PilotState
from tests.unit.world import World, make_queue

SIBLINGS = ("A", "B", "C")


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


class Attack(RuleBasedStateMachine):
    """Everything that can go wrong, in any order; then it stops going wrong, and all jobs are served."""

    folder: TemporaryDirectory[str]
    world: World

    @initialize(
        lag=st.sampled_from([0.0, 60.0, 130.0]),
        maximum=st.sampled_from([None, 25]),
        start_after=st.sampled_from([0.0, 20.0, 300.0]),
        run_for=st.sampled_from([0.0, 100.0, 2000.0]),
    )
    def begin(self, lag: float, maximum: int | None, start_after: float, run_for: float) -> None:
        self.folder = TemporaryDirectory()
        queues = [
            make_queue(name, wmsqueue="X", rules={"max_pilots": 20}, weight=k) for k, name in enumerate(SIBLINGS, 1)
        ]
        queues.append(make_queue("Y", rules={"max_per_cycle": 7, "max_pending": 12}))
        self.world = World(Path(self.folder.name), queues, lag=lag, period=min(lag, 30.0), maximum=maximum)
        self.world.pool.start_after, self.world.pool.run_for = start_after, run_for
        self.jobs = 0
        self.hidden_since = float("inf")

    @rule(wmsqueue=st.sampled_from(["X", "Y"]), jobs=st.integers(1, 40))
    def users_submit(self, wmsqueue: str, jobs: int) -> None:
        self.jobs += jobs
        self.world.activate(wmsqueue, jobs)

    @rule(name=st.sampled_from([*SIBLINGS, "Y"]))
    def one_cycles(self, name: str) -> None:
        self.judge(self.world.cycle(name))

    @rule()
    def all_cycle(self) -> None:
        self.judge(self.world.cycle())

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 150.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)
        if self.world.clock.at > self.hidden_since + 900:
            self.show_all()

    @rule(name=st.sampled_from([*SIBLINGS, "Y"]))
    def killed_while_submitting(self, name: str) -> None:
        if self.hidden_since == float("inf"):
            self.world.crash(name)

    @rule()
    def restarted(self) -> None:
        self.world.restart()

    @rule()
    def reloaded(self) -> None:
        self.world.reload(list(self.world.queues.values()))

    @rule(answer=st.sampled_from(["ok", "refused", "partial", "ambiguous", "lost"]))
    def submission_answers(self, answer: str) -> None:
        if self.hidden_since == float("inf"):
            self.world.pool.answer = answer

    @rule(down=st.booleans())
    def pool_down(self, down: bool) -> None:
        self.world.pool.down = down

    @rule(seconds=st.sampled_from([0.0, 15.0]))
    def slow_to_show(self, seconds: float) -> None:
        self.world.pool.visible_after = seconds

    @rule()
    def hide_new(self) -> None:
        self.world.pool.answer = "ok"
        self.hidden_since = min(self.hidden_since, self.world.clock.at)
        self.world.pool.hidden_from = self.hidden_since

    @rule()
    def show_all(self) -> None:
        self.hidden_since = self.world.pool.hidden_from = float("inf")

    @rule(fault=st.sampled_from(["down", "frozen", "typo"]), on=st.booleans())
    def wms_fails(self, fault: str, on: bool) -> None:
        setattr(self.world.wms, fault, on)

    @rule(status=st.sampled_from(["online", "brokeroff", "offline", "who knows"]))
    def site_is(self, status: str) -> None:
        self.world.wms.status = status

    @rule(name=st.sampled_from(SIBLINGS), pause=st.booleans())
    def operator(self, name: str, pause: bool) -> None:
        self.world.standstills.pop(name, None)
        if pause:
            self.world.standstills[name] = Standstill("paused")

    @rule()
    def all_are_held(self) -> None:
        self.world.pool.hold = True
        self.world.pool.tick()

    @rule()
    def admin_removes_held(self) -> None:
        self.world.pool.remove_held()

    @invariant()
    def caps_hold(self) -> None:
        for name, queue in self.world.queues.items():
            assert self.world.pool.count(name) <= queue.rules.max_pilots
        assert self.world.pool.in_flight <= (self.world.maximum or 10_000)
        assert self.world.pool.count("Y", PilotState.PENDING) <= 12

    def judge(self, reports: dict[str, CycleReport]) -> None:
        """Check what a round of cycles did: no pilot beyond what the figures it saw can explain."""
        for name, report in reports.items():
            assert (report.decision is None) != (report.blocked is None)
            if not report.submitted:
                continue
            assert report.pilots is not None
            assert report.activated is not None
            wmsqueue = self.world.queues[name].options.wmsqueue
            waiting = sum(
                pilot.wmsqueue == wmsqueue and pilot.state is PilotState.PENDING
                for pilot in self.world.pool.pilots.values()
            )
            assert waiting <= report.activated, f"{waiting} wait for {report.activated} jobs"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        one = self.world
        self.show_all()
        one.pool.remove_held()
        one.pool.down = one.wms.down = one.wms.frozen = one.wms.typo = False
        one.pool.answer, one.wms.status = "ok", "online"
        one.standstills.clear()
        one.wms.tick()
        one.advance(60)
        for _ in range(400):
            if one.pool.served == self.jobs:
                break
            self.judge(one.cycle())
            self.caps_hold()
            one.advance(30)
        assert one.pool.served == self.jobs, "not all jobs were served after the faults had ended"
        self.folder.cleanup()


Attack.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAttack = Attack.TestCase
