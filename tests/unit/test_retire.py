"""Pilots that wait for jobs that are gone: how many are removed, which, and when none is."""

from pathlib import Path
from typing import Any

import pytest

from autopyfactory.explain import sentence
from autopyfactory.model import PilotCounts, PilotState
from autopyfactory.sched.demand import Demand
from tests.unit.sched.test_rules import run, state
from tests.unit.world import World, make_queue


@pytest.mark.parametrize(
    ("options", "demand", "pilots", "surplus"),
    [
        ({"retire": 10}, Demand(5, 5), PilotCounts(pending=50, unsent=10), 45),
        ({"retire": 0}, Demand(0, 0), PilotCounts(pending=3), 3),
        ({"retire": 3}, Demand(0, 0), PilotCounts(pending=3), 0),
        ({"retire": 0}, Demand(40, 5), PilotCounts(pending=60), 20),
        ({"retire": 0}, Demand(0, 0), PilotCounts(running=9, held=9, ambiguous=9, unseen=9), 0),
        ({"retire": 0, "min_pending": 20}, Demand(0, 0), PilotCounts(pending=60), 40),
        ({"retire": 0, "keep_pending": 20}, Demand(0, 0), PilotCounts(pending=60), 40),
        ({"retire": 0, "keep_running": 20}, Demand(0, 0), PilotCounts(pending=60), 40),
        ({}, Demand(0, 0), PilotCounts(pending=60), 0),
    ],
)
def test_what_is_too_many(options: dict[str, Any], demand: Demand, pilots: PilotCounts, surplus: int) -> None:
    decision = run("ready", state(options, demand=demand, pilots=pilots))
    told = [step.inputs["retire"] for step in decision.steps if step.rule == "retire"]
    assert told == ([surplus] if surplus else [])
    assert decision.count == 0


def world(folder: Path, **rules: Any) -> World:
    found = World(folder, [make_queue("Q", rules={"retire": 2, "retire_after": "10m", **rules})])
    found.pool.start_after = None
    found.activate("Q", 20)
    found.cycle()
    found.advance(300.0)
    found.activate("Q", 5)
    found.cycle()
    assert found.pool.in_flight == 25
    found.wms.activated["Q"] = 0
    return found


def test_the_newest_that_waited_long_enough_go(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.advance(400.0)
    report = one.cycle()["Q"]
    assert report.retired == 20, "five have not waited for ten minutes"
    assert sentence(report).startswith("submitted 0, retired 20: ")
    one.advance(400.0)
    assert one.cycle()["Q"].retired == 3
    one.advance(60.0)
    assert one.cycle()["Q"].retired == 0
    assert one.pool.count("Q", PilotState.PENDING) == 2


def test_nothing_goes_while_the_demand_is_unknown_or_there(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.advance(1000.0)
    one.wms.down = True
    assert one.cycle()["Q"].retired == 0
    one.wms.down = False
    one.activate("Q", 23)
    assert one.cycle()["Q"].retired == 0


def test_a_batch_system_that_does_not_answer_is_told(tmp_path: Path) -> None:
    one = world(tmp_path)
    one.advance(1000.0)
    one.cycle("Q")
    one.batch.pilots = broken  # type: ignore[method-assign, assignment]
    one.pool.hidden_from = float("inf")
    one.reload([make_queue("Q", rules={"retire": 0, "retire_after": "10m"})])
    assert "cannot retire pilots: pool: no answer" in one.cycle()["Q"].error


def broken(*_: object) -> None:
    from autopyfactory.errors import SourceError

    raise SourceError("pool", "no answer")
