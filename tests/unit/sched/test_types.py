"""The decision of a queue that counts each resource type alone."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.model import PilotCounts, Site
from autopyfactory.report import Decision
from autopyfactory.sched import asked, chain, decide
from autopyfactory.sched.demand import Demand
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import QueueState
from autopyfactory.sched.types import decide_by_type, divide

NUMBER = st.integers(0, 60)
TYPES = st.dictionaries(st.sampled_from(["SCORE", "MCORE", "SCORE_HIMEM", "MCORE_HIMEM"]), st.tuples(NUMBER, NUMBER))


def decided(
    types: Mapping[str, tuple[int, int]], *, status: str = "online", running: int = 0, **rules: Any
) -> Decision:
    """Decide on (jobs, waiting pilots) by type."""
    options = RuleOptions(**rules)
    states = {
        name: QueueState("Q", options, PilotCounts(pending=waiting), Demand(jobs, jobs), site=Site(status))
        for name, (jobs, waiting) in types.items()
    }
    pilots = PilotCounts(pending=sum(waiting for _, waiting in types.values()), running=running)
    whole = QueueState("Q", options, pilots, Demand(0, 0), site=Site(status))
    return decide_by_type(chain(("ready",), options), whole, states)


def test_pilots_of_one_type_answer_no_other() -> None:
    decision = decided({"SCORE": (10, 30), "MCORE": (5, 1)})
    assert decision.by_type == {"SCORE": 0, "MCORE": 4}
    assert (decision.count, decision.of("MCORE"), decision.of(""), decision.of("X")) == (4, 4, 4, 0)
    assert (asked(decision, "SCORE"), asked(decision, "MCORE"), asked(decision, "X")) == (0, 4, 0)


def test_what_running_pilots_will_take_is_not_asked_for() -> None:
    options = RuleOptions(turnover="2h")
    rules = chain(("ready",), options)
    pilots = (PilotCounts(running=running) for running in (60, 120))
    few, many = (decide(rules, QueueState("Q", options, one, Demand(8, 8), site=Site("online"))) for one in pilots)
    assert (few.count, asked(few)) == (3, 8)
    assert (many.count, asked(many)) == (0, 0)


def test_a_limit_is_the_whole_queues() -> None:
    decision = decided({"SCORE": (90, 0), "MCORE": (30, 0)}, max_per_cycle=12)
    assert decision.by_type == {"SCORE": 9, "MCORE": 3}
    steps = [(step.rule, step.resource_type, step.after) for step in decision.steps if step.after != step.before]
    assert steps == [("ready", "SCORE", 90), ("ready", "MCORE", 30), ("max_per_cycle", "", 12)]
    assert decided({"SCORE": (90, 40), "MCORE": (30, 20)}, max_pending=60).count == 0


def test_a_gate_sends_pilots_of_each_type() -> None:
    assert decided({"SCORE": (9, 0), "MCORE": (0, 0)}, status="test").by_type == {"SCORE": 1, "MCORE": 1}
    assert decided({"SCORE": (9, 0), "MCORE": (0, 0)}, status="offline").count == 0


def test_a_small_type_is_not_starved() -> None:
    assert divide(1, {"big": 1000, "small": 1}, {"big": 1, "small": 0}) == {"big": 0, "small": 1}
    assert divide(1, {"big": 1000, "small": 1}, {"big": 0, "small": 0}) == {"big": 1, "small": 0}
    assert divide(50, {"big": 1000, "small": 1}, {"big": 900, "small": 0}) == {"big": 49, "small": 1}


@settings(max_examples=60)
@given(asks=st.dictionaries(st.text("abcd", max_size=1), NUMBER), total=st.integers(0, 200))
def test_what_is_divided_is_neither_more_nor_less(asks: dict[str, int], total: int) -> None:
    total = min(total, sum(asks.values()))
    parts = divide(total, asks, dict.fromkeys(asks, 3))
    assert sum(parts.values()) == total
    assert all(0 <= parts[name] <= ask for name, ask in asks.items())
    if total >= sum(ask > 0 for ask in asks.values()):
        assert all(parts[name] for name, ask in asks.items() if ask)


def test_what_running_pilots_will_take_is_deducted_from_the_sum() -> None:
    found = decided({"SCORE": (30, 0), "MCORE": (20, 0)}, turnover="2h", running=120)
    assert (found.count, sum(found.by_type.values())) == (40, 40)


@settings(max_examples=60)
@given(types=TYPES, most=NUMBER, pending=NUMBER, pilots=NUMBER)
def test_limits_hold_for_the_sum_and_demand_for_each(
    types: dict[str, tuple[int, int]], most: int, pending: int, pilots: int
) -> None:
    decision = decided(types, max_per_cycle=most, max_pending=pending, max_pilots=pilots)
    waiting = sum(waiting for _, waiting in types.values())
    assert 0 <= decision.count <= max(0, min(most, pending - waiting, pilots - waiting))
    assert sum(decision.by_type.values()) == decision.count
    for name, (jobs, mine) in types.items():
        assert decision.by_type[name] <= max(0, jobs - mine)
