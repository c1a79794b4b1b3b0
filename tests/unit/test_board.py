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
