"""What queues know of each other: claims, last words, and one budget."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, cast

import pytest

from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board, claim_of
from autopyfactory.config.models import QueueConfig
from autopyfactory.sched.rule import Budget
from tests.unit.world import make_queue


class Flying:
    closed = False

    def __init__(self, number: int) -> None:
        self.number = number

    def in_flight(self) -> int:
        return self.number


def queues(**wmsqueues: str) -> Mapping[str, QueueConfig]:
    return {name: make_queue(name, wmsqueue=wmsqueue) for name, wmsqueue in wmsqueues.items()}


def board(known: Mapping[str, QueueConfig], maximum: int | None = None, *flying: int, **words: Any) -> Board:
    new = Board(None, **words)
    new.configure(known, [cast(PilotSource, Flying(number)) for number in flying], maximum)
    return new


def test_a_claim_as_configured() -> None:
    queue = make_queue("Q", weight="1/2", cores=8, labels="user, prod", resource_types="MCORE")
    claim = claim_of(queue, 3)
    assert (claim.weight, claim.cores, claim.waiting, claim.active) == (Fraction(1, 2), 8, 3, True)
    assert claim.labels == {"user", "prod"}
    assert claim.resource_types == {"MCORE"}


def test_siblings_are_those_of_the_same_wmsqueue_and_wms() -> None:
    known = {**queues(A="X", B="X", C="Y"), "D": make_queue("D", wmsqueue="X", wms="other")}
    one = board(known)
    assert [claim.queue for claim in one.siblings("A")] == ["B"]
    assert one.siblings("C") == one.siblings("gone") == []


def test_siblings_of_several_wmsqueues() -> None:
    known = {**queues(A="X", B="X, Y", C="Y", D="Z"), "E": make_queue("E", wmsqueue="Z, V"), "F": make_queue("F")}
    one = board(known)
    assert [claim.queue for claim in one.siblings("A")] == ["B", "C"]
    assert one.reach(known["C"]) == ("X", "Y")
    assert one.reach(known["D"]) == ("Z", "V")
    assert one.reach(known["F"]) == ("F",)
    assert one.reach(make_queue("new", wmsqueue="P, Q, P")) == ("P", "Q")
    late = board(queues(A="X", B="Y", C="X, Y"))
    assert [claim.queue for claim in late.siblings("B")] == ["A", "C"]
    assert one.names_of(one.siblings("A"), "B") == ("C",)


def test_a_weight_may_go_by_what_started_lately() -> None:
    by_drain: dict[str, Any] = {"wmsqueue": "X", "weight_by": "drain"}
    known = {
        **{name: make_queue(name, **by_drain) for name in "AB"},
        "C": make_queue("C", weight=3, **by_drain),
        "D": make_queue("D", wmsqueue="X", weight=2),
    }
    one = board(known)

    def weights() -> list[Fraction]:
        return [one.weight(claim_of(known[name])) for name in "ABCD"]

    assert weights() == [1, 1, 3, 2], "before anything is known"
    one.drained("A", 30)
    one.drained("B", 0)
    one.drained("C", 27)
    one.drained("D", 1000)
    one.drained("gone", 5)
    assert weights() == [Fraction(90, 60), Fraction(9, 60), 3 * Fraction(81, 60), 2]
    assert [claim.weight for claim in one.siblings("A")] == weights()[1:]
    for name in "ABC":
        one.drained(name, 0)
    assert weights() == [1, 1, 3, 2], "where nothing starts all are alike"
    assert one.weight(claim_of(make_queue("new", weight=7))) == 7


def test_last_words() -> None:
    one = board(queues(A="X", B="X"))
    assert one.siblings("A")[0].active, "before its first cycle it claims its part"
    one.decided("B", 12, 20)
    assert (one.siblings("A")[0].waiting, one.siblings("A")[0].active) == (12, True)
    one.blocked("B")
    assert (one.siblings("A")[0].waiting, one.siblings("A")[0].active) == (12, False)
    one.blocked("B", 7)
    assert one.siblings("A")[0].waiting == 7
    one.decided("B", 7, 0, able=False)
    assert not one.siblings("A")[0].active
    one.refused("B", 5)
    assert one.siblings("A")[0].waiting == 2
    one.decided("gone", 1, 1)
    one.blocked("gone")
    one.refused("gone", 1)


def test_before_its_first_cycle_a_queue_may_have_waiting_what_the_record_says() -> None:
    one = board(queues(A="X", B="X"), recorded=lambda queue, resource_type: {"A": 4, "B": 40}[queue])
    assert one.siblings("A")[0].waiting == 40


def test_a_reload_keeps_last_words() -> None:
    one = board(queues(A="X", B="X"), 10, 0)
    one.decided("B", 12, 20)
    one.configure({**queues(A="X", C="X"), "B": make_queue("B", wmsqueue="X", weight=5)}, [], 10)
    claims = {claim.queue: claim for claim in one.siblings("A")}
    assert (claims["B"].waiting, claims["B"].weight) == (12, Fraction(5))
    assert (claims["C"].waiting, claims["C"].active) == (0, True)
    assert one.budget("A") == Budget(10, 10, {"B": 20}, unheard=1)
    one.blocked("B")
    one.configure(queues(A="X", B="X"), [], 10)
    assert not one.siblings("A")[0].active
    one.configure(queues(A="X"), [], None)
    assert one.siblings("A") == []


@pytest.mark.parametrize(("flying", "free"), [((), 100), ((30, 50), 20), ((130,), -30)])
def test_budget(flying: tuple[int, ...], free: int) -> None:
    one = board(queues(A="X", B="Y", C="Z"), 100, *flying)
    assert one.budget("A") == Budget(100, free, {}, unheard=2)
    one.decided("A", 0, 5)
    one.decided("B", 0, 7)
    one.decided("C", 0, 0)
    assert one.budget("A") == Budget(100, free, {"B": 7})
    one.blocked("B")
    assert one.budget("A") == Budget(100, free)


def test_no_budget_where_none_is_set() -> None:
    assert board(queues(A="X"), None, 50).budget("A") is None
