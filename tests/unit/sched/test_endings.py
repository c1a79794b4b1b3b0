"""What the ends of pilots say, and the limits that act on it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import EndedPilot, PilotCounts
from autopyfactory.sched.endings import LAST, End, Endings, Tendency, judge, weigh
from autopyfactory.sched.options import RuleOptions
from tests.unit.sched.test_rules import number, run, state

NOW = 100_000.0
GUARDED = RuleOptions(throttle="0.5", empty_guard="0.5")


def pilot(exit_code: int | None = 0, lived: float | None = 10.0, **more: Any) -> EndedPilot:
    return EndedPilot("1.0", "Q", "s", exit_code, **{"at": NOW - 1, "lived": lived, "node": "n1", **more})


GOOD, EMPTY, BAD = pilot(0, 5000.0), pilot(0), pilot(1)


@pytest.mark.parametrize(
    ("ended", "end"),
    [
        (pilot(0, 5000.0), End.WORKED),
        (pilot(1, 5000.0), End.WORKED),
        (pilot(None, 5000.0), End.WORKED),
        (pilot(None, 5000.0, fault="ran longer than its walltime"), End.WORKED),
        (pilot(0, 299.0), End.EMPTY),
        (pilot(0, 300.0), End.WORKED),
        (pilot(20), End.EMPTY),
        (pilot(82), End.EMPTY),
        (pilot(1, 179.0), End.FAULT),
        (pilot(-9), End.FAULT),
        (pilot(None, 0.0, fault="its node could not start it"), End.FAULT),
        (pilot(0, 0.0, fault="lost"), End.FAULT),
        (pilot(1, 180.0), End.WORKED),
        (pilot(None, 10.0), None),
        (pilot(1, None), None),
        (pilot(None, 10.0, fault="removed"), None),
        (pilot(None, 5000.0, fault="removed: its input did not come"), None),
    ],
)
def test_what_the_end_of_a_pilot_says(ended: EndedPilot, end: End | None) -> None:
    assert judge(ended, GUARDED) is end


def endings(pilots: Sequence[EndedPilot], good: frozenset[str] = frozenset(), **options: Any) -> Endings:
    return weigh(pilots, RuleOptions(throttle="0.5", empty_guard="0.5", **options), NOW, good)


@pytest.mark.parametrize(
    ("pilots", "hole"),
    [
        ([], False),
        ([BAD] * 4, False),
        ([BAD] * 5, True),
        ([BAD] * 4 + [GOOD], False),
        ([BAD] * 4 + [EMPTY], False),
        ([GOOD, BAD] * 10, False),
        ([BAD, GOOD, BAD] * 6, False),
        ([BAD, GOOD, BAD] * 7, True),
        ([GOOD] * 100 + [BAD] * 5, True),
        ([EMPTY] * 100, False),
        ([BAD] * 50 + [GOOD] * 4, True),
        ([BAD] * 50 + [GOOD] * 5, False),
        ([pilot(1, None)] * 50, False),
    ],
)
def test_throttle_needs_twenty_or_all_of_the_last_five(pilots: list[EndedPilot], hole: bool) -> None:
    dated = [pilot(one.exit_code, one.lived, at=NOW - 1000 + k) for k, one in enumerate(pilots)]
    found = endings(dated)
    assert found.hole(GUARDED) is hole
    assert not found.hole(RuleOptions())
    step = number("fixed", {"fixed": 50, "throttle": "0.5"}, endings=found)
    assert step == (1 if hole else 50)
    assert number("fixed", {"fixed": 50, "throttle": "0.5"}, endings=found, quiet=599.0) == (0 if hole else 50)
    assert number("fixed", {"fixed": 50, "throttle": "0.5"}, endings=found, pilots=PilotCounts(pending=1)) == (
        0 if hole else 50
    )
    assert number("fixed", {"fixed": 50}, endings=found) == 50


def test_old_faults_are_forgotten_but_not_between_two_probes() -> None:
    old = [pilot(1, at=NOW - 3601 + k) for k in range(5)]
    assert endings(old[1:] + old[1:2]).hole(GUARDED)
    assert not endings(old).hole(GUARDED)
    assert endings(old, throttle_probe=1000.0).hole(GUARDED)


def test_one_bad_node_is_named_and_does_not_throttle_its_ce() -> None:
    bad = [pilot(1, at=NOW - k) for k in range(17)]
    rest = [pilot(1, at=NOW - k, node="n2") for k in range(4)]
    good = frozenset({"n2"})
    assert endings(bad + rest, good).one_node
    assert not endings(bad + rest, good).hole(GUARDED)
    assert endings(bad + rest, good).node == "n1"
    assert endings(bad + rest, frozenset({"n1"})).hole(GUARDED), "no other node is known to work"
    assert endings(bad + rest).hole(GUARDED)
    assert endings(bad[:16] + rest, good).hole(GUARDED), "80 % are not over 80 %"
    nameless = [pilot(1, at=NOW - k, node="") for k in range(30)]
    assert endings(nameless, good).hole(GUARDED)


def test_what_a_node_did_before_the_window_does_not_count() -> None:
    before = [pilot(1, at=NOW - 4000.0) for _ in range(40)]
    here = [pilot(1, at=NOW - k) for k in range(9)]
    there = [pilot(1, at=NOW - k, node="n2") for k in range(12)]
    found = endings(before + here + there, frozenset({"n3"}))
    assert (found.node, found.node_faults, found.faults.count) == ("n2", 12, 21)
    assert found.hole(GUARDED)


@pytest.mark.parametrize(
    ("pilots", "workless"),
    [
        ([], False),
        ([EMPTY] * 4, False),
        ([EMPTY] * 5, True),
        ([EMPTY] * 50, True),
        ([EMPTY] * 50 + [GOOD], False),
        ([GOOD, EMPTY, EMPTY] * 7, True),
        ([GOOD] * 20 + [EMPTY] * 4, False),
        ([BAD] * 50, False),
    ],
)
def test_empty_guard(pilots: list[EndedPilot], workless: bool) -> None:
    dated = [pilot(one.exit_code, one.lived, at=NOW - 500 + k) for k, one in enumerate(pilots)]
    found = endings(dated)
    assert found.workless(GUARDED) is workless
    options = {"fixed": 50, "empty_guard": "0.5"}
    assert number("fixed", options, endings=found) == (1 if workless else 50)
    assert number("fixed", options, endings=found, quiet=119.0) == (0 if workless else 50)
    assert number("fixed", options, endings=found, pilots=PilotCounts(pending=1)) == (0 if workless else 50)
    assert number("fixed", {"fixed": 50}, endings=found) == 50


def test_the_reason_names_figures_and_node() -> None:
    given = state({"fixed": 50, "throttle": "0.5"}, endings=Endings(Tendency(25, 15, 2, 0), node="n1", node_faults=9))
    step = next(step for step in run("fixed", given).steps if step.rule == "throttle")
    assert step.why == (
        "black hole, 15 of 25 pilots lived less than 180 s: one probe every 600 s, when none waits; 9 of them on n1"
    )


@pytest.mark.parametrize(
    ("job", "ahead", "running", "count"),
    [
        (None, 600.0, 120, 50),
        ("2h", 600.0, 120, 40),
        ("2h", 600.0, 11, 50),
        ("2h", 600.0, 0, 50),
        ("10m", 600.0, 120, 0),
        ("2h", 0.0, 120, 50),
    ],
)
def test_turnover(job: str | None, ahead: float, running: int, count: int) -> None:
    options = {"fixed": 50, "turnover": job, "turnover_ahead": ahead}
    assert number("fixed", options, pilots=PilotCounts(running=running)) == count


kinds = st.sampled_from([GOOD, EMPTY, BAD, pilot(1, None), pilot(None, 1.0)])
ended = st.lists(st.tuples(kinds, st.floats(0, 8000), st.sampled_from(["", "n1", "n2"])), max_size=40)


@given(ended, st.sampled_from(["0", "0.3", "1"]), st.integers(0, 60))
def test_what_ended_never_leads_to_more_and_what_is_unknown_changes_nothing(
    ends: list[tuple[EndedPilot, float, str]], share: str, count: int
) -> None:
    pilots = [pilot(one.exit_code, one.lived, at=NOW - age, node=node) for one, age, node in ends]
    options = RuleOptions(fixed=count, throttle=share, empty_guard=share)
    found = weigh(pilots, options, NOW, frozenset({"n2"}))
    given = {"fixed": count, "throttle": share, "empty_guard": share}
    restrained = number("fixed", given, endings=found)
    assert 0 <= restrained <= count
    assert restrained <= 1 or not (found.hole(options) or found.workless(options))
    known = [one for one in pilots if judge(one, options) is not None]
    assert weigh(known, options, NOW, frozenset({"n2"})) == found
    assert max(found.faults.streak, found.faults.calm) <= LAST
