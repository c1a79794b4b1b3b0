"""The last pilots of a queue, and what a queue makes of a black hole and of pilots without work."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from autopyfactory.model import EndedPilot
from autopyfactory.outcomes import GOOD_FOR, KEEP, NODES, Outcomes
from autopyfactory.sched.options import RuleOptions
from tests.unit.world import ManualClock, World, make_queue

OPTIONS = RuleOptions(throttle="0.5")


def ends(clock: ManualClock, count: int, code: int, node: str = "n1", queue: str = "Q") -> list[EndedPilot]:
    return [
        EndedPilot(f"1.{k}", queue, "s", code, endpoint="ce", node=node, lived=5.0, at=clock.now())
        for k in range(count)
    ]


def test_a_record_is_of_one_queue_at_one_endpoint_and_bounded() -> None:
    clock = ManualClock()
    outcomes = Outcomes(clock)
    outcomes.add(ends(clock, 9, 1) + ends(clock, 5, 1, queue="R"))
    assert outcomes.endings("Q", "ce", OPTIONS).faults.count == 9
    assert outcomes.endings("R", "ce", OPTIONS).faults.count == 5
    assert outcomes.endings("Q", "other", OPTIONS).faults.count == 0
    assert outcomes.endings("X", "ce", OPTIONS).faults.count == 0
    outcomes.add(ends(clock, 1000, 1))
    assert outcomes.endings("Q", "ce", OPTIONS).faults.count == KEEP
    outcomes.keep({"R"})
    assert outcomes.endings("Q", "ce", OPTIONS).faults.count == 0
    assert outcomes.endings("R", "ce", OPTIONS).hole(OPTIONS)


def test_one_bad_node_is_named_once_while_others_are_known_to_work(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    outcomes = Outcomes(clock)
    outcomes.add(ends(clock, 1, 0, "n2"))
    clock.at += 3700.0
    outcomes.add(ends(clock, 30, 1))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not outcomes.endings("Q", "ce", OPTIONS).hole(OPTIONS)
    assert caplog.messages == [
        "Q: 30 of the last 30 short-lived pilots at ce ran on node n1, others work: tell its admin"
    ]
    clock.at += GOOD_FOR
    outcomes.add(ends(clock, 30, 1))
    assert outcomes.endings("Q", "ce", OPTIONS).hole(OPTIONS), "nothing is known of the others any more"


def test_a_node_that_works_for_another_queue_or_ce_spares_none() -> None:
    clock = ManualClock()
    outcomes = Outcomes(clock)
    outcomes.add(ends(clock, 1, 0, "n2", queue="R"))
    outcomes.add([replace(one, endpoint="other") for one in ends(clock, 1, 0, "n3")])
    outcomes.add(ends(clock, 30, 1))
    assert outcomes.endings("Q", "ce", OPTIONS).hole(OPTIONS)


def test_of_more_nodes_than_it_keeps_the_oldest_are_forgotten() -> None:
    clock = ManualClock()
    outcomes = Outcomes(clock)
    outcomes.add(ends(clock, 1, 0, "n2"))
    outcomes.add(ends(clock, 30, 1))
    outcomes.add([one for k in range(NODES - 1) for one in ends(clock, 1, 0, f"n{k}", queue="R")])
    assert not outcomes.endings("Q", "ce", OPTIONS).hole(OPTIONS), "others work"
    outcomes.add(ends(clock, 1, 0, "one more", queue="R"))
    assert outcomes.endings("Q", "ce", OPTIONS).hole(OPTIONS), "nothing is known of the others any more"


def world(tmp_path: Path, rules: dict[str, str]) -> World:
    found = World(tmp_path, [make_queue("Q", rules={"max_pending": 20, **rules})])
    found.pool.start_after = 0.0
    return found


def test_a_black_hole_costs_the_probe_rate_within_two_cycles_and_is_left_slowly(tmp_path: Path) -> None:
    one = world(tmp_path, {"throttle": "0.5", "throttle_probe": "5m", "throttle_window": "30m"})
    one.pool.run_for, one.pool.code = 5.0, 1
    one.activate("Q", 100_000)
    for _ in range(2):
        one.cycle()
        one.advance(30.0)
    start = one.pool.submitted
    one.run(7200.0)
    assert start == 20
    assert 20 <= one.pool.submitted - start <= 7200 / 300 + 1
    one.pool.run_for, one.pool.code = 100_000.0, 0
    before = one.pool.submitted
    one.run(1800.0 + 300.0)
    assert one.pool.submitted - before > 60
    assert one.cycles["Q"].memory.ramp is None
    counts = [entry.count for entry in one.ledger.of_queue("Q")]
    assert counts[counts.index(2) :][:3] == [2, 4, 8]


def test_without_the_rule_it_costs_a_pilot_per_slot_and_cycle(tmp_path: Path) -> None:
    one = world(tmp_path, {})
    one.pool.run_for, one.pool.code = 5.0, 1
    one.activate("Q", 100_000)
    one.run(7200.0)
    assert one.pool.submitted == 7200 / 30 * 20


def test_pilots_without_work_slow_a_queue_down_until_there_is_some(tmp_path: Path) -> None:
    one = world(tmp_path, {})
    queue = make_queue("Q", rules={"empty_guard": "0.5", "fixed": 10})
    one.reload([replace(queue, options=queue.options.model_copy(update={"rules": ("fixed",)}))])
    one.run(1800.0)
    assert one.pool.submitted <= 10 + 1800 / 120 + 1
    one.activate("Q", 10_000)
    one.pool.run_for = 400.0
    one.run(1800.0)
    assert one.pool.served > 300
