"""Each rule's formula and edge cases, and what holds for any chain of them."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import Downtime, PilotCounts, Site
from autopyfactory.report import Decision
from autopyfactory.sched import RULES, chain, decide, needs
from autopyfactory.sched.demand import Demand
from autopyfactory.sched.endings import Endings, Tendency
from autopyfactory.sched.gates import GATES, KNOWN, OFFLINE, SERVING
from autopyfactory.sched.limits import LIMITS
from autopyfactory.sched.makers import MAKERS
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import Ask, Budget, Kind, Need, QueueState, Rule, Ruling


def state(options: dict[str, Any] | None = None, **values: Any) -> QueueState:
    given: dict[str, Any] = {"demand": Demand(0, 0), "pilots": PilotCounts(), "site": Site("online"), **values}
    return QueueState("Q", RuleOptions(**(options or {})), **given)


def run(rules: str, given: QueueState) -> Decision:
    return decide(chain(tuple(rules.split()), given.options), given)


def number(rules: str, options: dict[str, Any] | None = None, **values: Any) -> int:
    return run(rules, state(options, **values)).count


@pytest.mark.parametrize(
    ("options", "demand", "waiting", "left", "count"),
    [
        ({}, Demand(40, 40), 0, 0, 40),
        ({}, Demand(40, 40), 15, 0, 25),
        ({}, Demand(40, 40), 15, 10, 15),
        ({}, Demand(40, 40), 50, 0, 0),
        ({}, Demand(40, 10), 4, 0, 6),
        ({}, Demand(40, 40, surplus=30), 4, 0, 6),
        ({"ready_offset": 30}, Demand(40, 40), 4, 0, 6),
        ({"ready_offset": 50}, Demand(40, 40), 0, 0, 0),
        ({}, Demand(0, 0), 0, 0, 0),
    ],
)
def test_ready(options: dict[str, Any], demand: Demand, waiting: int, left: int, count: int) -> None:
    assert number("ready", options, demand=demand, pilots=PilotCounts(pending=waiting), left=left) == count


def test_ready_tells_all_it_used() -> None:
    given = state({"ready_offset": 2}, demand=Demand(40, 20, 3), pilots=PilotCounts(pending=4), left=5)
    step = run("ready", given).steps[0]
    assert step.why == (
        "40 activated, 20 pilots are this queue's part, 2 left to others, 4 waiting,"
        " 5 started or gone too lately for the figures, 3 answered by siblings' pilots"
    )
    assert step.inputs == {"activated": 40, "offset": 2, "pending": 4}


@pytest.mark.parametrize("held", ["held", "suspended", "unknown", "running", "finishing"])
def test_what_does_not_wait_does_not_answer_demand(held: str) -> None:
    options = {"max_held": 1000}
    assert number("ready", options, demand=Demand(40, 40), pilots=PilotCounts(**{held: 30})) == 40


@pytest.mark.parametrize("waiting", ["unsent", "pending", "ambiguous", "unseen"])
def test_what_waits_answers_demand(waiting: str) -> None:
    assert number("ready", demand=Demand(40, 40), pilots=PilotCounts(**{waiting: 30})) == 10


@pytest.mark.parametrize(
    ("factor", "gross", "waiting", "count"),
    [
        ("0.25", 40, 0, 10),
        ("0.25", 40, 10, 0),
        ("0.01", 40, 0, 1),
        ("1/3", 10, 0, 4),
        ("0.1", 30, 0, 3),
        ("2", 10, 5, 15),
        ("0", 10, 0, 0),
        ("0.5", 0, 0, 0),
    ],
)
def test_scale_is_on_the_demand_not_on_the_difference(factor: str, gross: int, waiting: int, count: int) -> None:
    given = {"demand": Demand(gross, gross), "pilots": PilotCounts(pending=waiting)}
    assert number("ready scale", {"scale": factor}, **given) == count


def test_fixed() -> None:
    assert number("fixed", {"fixed": 3}, demand=None) == 3
    assert number("ready fixed", {"fixed": 3}, demand=Demand(40, 40)) == 3
    assert number("fixed ready", {"fixed": 3}, demand=Demand(40, 40)) == 40
    assert number("fixed scale", {"fixed": 3, "scale": "0.5"}, demand=None) == 2
    assert number("fixed", demand=None) == 0


def test_min_per_cycle() -> None:
    assert number("ready min_per_cycle", {"min_per_cycle": 2}) == 2
    assert number("ready min_per_cycle", {"min_per_cycle": 2}, demand=Demand(9, 9)) == 9
    assert number("ready min_per_cycle") == 0
    many = PilotCounts(pending=100)
    assert number("ready min_per_cycle", {"min_per_cycle": 2}, pilots=many) == 2


def test_a_minimum_that_is_scaled_does_not_grow_with_what_waits() -> None:
    options = {"min_per_cycle": 1, "scale": 2}
    assert number("ready min_per_cycle scale", options, pilots=PilotCounts(pending=100)) == 2


@pytest.mark.parametrize("word", sorted(KNOWN))
def test_status(word: str) -> None:
    expected = 9 if word in SERVING else 1 if word == "test" else 0
    assert number("ready", demand=Demand(9, 9), site=Site(word)) == expected


def test_gates_set_the_number_also_without_demand() -> None:
    options = {"status_test": 3, "status_offline": 2}
    assert number("ready", options, site=Site("test")) == 3
    for word in OFFLINE:
        assert number("ready", options, site=Site(word), demand=Demand(40, 40)) == 2


def test_a_minimum_never_defeats_a_gate_or_a_limit() -> None:
    options = {"min_per_cycle": 5, "max_pilots": 3}
    for rules in ("ready min_per_cycle", "min_per_cycle ready min_per_cycle", "status_offline ready min_per_cycle"):
        assert number(rules, options, site=Site("offline")) == 0
        assert number(rules, options) == 3


def test_gates_without_demand_act_only_when_set() -> None:
    assert needs(chain(("fixed",), RuleOptions(fixed=1))) == frozenset()
    assert needs(chain(("fixed",), RuleOptions(fixed=1, status_test=1))) == {Need.SITE}
    assert needs(chain(("ready",), RuleOptions())) == {Need.DEMAND, Need.SITE}


def test_chain_sorts_makers_gates_limits() -> None:
    names = [rule.name for rule in chain(("max_pilots", "status_test", "min_per_cycle", "ready"), RuleOptions())]
    assert names[:2] == ["min_per_cycle", "ready"]
    assert names[2:] == [rule.name for rule in (*GATES, *LIMITS) if not rule.needs or rule in GATES]
    assert [rule.name for rule in chain(("fixed",), RuleOptions(transferring_limit=1)) if rule.needs] == [
        "transferring_limit"
    ]
    with pytest.raises(KeyError):
        chain(("redy",), RuleOptions())


@pytest.mark.parametrize(
    ("options", "values", "count"),
    [
        ({"max_per_cycle": 12}, {}, 12),
        ({"max_per_cycle": 0}, {}, 0),
        ({"max_pending": 30}, {"pilots": PilotCounts(pending=20)}, 10),
        ({"max_pending": 30}, {"pilots": PilotCounts(pending=31)}, 0),
        ({"max_pending": 30}, {}, 30),
        ({"max_pending": 30, "max_pending_exempt_empty": True}, {}, 50),
        ({"max_pending": 30, "max_pending_exempt_empty": True}, {"pilots": PilotCounts(pending=1)}, 29),
        ({"max_pending": 30}, {"pilots": PilotCounts(held=9)}, 30),
        ({"max_pilots": 100}, {"pilots": PilotCounts(running=60, held=5, suspended=5, unknown=5)}, 25),
        ({"max_pilots": 100}, {"pilots": PilotCounts(running=130)}, 0),
        ({"max_pilots": 100}, {"pilots": PilotCounts(finishing=130)}, 50),
        ({}, {"pilots": PilotCounts(held=10)}, 50),
        ({}, {"pilots": PilotCounts(held=11)}, 1),
        ({}, {"pilots": PilotCounts(held=11), "quiet": 599.0}, 0),
        ({"max_held": 0}, {"pilots": PilotCounts(held=1), "quiet": 599.0}, 0),
        ({}, {"trouble": "ce1 is unreachable since 12:00:00"}, 1),
        ({}, {"trouble": "ce1 is silent since 12:00:00", "quiet": 599.0}, 0),
        ({"max_held_probe": 599.0}, {"pilots": PilotCounts(held=11), "quiet": 599.0}, 1),
        ({"transferring_limit": 100}, {"transferring": 99}, 50),
        ({"transferring_limit": 100}, {"transferring": 100}, 0),
        ({"transferring_limit": 0}, {"transferring": 0}, 0),
        ({}, {"transferring": 10**9}, 50),
        ({}, {"ramp": 1}, 1),
        ({}, {"ramp": 64}, 50),
        ({}, {"budget": Budget(100, 7)}, 7),
        ({}, {"budget": Budget(100, -7)}, 0),
        ({}, {"budget": Budget(100, 60, {"R": 10})}, 50),
        ({}, {"budget": Budget(100, 50, {"R": 50})}, 25),
        ({}, {"budget": Budget(100, 1, {f"R{k}": 50 for k in range(300)})}, 1),
        ({}, {"budget": Budget(100, 0, {"R": 50})}, 0),
        ({}, {"budget": Budget(100, 10, {"Q": 999})}, 10),
        ({}, {"budget": Budget(100, 100, {}, unheard=9)}, 10),
        ({}, {"budget": Budget(1000, 1000, {"R": 7}, unheard=9)}, 50),
    ],
)
def test_limits(options: dict[str, Any], values: dict[str, Any], count: int) -> None:
    assert number("fixed", {"fixed": 50, **options}, demand=None, **values) == count


def test_rules_without_what_they_need_say_so() -> None:
    given = state({"transferring_limit": 1, "keep_pending": 1, "retire": 0}, demand=None, site=None)
    for rule in RULES.values():
        if rule.needs:
            with pytest.raises(LookupError, match=f"the rule {rule.name} needs"):
                rule.apply(Ask(), given)
        else:
            rule.apply(Ask(), given)


def test_a_limit_that_would_raise_does_not() -> None:
    traitor = Rule("traitor", Kind.LIMIT, lambda ask, state: Ruling(Ask(ask.count + 5), "more"))
    fixed = RULES["fixed"]
    assert decide((fixed, traitor), state({"fixed": 3})).count == 3


def test_steps_tell_before_and_after() -> None:
    steps = run("ready scale", state({"scale": "0.5", "max_per_cycle": 3}, demand=Demand(8, 8))).steps
    assert [(step.rule, step.before, step.after) for step in steps] == [
        ("ready", 0, 8),
        ("scale", 8, 4),
        ("max_per_cycle", 4, 3),
        ("max_pilots", 3, 3),
    ]


small = st.integers(0, 40)
few = st.just(0) | small
maybe = st.none() | small
factors = st.fractions(min_value=0, max_value=3, max_denominator=12)
counts = st.builds(
    PilotCounts, unsent=few, pending=few, running=few, suspended=few, held=few, unknown=few, ambiguous=few
)
shares = st.none() | st.just(Fraction(1, 2))
options = st.builds(
    RuleOptions,
    turnover=st.none() | st.sampled_from([60.0, 7200.0]),
    turnover_ahead=st.sampled_from([0.0, 600.0]),
    throttle=shares,
    empty_guard=shares,
    downtime_drain_before=st.none() | st.just(300.0),
    retire=maybe,
    ready_offset=small,
    weighted_activated=factors,
    weighted_pending=factors,
    fixed=maybe,
    scale=factors,
    min_per_cycle=maybe,
    min_pending=maybe,
    keep_running=maybe,
    keep_pending=st.integers(1, 40),
    keep_pending_idle_every=st.integers(1, 5),
    status_test=maybe,
    status_test_max_pending=maybe,
    status_test_burst=maybe,
    transferring_limit=maybe,
    status_offline=maybe,
    max_per_cycle=maybe,
    max_pending=maybe,
    max_pending_exempt_empty=st.booleans(),
    max_held=small,
    max_pilots=st.integers(0, 200),
)
kinds = st.sampled_from(
    [Tendency(), Tendency(5, 5, streak=5), Tendency(40, 30, calm=2), Tendency(40, 30, calm=5), Tendency(9, 3)]
)
downtimes = st.builds(Downtime, st.integers(0, 2000), st.integers(500, 3000), st.just("cooling"))
states = st.builds(
    QueueState,
    queue=st.just("Q"),
    options=options,
    pilots=counts,
    demand=st.builds(Demand, small, st.integers(0, 200), few),
    left=few,
    site=(st.just("online") | st.sampled_from(sorted(KNOWN))).map(Site),
    ramp=st.none() | st.integers(1, 64),
    quiet=st.sampled_from([0.0, 119.0, 120.0, 599.0, 600.0, float("inf")]),
    trouble=st.sampled_from(["", "ce1 is unreachable since 12:00:00"]),
    trial=st.sampled_from(["", "", "ce2 refused, it is tried again"]),
    held=maybe,
    now=st.just(1000.0),
    downtimes=st.just(()) | st.tuples(downtimes),
    walltime=st.none() | st.just(600.0),
    endings=st.builds(Endings, kinds, kinds, st.just("n1"), st.sampled_from([0, 29]), st.booleans()),
    cycle=st.integers(0, 9),
    transferring=small,
    budget=st.none()
    | st.builds(Budget, st.just(100), st.integers(-50, 100), st.dictionaries(st.sampled_from("RST"), small)),
)
makers = st.lists(st.sampled_from([rule.name for rule in MAKERS]), max_size=5).map(tuple)


@given(makers, states)
def test_caps_always_hold(rules: tuple[str, ...], given: QueueState) -> None:
    decision = decide(chain(rules, given.options), given)
    most, pilots = given.options, given.pilots
    assert 0 <= decision.count <= max(0, most.max_pilots - pilots.in_flight)
    if most.max_per_cycle is not None:
        assert decision.count <= most.max_per_cycle
    if most.max_pending is not None and not most.max_pending_exempt_empty:
        assert decision.count <= max(0, most.max_pending - pilots.waiting)
    if given.ramp is not None:
        assert decision.count <= given.ramp
    if given.budget is not None:
        assert decision.count <= max(0, given.budget.free)
    if most.transferring_limit is not None and (given.transferring or 0) >= most.transferring_limit:
        assert decision.count == 0
    for step in decision.steps:
        assert RULES[step.rule].kind is not Kind.LIMIT or step.after <= step.before
        assert step.why


def start(count: int) -> Rule:
    return Rule("start", Kind.MAKER, lambda ask, state: Ruling(Ask(count), "given"))


@given(st.integers(1, 60), states)
def test_what_calls_for_caution_leaves_a_probe(count: int, given: QueueState) -> None:
    options, endings = given.options, given.endings
    held = given.pilots.held if given.held is None else given.held
    for rule, acts, pace in (
        ("max_held", held > options.max_held, options.max_held_probe),
        ("endpoint", bool(given.trouble or given.trial), options.max_held_probe),
        ("throttle", options.throttle is not None and endings.hole(options), options.throttle_probe),
        ("empty_guard", options.empty_guard is not None and endings.workless(options), options.empty_guard_probe),
    ):
        due = (given.pilots.waiting == 0 and given.quiet >= pace) or (rule == "endpoint" and given.trial)
        assert decide((start(count), RULES[rule]), given).count == (int(bool(due)) if acts else count)
    lead = given.walltime if options.downtime_drain_before is None else options.downtime_drain_before
    near = [one for one in given.downtimes if one.start - (lead or 0.0) <= given.now < one.end]
    assert decide((start(count), RULES["downtime"]), given).count == (0 if near else count)


@given(st.integers(0, 60), states)
def test_what_is_deducted_and_what_is_removed(count: int, given: QueueState) -> None:
    steps = {step.rule: step for step in decide((start(count), *LIMITS), given).steps}
    options, pilots, demand = given.options, given.pilots, given.demand
    if options.turnover is not None:
        taken = pilots.running * options.turnover_ahead / options.turnover
        assert steps["turnover"].after == max(0, steps["turnover"].before - int(taken))
    if "retire" in steps and demand:
        stays = pilots.unsent + pilots.pending - int(steps["retire"].inputs["retire"])
        floors = (options.min_pending, options.keep_pending, options.keep_running, demand.activated, demand.gross)
        assert steps["retire"].before == 0
        assert stays == max(floor or 0 for floor in floors) + (options.retire or 0)


@given(st.integers(0, 60), states)
def test_the_order_of_two_limits_does_not_matter(count: int, given: QueueState) -> None:
    # The budget is dealt by what is left after the others, and what is deducted comes before what is cut off.
    others = [rule for rule in LIMITS if rule.name not in {"max_per_factory", "turnover"}]
    first = start(count)
    for pair in combinations(others, 2):
        assert decide((first, *pair), given).count == decide((first, *reversed(pair)), given).count <= count


@given(states, st.fractions(min_value=Fraction(1, 100), max_value=1, max_denominator=100))
def test_a_factor_never_makes_a_demand_vanish(given: QueueState, factor: Fraction) -> None:
    demand = Demand(5, 5)
    empty = replace(given, options=RuleOptions(scale=factor), pilots=PilotCounts(), demand=demand, left=0)
    assert decide((RULES["ready"], RULES["scale"]), empty).count >= 1
