"""A queue with several endpoints: where its pilots go, and what a CE in trouble gets."""

from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from autopyfactory.batch import Order
from autopyfactory.cycle import Cycle
from autopyfactory.errors import Refused
from autopyfactory.model import CycleReport, PilotGroup, PilotReport, PilotState, Submitted, Trouble
from tests.unit.world import PoolBatch, World, make_queue, order_of


class Ces(PoolBatch):
    """A schedd with CEs behind it: what is submitted stays unsent."""

    def __init__(self, world: World) -> None:
        super().__init__("pool", world.pool, world.host)
        self.orders: list[Order] = []
        self.troubles: dict[str, Trouble] = {}

    def poll(self) -> PilotReport:
        super().poll()
        groups = (
            PilotGroup(order.id, "Q", PilotState.UNSENT, order.count, "here", order.endpoint) for order in self.orders
        )
        return PilotReport(tuple(groups), troubles=self.troubles)

    def submit(self, order: Order) -> Submitted:
        self.orders.append(order)
        return Submitted(order.id, tuple(f"{len(self.orders)}.{k}" for k in range(order.count)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, [])


def cycle_of(world: World, batch: Ces, endpoints: tuple[str, ...]) -> Cycle:
    queue = make_queue("Q", rules={"fixed": 6}, wms="", wmsqueue="")
    queue = replace(queue, options=queue.options.model_copy(update={"rules": ("fixed",)}))
    world.source.batch = batch
    world.board.configure({"Q": queue}, [world.source], None)
    return Cycle(
        queue,
        world.source,
        None,
        world.board,
        world.ledger,
        world.clock,
        make_order=order_of,
        endpoints=endpoints,
    )


def run(world: World, cycle: Cycle, seconds: float = 60.0) -> CycleReport:
    world.advance(seconds)
    return cycle.run(Event())


def test_pilots_are_spread_by_what_waits(world: World) -> None:
    batch = Ces(world)
    cycle = cycle_of(world, batch, ("a", "b", "c"))
    for _ in range(6):
        run(world, cycle)
    assert [order.endpoint for order in batch.orders] == ["a", "b", "c", "a", "b", "c"]


def test_what_the_last_answer_does_not_show_counts_too(world: World) -> None:
    batch = Ces(world)
    cycle = cycle_of(world, batch, ("a", "b"))
    run(world, cycle)
    run(world, cycle, 1.0)
    assert [order.endpoint for order in batch.orders] == ["a", "b"]


def test_a_ce_in_trouble_is_left_out_while_another_works(world: World) -> None:
    batch = Ces(world)
    batch.troubles = {"a": Trouble("unreachable", 0.0)}
    cycle = cycle_of(world, batch, ("a", "b"))
    for _ in range(3):
        run(world, cycle)
    assert [order.endpoint for order in batch.orders] == ["b", "b", "b"]


def test_the_only_ce_in_trouble_gets_a_probe_and_nothing_while_it_waits(world: World) -> None:
    batch = Ces(world)
    batch.troubles = {"a": Trouble("unreachable", world.clock.now())}
    cycle = cycle_of(world, batch, ("a",))
    reports = [run(world, cycle) for _ in range(3)]
    assert [order.count for order in batch.orders] == [1]
    steps = {step.rule: step for step in reports[1].decision.steps} if reports[1].decision else {}
    assert steps["endpoint"].why.startswith("a is unreachable since 22:13:20: one probe every 600 s")
    batch.troubles = {}
    assert run(world, cycle).submitted_count == 6


def test_a_queue_without_endpoints_keeps_that_of_its_source(world: World) -> None:
    batch = Ces(world)
    run(world, cycle_of(world, batch, ()))
    assert [order.endpoint for order in batch.orders] == ["ce"]


def test_a_refusal_leaves_the_endpoint_to_be_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Ces(world)
    cycle = cycle_of(world, batch, ("a", "b"))
    tried: list[str] = []

    def refuse(order: Order) -> Submitted:
        tried.append(order.endpoint)
        raise Refused("no")

    monkeypatch.setattr(batch, "submit", refuse)
    for _ in range(2):
        run(world, cycle)
    assert tried == ["a", "a"]
