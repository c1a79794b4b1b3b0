"""A queue that counts each resource type alone, through cycle, ledger, source and board."""

from pathlib import Path
from typing import Any

import pytest

from autopyfactory.explain import sentence
from autopyfactory.ledger import Outcome
from autopyfactory.model import Downtime, PilotCounts, tagged_type
from autopyfactory.record.paper import ages, paper, recorded
from autopyfactory.report import CycleReport
from tests.unit.world import START, World, make_queue

TYPES = {"SCORE": {"cores": 1, "memory": 2 * 10**9}, "MCORE": {"cores": 8, "memory": 16 * 10**9}}


def split(name: str = "Q", **options: Any) -> Any:
    return make_queue(name, by_type=TYPES, cores=8, resource_types="SCORE, MCORE", **options)


def world(folder: Path, score: int, mcore: int, **options: Any) -> World:
    one = World(folder, [split(**options)])
    one.activate("Q:SCORE", score)
    one.activate("Q:MCORE", mcore)
    return one


def cycle(one: World, name: str = "Q") -> CycleReport:
    return one.cycle(name)[name]


def of_type(one: World, resource_type: str) -> int:
    return sum(tagged_type(pilot.shape) == resource_type for pilot in one.pool.pilots.values())


def test_each_type_is_submitted_with_its_own_shape(tmp_path: Path) -> None:
    one = world(tmp_path, 12, 5)
    report = cycle(one)
    assert [(part.resource_type, len(part.cids)) for part in report.submitted] == [("SCORE", 12), ("MCORE", 5)]
    assert (report.submitted_count, report.activated) == (17, 17)
    assert {pilot.shape for pilot in one.pool.pilots.values()} == {"1c-2000m-SCORE", "8c-16000m-MCORE"}
    assert sentence(report) == (
        "submitted 17 (12 SCORE, 5 MCORE): activated=17 pending=0 running=0 held=0 in_flight=0"
        " | SCORE ready 12, MCORE ready 5"
    )
    one.activate("Q:MCORE", 3)
    assert [(part.resource_type, len(part.cids)) for part in cycle(one).submitted] == [("MCORE", 3)]
    one.advance(15)
    assert cycle(one).submitted == ()
    assert cycle(one).pilots == PilotCounts(pending=20)


@pytest.mark.parametrize("names", [("SCORE", "MCORE"), ("MCORE", "SCORE")])
def test_before_a_downtime_each_type_drains_by_its_own_walltime(tmp_path: Path, names: tuple[str, ...]) -> None:
    walltimes = {"SCORE": 3600.0, "MCORE": 48 * 3600.0}
    types = {name: {**TYPES[name], "walltime": walltimes[name]} for name in names}
    one = World(tmp_path, [make_queue("Q", by_type=types, cores=8, resource_types=", ".join(names))])
    one.downtimes["Q"] = (Downtime(START + 10 * 3600.0, START + 20 * 3600.0, "cooling"),)
    one.activate("Q:MCORE", 5)
    for _ in "12":
        one.activate("Q:SCORE", 30)
        decision = cycle(one).decision
        assert decision and decision.by_type == {"SCORE": 30, "MCORE": 0}, "the queue itself is not slowed"
        one.advance(15)
    one.advance(9.5 * 3600.0)
    one.activate("Q:SCORE", 30)
    assert cycle(one).submitted_count == 0
    one.advance(11 * 3600.0)
    assert cycle(one).submitted_count == 1, "afterwards it begins slowly"


def test_pilots_of_one_type_never_answer_another(tmp_path: Path) -> None:
    one = world(tmp_path, 30, 0)
    cycle(one)
    one.wms.activated["Q:SCORE"] = 0
    one.activate("Q:MCORE", 10)
    one.advance(15)
    assert cycle(one).submitted_count == 10
    one.run(600)
    assert (one.pool.served, one.pool.idle) == (10, 30)


@pytest.mark.parametrize("lag", [0.0, 90.0])
def test_no_job_is_asked_for_twice(tmp_path: Path, lag: float) -> None:
    one = World(tmp_path, [split()], lag=lag, period=lag)
    one.wms.activated = {"Q:SCORE": 25, "Q:MCORE": 7}
    one.pool.start_after, one.pool.run_for = 5.0, 20.0
    one.wms.tick()
    one.run(1200)
    assert (one.pool.served, one.pool.idle) == (32, 0)


def test_limits_are_the_whole_queues(tmp_path: Path) -> None:
    one = world(tmp_path, 300, 100, rules={"max_per_cycle": 40, "max_pending": 60, "max_pilots": 90})
    one.pool.start_after = None
    for total in (40, 60, 60):
        cycle(one)
        assert one.pool.in_flight == total
        one.advance(15)
    assert of_type(one, "SCORE") == 45
    one.pool.start_after = 0.0
    one.run(300)
    assert one.pool.in_flight == 90


def test_the_factorys_limit_counts_what_earlier_types_took(tmp_path: Path) -> None:
    one = World(tmp_path, [split()], maximum=11)
    one.wms.activated = {"Q:SCORE": 50, "Q:MCORE": 50}
    one.wms.tick()
    cycle(one)
    one.advance(15)
    cycle(one)
    assert one.pool.in_flight == 11


def test_siblings_of_one_type(tmp_path: Path) -> None:
    one = World(tmp_path, [split(), make_queue("S", wmsqueue="Q", resource_types="SCORE", cores=1)])
    one.wms.activated = {"Q:SCORE": 20, "Q:MCORE": 6}
    one.wms.tick()
    reports = one.cycle()
    assert reports["Q"].decision is not None
    assert reports["Q"].decision.by_type == {"SCORE": 10, "MCORE": 6}
    assert reports["S"].submitted_count == 10


def test_a_restart_remembers_the_types(tmp_path: Path) -> None:
    one = world(tmp_path, 12, 5)
    one.pool.hidden = True
    cycle(one)
    one.restart()
    assert [(entry.resource_type, entry.waiting) for entry in one.ledger.of_queue("Q")] == [("SCORE", 0), ("MCORE", 0)]
    assert one.ledger.most_waiting("Q", "MCORE") == 5
    assert one.ledger.most_waiting("Q") == 17
    assert cycle(one).submitted == ()


def test_pilots_from_before_the_split_answer_any_type(tmp_path: Path) -> None:
    one = World(tmp_path, [make_queue("Q", resource_types="SCORE, MCORE")])
    one.wms.activated = {"Q:SCORE": 6, "Q:MCORE": 9}
    one.pool.start_after = None
    one.wms.tick()
    cycle(one)
    assert one.pool.in_flight == 15
    one.reload([split()])
    one.advance(15)
    report = cycle(one)
    assert report.submitted == ()
    assert report.pilots == PilotCounts(pending=15)


def test_after_a_failure_the_rest_waits_for_the_next_cycle(tmp_path: Path) -> None:
    one = world(tmp_path, 12, 5)
    one.pool.answer = "partial"
    report = cycle(one)
    assert (report.error, report.submitted_count) == ("refused: full", 6)
    assert [(entry.count, entry.outcome) for entry in one.ledger.of_queue("Q")] == [
        (6, Outcome.ACCEPTED),
        (0, Outcome.SETTLED),
    ]
    one.pool.answer = "bug"
    with pytest.raises(ZeroDivisionError):
        cycle(one)
    assert one.ledger.of_queue("Q")[-1].outcome is not Outcome.OPEN
    one.pool.answer = "ok"
    one.pool.run_for = 10.0
    one.run(3000)
    assert (one.pool.served, one.pool.idle) == (17, 0)


def test_a_full_disk_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world(tmp_path, 12, 5)
    first = one.ledger.open

    def full(*args: Any, **words: Any) -> str:
        if words["resource_type"] == "MCORE":
            raise OSError("No space left on device")
        return first(*args, **words)

    monkeypatch.setattr(one.ledger, "open", full)
    report = cycle(one)
    assert report.blocked is not None
    assert report.blocked.reason == "cannot write down what is submitted: No space left on device"
    assert [(entry.count, entry.outcome) for entry in one.ledger.of_queue("Q")] == [(0, Outcome.SETTLED)]


def test_blocked_and_dry(tmp_path: Path) -> None:
    one = world(tmp_path, 12, 5)
    one.cycles["Q"]._dry_run = True
    assert sentence(cycle(one)).startswith("would submit 17 (12 SCORE, 5 MCORE): ")
    one.pool.down = True
    one.advance(300)
    report = cycle(one)
    assert report.blocked is not None
    assert report.activated == 17


def test_the_record_keeps_the_types(tmp_path: Path) -> None:
    one = World(tmp_path, [split(), make_queue("S", wmsqueue="Q", resource_types="SCORE", cores=1)])
    one.wms.activated = {"Q:SCORE": 20, "Q:MCORE": 6}
    one.wms.tick()
    report = one.cycle()["Q"]
    assert report.siblings == ("S",)
    kept = recorded("Q", report.at, report.at, ages(report), paper(report)).report
    assert kept.decision == report.decision
