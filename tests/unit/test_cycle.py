"""One cycle: what blocks it, what it asks for, what it writes down before and after it submits."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from autopyfactory.assess import Standstill
from autopyfactory.board import claim_of
from autopyfactory.errors import SourceError
from autopyfactory.explain import sentence
from autopyfactory.ledger import Outcome
from autopyfactory.memory import RAMP_END
from autopyfactory.model import PilotCounts, PilotState
from autopyfactory.report import Blocked, CycleReport
from tests.unit.world import MAX_AGE, START, World, make_queue


def world(folder: Path, **words: Any) -> World:
    queue = {key: words.pop(key) for key in ("rules",) if key in words}
    one = World(folder, [make_queue("Q", **queue, **words)])
    one.activate("Q", 40)
    return one


def cycle(one: World, name: str = "Q") -> CycleReport:
    return one.cycle(name)[name]


def reason(report: CycleReport) -> str:
    assert report.blocked is not None
    assert report.decision is None
    assert not report.submitted
    return report.blocked.reason


def test_a_plain_cycle(tmp_path: Path) -> None:
    one = world(tmp_path, batchqueue="long")
    report = cycle(one)
    assert report.decision is not None
    assert (report.decision.count, report.submitted_count, report.activated) == (40, 40, 40)
    assert (report.queue, report.wmsqueue, report.batchqueue, report.error) == ("Q", "Q", "long", "")
    assert report.pilots == PilotCounts()
    assert report.at == START
    assert cycle(one).submitted == ()
    entry = one.ledger.of_queue("Q")[0]
    assert (entry.outcome, entry.count, entry.id) == (Outcome.ACCEPTED, 40, report.submitted[0].submission)


def test_unknown_pilots_block(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.pool.down = True
    report = cycle(one)
    assert reason(report) == "pilots unknown: pool: no answer"
    assert report.blocked == Blocked(reason(report), outage=True, cause="pilots")
    assert report.pilots is None
    assert report.activated == 40


def test_unknown_demand_blocks_only_who_needs_it(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q"), make_queue("F", rules={"fixed": 3})])
    options = one.queues["F"].options.model_copy(update={"rules": ("fixed",), "wms": ""})
    one.reload([one.queues["Q"], type(one.queues["F"])("F", options, one.queues["F"].backend, one.queues["F"].rules)])
    one.wms.down = True
    reports = one.cycle()
    assert reason(reports["Q"]) == "demand unknown: wms panda: 503"
    assert reports["F"].submitted_count == 3
    assert reports["F"].activated is None


def test_a_typo_blocks_and_is_no_outage(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.wms.typo = True
    report = cycle(one)
    assert reason(report) == "demand unknown: wms panda does not know the wmsqueue 'Q'"
    assert report.blocked is not None
    assert not report.blocked.outage


def test_an_unknown_word_of_the_site_blocks(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.wms.status = "frozen"
    report = cycle(one)
    assert reason(report).startswith("site status 'frozen' is none of brokeroff, maintenance, offline")
    one.wms.status = "brokeroff"
    assert cycle(one).submitted_count == 40


def test_an_unknown_site_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)

    def fails(wmsqueue: str) -> Any:
        raise SourceError("wms panda", "503")

    monkeypatch.setattr(one.wms, "site", fails)
    assert reason(cycle(one)) == "site status unknown: wms panda: 503"


def test_rules_that_need_a_wms_without_one(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.cycles["Q"]._wms = None
    assert reason(cycle(one)) == "demand unknown: the queue names no wms"


def test_a_standstill_blocks_and_still_tells_the_figures(tmp_path: Path) -> None:
    one = world(tmp_path)
    cycle(one)
    one.standstills["Q"] = Standstill("paused by me")
    one.advance(15)
    report = cycle(one)
    assert reason(report) == "paused by me"
    assert report.pilots == PilotCounts(pending=40)
    assert report.activated == 40


def test_draining_tells_when_the_last_pilot_is_gone(tmp_path: Path) -> None:
    one = world(tmp_path)
    cycle(one)
    one.standstills["Q"] = Standstill("draining by me", draining=True)
    one.advance(300)
    assert reason(cycle(one)) == "draining by me"
    one.advance(600)
    assert reason(cycle(one)) == "draining by me; no pilot is left"


def test_a_source_that_hides_what_it_accepted_blocks(tmp_path: Path) -> None:
    one = world(tmp_path)
    cycle(one)
    one.pool.hidden = True
    one.advance(15)
    assert "shows neither them nor their end" in reason(cycle(one))
    one.pool.hidden = False
    one.advance(15)
    assert cycle(one).blocked is None


def test_a_dry_run_submits_nothing_and_writes_nothing(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.cycles["Q"]._dry_run = True
    report = cycle(one)
    assert report.decision is not None
    assert (report.decision.count, report.submitted, report.dry_run) == (40, (), True)
    assert one.ledger.of_queue("Q") == []
    assert one.pool.submitted == 0


def test_a_refusal_is_no_pilot_and_starts_the_ramp(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.pool.answer = "refused"
    report = cycle(one)
    assert (report.error, report.submitted) == ("refused: the pool says no", ())
    assert one.ledger.unsettled("pool") == []
    one.pool.answer = "ok"
    assert [cycle(one).submitted_count for _ in range(7)] == [1, 2, 4, 8, 16, 9, 0]


def test_a_partial_acceptance_counts_what_was_taken(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.pool.answer = "partial"
    report = cycle(one)
    assert (report.submitted_count, report.error) == (20, "refused: full")
    assert cycle(one).pilots == PilotCounts(unseen=20)


@pytest.mark.parametrize("answer", ["ambiguous", "lost"])
def test_an_ambiguous_submission_is_not_repeated(tmp_path: Path, answer: str) -> None:
    one = world(tmp_path)
    one.pool.answer, one.pool.start_after = answer, None
    assert cycle(one).error == "no answer: time-out"
    one.pool.answer = "ok"
    for _ in range(2):
        report = cycle(one)
        assert report.pilots == PilotCounts(ambiguous=40)
        assert report.submitted == ()
    one.run(600, 15)
    assert one.pool.submitted == 40
    assert (len(one.pool.submissions) == 1) == (answer == "ambiguous")


def test_a_bug_while_submitting_leaves_the_pilots_counted(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.pool.answer = "bug"
    with pytest.raises(ZeroDivisionError):
        cycle(one)
    assert [entry.outcome for entry in one.ledger.of_queue("Q")] == [Outcome.AMBIGUOUS]
    assert cycle(one).pilots == PilotCounts(ambiguous=40)


def test_an_answer_without_pilots_is_no_doubt_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)
    submit = one.batch.submit
    monkeypatch.setattr(one.batch, "submit", lambda order: type(submit(order))(order.id, ()))
    one.pool.pilots.clear()
    cycle(one)
    one.pool.pilots.clear()
    one.advance(15)
    assert cycle(one).blocked is None


def test_a_full_disk_blocks_before_anything_is_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = World(tmp_path, [make_queue("Q", wmsqueue="X"), make_queue("R", wmsqueue="X")])
    one.activate("X", 40)

    def full(*args: object, **words: object) -> str:
        raise OSError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(one.ledger, "open", full)
        assert reason(cycle(one)) == "cannot write down what is submitted: no space"
    assert one.pool.submitted == 0
    assert cycle(one, "R").submitted_count == 40, "a sibling that cannot submit has no part"


def test_a_stop_while_waiting_for_the_rate_submits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)
    monkeypatch.setattr(one.source.pace, "turn", lambda count: (count, 3600.0))
    stopping = Event()
    stopping.set()
    report = one.cycles["Q"].run(stopping)
    assert report.submitted == ()
    assert one.pool.submitted == 0
    assert [(entry.outcome, entry.count) for entry in one.ledger.of_queue("Q")] == [(Outcome.SETTLED, 0)]


def test_ramp_after_an_outage_and_its_end(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.pool.down = True
    cycle(one)
    one.pool.down = False
    one.advance(100)
    assert [cycle(one).submitted_count for _ in range(7)] == [1, 2, 4, 8, 16, 9, 0]
    assert one.cycles["Q"].memory.ramp is None


def test_a_start_has_no_ramp_and_a_typo_none(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.wms.typo = True
    cycle(one)
    one.wms.typo = False
    assert cycle(one).submitted_count == 40


def test_a_ramp_waits_for_demand(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.wms.activated["Q"] = 0
    one.wms.tick()
    one.cycles["Q"].memory.ramp = 1
    for _ in range(3):
        cycle(one)
    assert one.cycles["Q"].memory.ramp == 1


def test_a_ramp_that_has_grown_enough_is_over(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.cycles["Q"].memory.ramp = RAMP_END
    cycle(one)
    assert one.cycles["Q"].memory.ramp is None


def test_no_turn_at_the_rate_is_a_step_of_the_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)
    monkeypatch.setattr(one.source.pace, "turn", lambda count: (0, 0.0))
    report = cycle(one)
    assert report.submitted == ()
    assert report.decision
    assert report.decision.count == 0
    assert report.decision.steps[-1].rule == "max_submit_rate"
    assert [(entry.outcome, entry.count) for entry in one.ledger.of_queue("Q")] == [(Outcome.SETTLED, 0)]
    assert one.cycles["Q"].memory.ramp is None
    assert one.cycles["Q"].memory.last_submission == float("-inf")


def test_a_part_of_the_turn_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)
    monkeypatch.setattr(one.source.pace, "turn", lambda count: (2, 0.0))
    report = cycle(one)
    assert report.submitted_count == 2
    assert report.decision
    assert [step.after for step in report.decision.steps][-1] == 2


def test_a_pause_during_the_wait_for_a_turn_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path)
    monkeypatch.setattr(one.source.pace, "turn", lambda count: (count, 0.001))
    paused = Standstill("paused", wanted=True)
    monkeypatch.setattr(one.cycles["Q"]._submissions, "_standstill", lambda queue: paused)
    assert cycle(one).submitted == ()
    assert one.pool.submitted == 0


def test_a_short_outage_blocks_nobody(tmp_path: Path) -> None:
    one = world(tmp_path)
    cycle(one)
    one.pool.down = True
    one.advance(MAX_AGE - 10)
    assert cycle(one).blocked is None
    one.advance(20)
    assert "last good answer" in reason(cycle(one))


def test_held_pilots_leave_only_probes(tmp_path: Path) -> None:
    one = world(tmp_path, rules={"max_held": 5, "max_held_probe": 600.0})
    one.pool.hold = True
    cycle(one)
    counts = []
    for _ in range(100):
        one.advance(15)
        counts.append(cycle(one).submitted_count)
    assert set(counts) == {0, 1}
    assert sum(counts) == 100 * 15 // 600
    assert one.pool.count("Q", PilotState.HELD) == 42


def test_a_sibling_that_is_capped_leaves_its_part_to_the_others(tmp_path: Path) -> None:
    capped = make_queue("A", wmsqueue="X", rules={"max_pilots": 1})
    one = World(tmp_path, [capped, make_queue("B", wmsqueue="X")])
    one.pool.start_after = None
    one.activate("X", 10)
    one.run(120, 15)
    assert (one.pool.count("A"), one.pool.count("B")) == (1, 9)


def test_a_sibling_that_is_refused_leaves_its_part_to_the_others(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("A", wmsqueue="X"), make_queue("B", wmsqueue="X")])
    one.pool.start_after = None
    one.activate("X", 10)
    one.pool.answer = "refused"
    cycle(one, "A")
    one.pool.answer = "ok"
    assert cycle(one, "B").submitted_count == 10


def test_a_sibling_with_a_bug_leaves_its_part_to_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = World(tmp_path, [make_queue("A", wmsqueue="X"), make_queue("B", wmsqueue="X")])
    one.activate("X", 10)
    monkeypatch.setattr(one.cycles["A"], "_observe", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cycle(one, "A")
    assert cycle(one, "B").submitted_count == 10


def test_a_sibling_without_demand_takes_no_part_of_it(tmp_path: Path) -> None:
    fixed = make_queue("A", wmsqueue="X", rules={"fixed": 2})
    options = fixed.options.model_copy(update={"rules": ("fixed",)})
    fixed = type(fixed)("A", options, fixed.backend, fixed.rules)
    one = World(tmp_path, [fixed, make_queue("B", wmsqueue="X")])
    one.activate("X", 10)
    assert [report.submitted_count for report in one.cycle().values()] == [2, 8]


def test_pilots_of_a_sibling_that_was_paused_after_they_started_still_count(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("A", wmsqueue="X"), make_queue("B", wmsqueue="X")], lag=120.0, period=120.0)
    one.pool.start_after = 0.0
    one.activate("X", 40)
    one.wms.frozen = True
    one.cycle()
    one.standstills["A"] = Standstill("paused")
    for _ in range(6):
        one.advance(15)
        one.cycle()
    assert one.pool.submitted == 40


def test_cores_of_jobs_make_pilots(tmp_path: Path) -> None:
    one = world(tmp_path, cores=8)
    assert cycle(one).submitted_count == 5


def test_a_site_in_test_says_what_it_gives(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.wms.status = "test"
    report = cycle(one)
    assert report.decision is not None
    assert "the site is in test and gives ordinary pilots jobs of label test only" in report.decision.steps[0].why
    assert sentence(report).endswith("| ready 40 > status_test 1 (the site is test, of label test 40 jobs wait)")


def test_several_wmsqueues_feed_one_queue(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q", wmsqueue="A, B"), make_queue("S", wmsqueue="B")])
    one.wms.activated = {"A": 10, "B": 8}
    one.wms.tick()
    reports = one.cycle()
    assert (reports["Q"].submitted_count, reports["S"].submitted_count) == (14, 4)
    assert reports["Q"].jobs is not None
    assert [cell.wmsqueue for cell in reports["S"].jobs or ()] == ["B"]
    assert (reports["Q"].wmsqueue, reports["Q"].activated) == ("A, B", 18)
    one.run(1200)
    assert (one.pool.served, one.pool.idle) == (18, 0)
    one.wms.statuses = {"A": "offline"}
    one.activate("A", 10)
    assert cycle(one).submitted == ()
    one.activate("B", 4)
    assert cycle(one).submitted_count == 2


def test_a_pilot_that_runs_several_jobs(tmp_path: Path) -> None:
    assert cycle(world(tmp_path, jobs_per_pilot="3/2")).submitted_count == 27


def test_a_queue_where_more_pilots_start_is_given_more(tmp_path: Path) -> None:
    words: dict[str, Any] = {"wmsqueue": "X", "weight_by": "drain", "rules": {"max_pending": 20}}
    one = World(tmp_path, [make_queue("fast", **words), make_queue("slow", **words)])
    one.wms.activated = {"X": 100_000}
    one.wms.tick()
    one.pool.run_for = 60.0
    starts = one.pool._may_start

    def only_the_fast(pilot: Any, now: float) -> bool:
        return bool(pilot.queue == "fast" and starts(pilot, now))

    one.pool._may_start = only_the_fast  # type: ignore[method-assign]
    one.run(900)
    fast, slow = (one.board.weight(claim_of(queue)) for queue in one.queues.values())
    assert fast == 10 * slow
    assert fast + slow == 2
