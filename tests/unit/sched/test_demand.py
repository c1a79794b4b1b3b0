"""A queue's part of the demand: every job is asked for once, however many queues and factories serve it."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import JobCount
from autopyfactory.sched.demand import Claim, Demand, deal, job_cores, part


def cell(activated: int, resource_type: str = "", label: str = "") -> JobCount:
    return JobCount(resource_type, label, {"activated": activated, "running": 7})


def ask(cells: Sequence[JobCount], mine: Claim, siblings: Sequence[Claim], share: Fraction = Fraction(1)) -> int:
    """Return what the rule ready asks for."""
    demand = part(cells, mine, siblings, share=share, cores_of={"MCORE": mine.cores})
    return max(0, demand.gross - mine.waiting - demand.surplus)


@pytest.mark.parametrize(
    ("resource_type", "named", "site", "pilot", "cores"),
    [
        ("SCORE", {}, 8, 8, 1),
        ("MCORE", {}, 8, 4, 8),
        ("MCORE_HIMEM", {}, 16, 4, 16),
        ("MCORE", {}, None, 4, 4),
        ("MCORE", {}, 1, 4, 4),
        ("MCORE", {"MCORE": 6}, 8, 4, 6),
        ("", {}, 8, 8, 1),
    ],
)
def test_cores_of_a_job(resource_type: str, named: dict[str, int], site: int | None, pilot: int, cores: int) -> None:
    assert job_cores(resource_type, named, site, pilot) == cores


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (10, {"a": 1, "b": 1}, {"a": 5, "b": 5}),
        (1, {"b": 1, "a": 1}, {"a": 1, "b": 0}),
        (10, {"a": 2, "b": 1}, {"a": 7, "b": 3}),
        (7, {"a": 0, "b": 1}, {"a": 0, "b": 7}),
        (7, {"a": 0, "b": 0}, {"a": 0, "b": 0}),
        (7, {}, {}),
        (0, {"a": 1}, {"a": 0}),
    ],
)
def test_deal(total: int, weights: dict[str, int], parts: dict[str, int]) -> None:
    assert deal(total, {name: Fraction(weight) for name, weight in weights.items()}) == parts


weight = st.fractions(min_value=0, max_value=10, max_denominator=20)


@given(st.integers(0, 10_000), st.dictionaries(st.text("abcdef", min_size=1, max_size=3), weight, max_size=8))
def test_deal_sums_exactly_and_fairly(total: int, weights: dict[str, Fraction]) -> None:
    parts = deal(total, weights)
    whole = sum(weights.values(), Fraction(0))
    assert sum(parts.values()) == (total if whole else 0)
    for name, number in parts.items():
        assert abs(number - (total * weights[name] / whole if whole else Fraction(0))) < 1


@pytest.mark.parametrize(
    ("share", "cores", "cells", "gross"),
    [
        ("1", 1, [cell(40)], 40),
        ("1/4", 1, [cell(40)], 10),
        ("1/4", 1, [cell(1)], 1),
        ("0", 1, [cell(40)], 0),
        # Rounded once over all cells, not once for each.
        ("1/4", 1, [cell(1, label=str(k)) for k in range(10)], 3),
        ("1", 8, [cell(9, "SCORE"), cell(2, "MCORE")], 4),
        ("1", 8, [cell(1, "SCORE"), cell(0, "MCORE")], 1),
        ("1", 1, [], 0),
    ],
)
def test_gross_of_a_queue_alone(share: str, cores: int, cells: list[JobCount], gross: int) -> None:
    demand = part(cells, Claim("Q", cores=cores), share=Fraction(share), cores_of={"MCORE": 8})
    assert demand.gross == gross
    assert demand.activated == sum(one.activated for one in cells)


def test_only_what_a_queue_counts() -> None:
    cells = [cell(1, "SCORE", "user"), cell(10, "MCORE", "user"), cell(100, "MCORE", "prod")]
    assert part(cells, Claim("Q", labels=frozenset({"user"}))).activated == 11
    assert part(cells, Claim("Q", resource_types=frozenset({"MCORE"}))).gross == 110
    assert part(cells, Claim("Q", labels=frozenset({"test"}))).gross == 0


@pytest.mark.parametrize(
    ("jobs_per_pilot", "cores", "cells", "gross"),
    [
        ("4", 1, [cell(40)], 10),
        ("4", 1, [cell(41)], 11),
        ("3/2", 1, [cell(4)], 3),
        ("2", 8, [cell(17, "SCORE"), cell(1, "MCORE")], 2),
        ("4", 1, [cell(1, label=str(k)) for k in range(9)], 3),
    ],
)
def test_pilots_that_run_several_jobs(jobs_per_pilot: str, cores: int, cells: list[JobCount], gross: int) -> None:
    mine = Claim("Q", cores=cores, jobs_per_pilot=Fraction(jobs_per_pilot))
    assert part(cells, mine, cores_of={"MCORE": 8}).gross == gross


def test_siblings_whose_pilots_run_different_numbers_of_jobs() -> None:
    one, four = Claim("a"), Claim("b", jobs_per_pilot=Fraction(4))
    assert (part([cell(40)], one, [four]).gross, part([cell(40)], four, [one]).gross) == (20, 5)
    # Its pilots beyond its own part of 20 answer four jobs each.
    assert ask([cell(40)], one, [replace(four, waiting=8)]) == 8


@pytest.mark.parametrize(
    ("labels", "counted"),
    [
        ("", 1),
        ("managed", 1),
        ("user, managed", 1),
        ("ptest", 100),
        ("managed, ptest", 101),
        ("test", 1),
        ("install", 0),
    ],
)
def test_a_site_in_test_gives_by_label(labels: str, counted: int) -> None:
    cells = [cell(1, label="test"), cell(10, label="managed"), cell(100, label="ptest")]
    cells = [replace(one, testing=True) for one in cells]
    claim = Claim("Q", labels=frozenset(filter(None, labels.split(", "))), test_labels=frozenset({"test"}))
    demand = part(cells, claim)
    assert (demand.activated, demand.testing) == (counted, ("test",))
    assert part([replace(cell(5), testing=True)], claim).activated == 5, "a WMS that tells no labels"


def test_several_wmsqueues() -> None:
    cells = [replace(cell(40), wmsqueue="A"), replace(cell(8), wmsqueue="B"), replace(cell(100), wmsqueue="C")]
    both, one = Claim("both", wmsqueues=frozenset("AB")), Claim("one", wmsqueues=frozenset("B"))
    assert part(cells, both).gross == 48
    assert (part(cells, both, [one]).gross, part(cells, one, [both]).gross) == (44, 4)
    assert ask(cells, one, [replace(both, waiting=48)]) == 0


def test_only_the_global_shares_of_a_queue() -> None:
    cells = [replace(cell(3), share="Express"), replace(cell(40), share="Upgrade")]
    assert part(cells, Claim("Q", shares=frozenset({"Express"}))).activated == 3
    assert part(cells, Claim("Q")).activated == 43
    assert part([cell(5)], Claim("Q", shares=frozenset({"Express"}))).activated == 5, "a WMS that tells no shares"


def test_siblings_share_by_weight() -> None:
    claims = [Claim("a", Fraction(3)), Claim("b"), Claim("c", Fraction(0))]
    parts = [part([cell(40)], mine, [other for other in claims if other is not mine]).gross for mine in claims]
    assert parts == [30, 10, 0]


def test_one_job_of_each_kind_is_spread() -> None:
    cells = [cell(1, label=str(k)) for k in range(10)]
    assert part(cells, Claim("a"), [Claim("b")]).gross == part(cells, Claim("b"), [Claim("a")]).gross == 5


def test_a_blocked_sibling_has_no_part_but_its_pilots_count() -> None:
    blocked = Claim("b", waiting=4, active=False)
    assert part([cell(10)], Claim("a"), [blocked]).gross == 10
    assert ask([cell(10)], Claim("a"), [blocked]) == 6


def test_a_sibling_that_was_alone_leaves_nothing_to_ask_for() -> None:
    assert ask([cell(10)], Claim("b"), [Claim("a", waiting=10)]) == 0


def test_a_stuck_pilot_of_a_blocked_sibling_answers_one_job_not_one_of_each_queue() -> None:
    stuck = Claim("z", waiting=1, active=False)
    asks = [ask([cell(3)], Claim("a"), [Claim("b"), stuck]), ask([cell(3)], Claim("b"), [Claim("a"), stuck])]
    assert sorted(asks) == [1, 1]


def test_surplus_counts_only_for_those_it_can_serve() -> None:
    cells = [cell(10, "X"), cell(10, "Y")]
    only_x, only_y = frozenset({"X"}), frozenset({"Y"})
    both = Claim("both", waiting=10, active=False)
    a, b = Claim("a", resource_types=only_x), Claim("b", resource_types=only_y)
    assert ask(cells, a, [b, both]) + ask(cells, b, [a, both]) == 10
    assert ask(cells, a, [Claim("z", resource_types=only_y, waiting=99)]) == 10


def test_a_pilot_whose_jobs_a_sibling_takes_in_part_is_not_sent() -> None:
    cells = [cell(16, "X"), cell(16, "Y")]
    large = Claim("a", cores=8, resource_types=frozenset({"X"}))
    small, idle = Claim("b", resource_types=frozenset({"Y"})), Claim("z", waiting=4, active=False)
    found = part(cells, large, [small, idle])
    assert (found.gross, found.surplus) == (2, 1)


def test_ten_siblings_of_a_quarter_factory_round_up_once() -> None:
    claims = [Claim(f"q{k}") for k in range(10)]
    asks = [ask([cell(10)], mine, [other for other in claims if other is not mine], Fraction(1, 4)) for mine in claims]
    assert sum(asks) == 3


def test_siblings_of_different_size_cover_the_demand() -> None:
    cells = [cell(100, "SCORE")]
    small, large = Claim("s"), Claim("l", cores=8)
    total = ask(cells, small, [large]) + 8 * ask(cells, large, [small])
    assert 100 <= total < 108


claim_sets = st.lists(
    st.builds(
        Claim,
        queue=st.just(""),
        weight=st.fractions(min_value=Fraction(1, 10), max_value=9, max_denominator=10),
        labels=st.just(frozenset[str]()),
        waiting=st.integers(0, 60),
        active=st.booleans(),
    ),
    min_size=1,
    max_size=5,
).map(lambda claims: [replace(claim, queue=f"q{k}") for k, claim in enumerate(claims)])


@given(claim_sets, st.lists(st.integers(0, 50), max_size=4), st.sampled_from([1, 8]), st.randoms(use_true_random=False))
def test_siblings_never_ask_for_more_than_there_is(
    claims: list[Claim], counts: list[int], cores: int, random: Random
) -> None:
    cells = [cell(count, "MCORE", str(k)) for k, count in enumerate(counts)]
    claims = [replace(claim, cores=cores) for claim in claims]
    before = sum(claim.waiting for claim in claims)
    order = list(range(len(claims))) * 2
    random.shuffle(order)
    for k in order:
        more = ask(cells, claims[k], [claim for claim in claims if claim is not claims[k]])
        claims[k] = replace(claims[k], waiting=claims[k].waiting + more)
    assert sum(claim.waiting for claim in claims) <= max(before, sum(counts))


@given(claim_sets, st.integers(0, 100))
def test_siblings_that_can_submit_ask_for_all_there_is(claims: list[Claim], jobs: int) -> None:
    claims[0] = replace(claims[0], active=True)
    before = sum(claim.waiting for claim in claims)
    # Each round of cycles asks for what rounding has left over from the round before.
    for k in [*range(len(claims))] * 8:
        mine = claims[k]
        if mine.active:
            more = ask([cell(jobs)], mine, [claim for claim in claims if claim is not mine])
            claims[k] = replace(mine, waiting=mine.waiting + more)
    assert sum(claim.waiting for claim in claims) == max(before, jobs)


kinds = st.sampled_from([frozenset[str](), frozenset({"X"}), frozenset({"Y"}), frozenset({"X", "Y"})])
mixed_claims = st.lists(
    st.builds(
        Claim,
        queue=st.just(""),
        weight=weight,
        cores=st.sampled_from([1, 3, 8]),
        resource_types=kinds,
        waiting=st.integers(0, 20),
        active=st.booleans(),
    ),
    min_size=1,
    max_size=5,
).map(lambda claims: [replace(claim, queue=f"q{k}") for k, claim in enumerate(claims)])


@given(mixed_claims, st.integers(0, 60), st.integers(0, 60), st.fractions(0, 1, max_denominator=9))
def test_any_mixture_is_sane(claims: list[Claim], x: int, y: int, share: Fraction) -> None:
    cells = [cell(x, "X"), cell(y, "Y")]
    for mine in claims:
        demand = part(cells, mine, [claim for claim in claims if claim is not mine], share=share)
        assert 0 <= demand.surplus <= demand.gross <= demand.activated


def test_pilots_that_do_not_start_starve_no_sibling() -> None:
    cells = [JobCount("SCORE", "managed", {"activated": 150})]
    stuck = Claim("B", waiting=200, active=False)
    assert part(cells, Claim("A"), [stuck]).surplus == 150
    assert part(cells, Claim("A"), [replace(stuck, fresh=30)]).surplus == 30
    assert part(cells, Claim("A"), [replace(stuck, fresh=0)]) == Demand(150, 150, 0)
    assert part(cells, Claim("A"), [replace(stuck, active=True, fresh=0)]) == Demand(150, 75, 0)
