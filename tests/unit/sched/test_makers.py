"""The makers beyond the first ones, each with its table of cases."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import PilotCounts, Site
from autopyfactory.sched.demand import Demand
from autopyfactory.sched.makers import MAKERS
from tests.unit.sched.test_rules import number, run, state


@pytest.mark.parametrize(
    ("activated", "pending", "demand", "waiting", "left", "count"),
    [
        ("1", "1", Demand(40, 40), 15, 0, 25),
        ("0.5", "1", Demand(40, 40), 15, 0, 5),
        ("0.5", "2", Demand(40, 40), 6, 0, 8),
        ("0.5", "1", Demand(41, 41), 0, 0, 20),
        ("1", "0.5", Demand(40, 40), 15, 0, 33),
        ("1", "0", Demand(40, 40), 100, 0, 40),
        ("1", "0", Demand(40, 40), 100, 10, 30),
        ("2", "1", Demand(40, 40, surplus=10), 0, 50, 0),
        ("0", "1", Demand(40, 40), 0, 0, 0),
    ],
)
def test_weighted(activated: str, pending: str, demand: Demand, waiting: int, left: int, count: int) -> None:
    options = {"weighted_activated": activated, "weighted_pending": pending}
    assert number("weighted", options, demand=demand, pilots=PilotCounts(pending=waiting), left=left) == count


@pytest.mark.parametrize(
    ("rules", "options", "activated", "waiting", "left", "count"),
    [
        ("fill", {}, 40, 15, 0, 25),
        ("fill", {}, 10, 15, 0, 0),
        ("fixed fill", {"fixed": 2}, 40, 15, 5, 20),
        ("fixed fill", {"fixed": 2}, 10, 15, 0, 2),
        ("ready scale fill", {"scale": "0.1"}, 40, 15, 0, 25),
        ("ready scale fill", {"scale": "2"}, 40, 15, 0, 65),
        ("min_pending", {"min_pending": 5}, 0, 2, 0, 3),
        ("min_pending", {"min_pending": 5}, 0, 6, 0, 0),
        ("min_pending", {}, 0, 0, 0, 0),
        ("ready min_pending", {"min_pending": 5}, 40, 2, 0, 38),
        ("ready min_pending", {"min_pending": 5}, 3, 2, 0, 3),
        ("min_pending scale", {"min_pending": 5, "scale": "2"}, 0, 2, 0, 8),
    ],
)
def test_fill_and_min_pending(
    rules: str, options: dict[str, Any], activated: int, waiting: int, left: int, count: int
) -> None:
    demand = Demand(activated, activated)
    assert number(rules, options, demand=demand, pilots=PilotCounts(pending=waiting), left=left) == count


@pytest.mark.parametrize(
    ("rules", "options", "pilots", "count"),
    [
        ("keep_running", {"keep_running": 100}, PilotCounts(running=60, pending=10), 30),
        ("keep_running", {"keep_running": 100}, PilotCounts(running=60, unseen=9, ambiguous=1), 30),
        ("keep_running", {"keep_running": 100}, PilotCounts(running=60, held=3), 40),
        ("keep_running", {"keep_running": 100}, PilotCounts(running=60, suspended=5, unknown=5, elsewhere=5), 25),
        ("keep_running", {"keep_running": 100}, PilotCounts(running=130), 0),
        ("fixed keep_running", {"fixed": 50}, PilotCounts(running=20, pending=10), 20),
        ("ready keep_running", {}, PilotCounts(running=20, pending=10), 10),
        ("keep_running", {}, PilotCounts(), 0),
        ("fixed keep_running", {"fixed": 50, "keep_running": 0}, PilotCounts(), 0),
    ],
)
def test_keep_running(rules: str, options: dict[str, Any], pilots: PilotCounts, count: int) -> None:
    assert number(rules, options, demand=Demand(40, 40), pilots=pilots) == count


@pytest.mark.parametrize(
    ("jobs", "waiting", "cycle", "extra", "count"),
    [
        (50, 0, 0, {}, 10),
        (50, 9, 1, {}, 10),
        (50, 10, 1, {}, 10),
        (50, 19, 1, {}, 10),
        (50, 20, 1, {}, 0),
        (10, 10, 1, {}, 0),
        (11, 10, 1, {}, 10),
        (1, 0, 1, {}, 10),
        (50, 20, 1, {"keep_pending_depth_boost": "2.5"}, 10),
        (50, 25, 1, {"keep_pending_depth_boost": "2.5"}, 0),
        (50, 10, 1, {"keep_pending_depth_boost": 1}, 0),
        (0, 0, 0, {}, 1),
        (0, 9, 0, {}, 1),
        (0, 10, 0, {}, 0),
        (0, 0, 1, {"keep_pending_idle_every": 3}, 0),
        (0, 0, 6, {"keep_pending_idle_every": 3}, 1),
    ],
)
def test_keep_pending(jobs: int, waiting: int, cycle: int, extra: dict[str, Any], count: int) -> None:
    options = {"keep_pending": 10, **extra}
    given = {"demand": Demand(jobs, jobs), "pilots": PilotCounts(pending=waiting), "cycle": cycle}
    assert number("keep_pending", options, **given) == count
    held = PilotCounts(pending=waiting, held=9)
    assert number("keep_pending", options, **{**given, "pilots": held}) == count


def test_keep_pending_takes_off_the_jobs_that_are_answered() -> None:
    assert number("keep_pending", {"keep_pending": 10}, demand=Demand(50, 50, surplus=20), left=30) == 1
    assert number("keep_pending", {"keep_pending": 10}, demand=Demand(50, 50, surplus=20), left=29) == 10


@pytest.mark.parametrize(
    ("demand", "pilots", "quiet", "count"),
    [
        (Demand(0, 0), PilotCounts(), math.inf, 1),
        (Demand(0, 0), PilotCounts(running=9), 3600.0, 1),
        (Demand(0, 0), PilotCounts(), 3599.0, 0),
        (Demand(0, 0), PilotCounts(pending=1), math.inf, 0),
        (Demand(3, 3), PilotCounts(), math.inf, 3),
        (Demand(3, 3), PilotCounts(pending=3), math.inf, 0),
    ],
)
def test_probe(demand: Demand, pilots: PilotCounts, quiet: float, count: int) -> None:
    assert number("ready probe", demand=demand, pilots=pilots, quiet=quiet) == count


def test_a_probe_does_not_pass_a_gate() -> None:
    assert number("ready probe", site=Site("offline")) == 0


@pytest.mark.parametrize(
    ("options", "pilots", "count"),
    [
        ({}, PilotCounts(pending=99), 1),
        ({"status_test_max_pending": 10}, PilotCounts(pending=10), 1),
        ({"status_test_max_pending": 10}, PilotCounts(pending=11), 0),
        ({"status_test_burst": 12}, PilotCounts(running=20), 12),
        ({"status_test_burst": 12}, PilotCounts(running=21), 1),
        ({"status_test_burst": 12, "status_test_burst_up_to": 5}, PilotCounts(running=6), 1),
        ({"status_test_burst": 12, "status_test_max_pending": 0}, PilotCounts(pending=1), 0),
        ({"status_test": 0, "status_test_burst": 1, "status_test_max_pending": 0}, PilotCounts(running=21), 0),
    ],
)
def test_status_test_as_in_the_first_factory(options: dict[str, Any], pilots: PilotCounts, count: int) -> None:
    assert number("ready", options, site=Site("test"), pilots=pilots, demand=Demand(40, 40)) == count


@pytest.mark.parametrize("maker", [maker.name for maker in MAKERS])
def test_every_maker_says_what_it_did(maker: str) -> None:
    step = run(maker, state({"fixed": 1, "min_per_cycle": 1, "min_pending": 1, "keep_pending": 1})).steps[0]
    assert step.rule == maker
    assert step.why


@given(
    st.sampled_from([maker.name for maker in MAKERS]),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from(["pending", "unseen", "ambiguous", "unknown"]),
)
def test_pilots_of_which_nobody_knows_lead_to_no_more(maker: str, jobs: int, there: int, more: int, where: str) -> None:
    options = {"fixed": 5, "min_per_cycle": 3, "min_pending": 9, "keep_running": 30, "keep_pending": 4}
    demand = Demand(jobs, jobs)
    known = number(maker, options, demand=demand, pilots=PilotCounts(pending=there))
    counts = {"pending": there, where: more + (there if where == "pending" else 0)}
    assert number(maker, options, demand=demand, pilots=PilotCounts(**counts)) <= known
