"""A queue with several endpoints: where its pilots go, and what a CE in trouble gets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.batch import Order
from autopyfactory.batch.tally import Tally
from autopyfactory.cycle import Cycle
from autopyfactory.endpoints import Choice, Endpoints
from autopyfactory.errors import Ambiguous, Refused, SubmitError
from autopyfactory.memory import Memory
from autopyfactory.model import PilotCounts, PilotGroup, PilotReport, PilotState, Snapshot, Submitted, Trouble
from autopyfactory.report import CycleReport
from autopyfactory.sched import chain, decide
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import QueueState
from tests.unit.world import PoolBatch, World, make_queue, order_of


class Ces(PoolBatch):
    """A schedd with CEs behind it: what is submitted stays unsent."""

    def __init__(self, world: World) -> None:
        super().__init__("pool", world.pool, world.host)
        self.orders: list[Order] = []
        self.troubles: dict[str, Trouble] = {}
        self.held: dict[str, int] = {}
        self.full: dict[str, int] = {}
        self.refusing: set[str] = set()
        self.hanging: set[str] = set()
        self.holding: set[str] = set()
        self.tried: list[tuple[str, int]] = []

    def poll(self) -> PilotReport:
        super().poll()
        groups = [
            PilotGroup(
                order.id,
                "Q",
                PilotState.HELD if order.endpoint in self.holding else PilotState.UNSENT,
                order.count,
                "here",
                order.endpoint,
            )
            for order in self.orders
        ]
        groups += [
            PilotGroup(f"20230101T000000-{endpoint}", "Q", PilotState.HELD, count, "here", endpoint)
            for endpoint, count in self.held.items()
        ]
        return PilotReport(tuple(groups), troubles=self.troubles, full=self.full)

    def submit(self, order: Order) -> Submitted:
        self.tried.append((order.endpoint, order.count))
        if order.endpoint in self.refusing:
            raise Refused("no")
        if order.endpoint in self.hanging:
            raise Ambiguous("no answer within 45 s")
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


def test_after_a_black_hole_among_several_endpoints_the_queue_begins_slowly() -> None:
    memory = Memory()
    memory.note_holes(frozenset({"a"}))
    memory.note_holes(frozenset({"a", "b"}))
    assert memory.ramp is None
    memory.note_holes(frozenset({"b"}))
    assert memory.ramp == 1


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


def test_an_endpoint_that_is_paused_for_held_pilots_is_left_out(world: World) -> None:
    batch = Ces(world)
    cycle = cycle_of(world, batch, ("a", "b"))
    world.source.tender.paused = {("Q", "a"): Trouble("paused", 0.0), ("OTHER", "b"): Trouble("paused", 0.0)}
    world.source.tender.held = {"Q": "1 held: 1 x 'no space'"}
    assert run(world, cycle).note == "", "no pilot of this count is held"
    assert [order.endpoint for order in batch.orders] == ["b"]
    world.source.tender.held = {"Q": "1 held: 1 x 'no space'"}
    batch.held = {"a": 1}
    assert run(world, cycle).note == "1 held: 1 x 'no space'"


def test_a_full_ce_says_why_pilots_stay_unsent(world: World) -> None:
    batch = Ces(world)
    batch.full = {"a": 100, "z": 5}
    cycle = cycle_of(world, batch, ("a",))
    assert run(world, cycle).note == ""
    text = "a takes no more than 100 pilots from this schedd, the rest stays unsent"
    assert run(world, cycle).note == text


def test_a_queue_without_endpoints_is_paused_at_its_source() -> None:
    paused = {("Q", ""): Trouble("paused", 0.0)}
    snapshot = Snapshot(Tally(paused=paused), "x", 0.0, 0.0)
    assert (
        Endpoints().choose((), "Q", snapshot, 0.0, max_held=5, probe=600).trouble
        == "its source is paused since 00:00:00"
    )
    assert Endpoints().choose((), "P", snapshot, 0.0, max_held=5, probe=600).trouble == ""


def test_a_queue_without_endpoints_keeps_that_of_its_source(world: World) -> None:
    batch = Ces(world)
    run(world, cycle_of(world, batch, ()))
    assert [order.endpoint for order in batch.orders] == ["ce"]


def test_an_endpoint_with_too_many_held_pilots_is_left_out_and_the_others_go_on(world: World) -> None:
    batch = Ces(world)
    batch.held = {"a": 11, "b": 10}
    cycle = cycle_of(world, batch, ("a", "b", "c"))
    for _ in range(4):
        assert run(world, cycle).submitted_count == 6
    assert [order.endpoint for order in batch.orders] == ["c", "c", "b", "c"], "held ones weigh like waiting ones"


@pytest.mark.parametrize("paused", [True, False])
def test_one_that_holds_pilots_is_tried_with_one_pilot_while_the_others_go_on(world: World, paused: bool) -> None:
    batch = Ces(world)
    held = 1 if paused else 11
    batch.held = {"a": held}
    cycle = cycle_of(world, batch, ("a", "b"))

    def cycles(count: int) -> CycleReport:
        for _ in range(count):
            world.source.tender.paused = {("Q", "a"): Trouble("paused", 0.0)} if paused else {}
            report = run(world, cycle)
        return report

    report = cycles(11)
    assert batch.tried == [*[("b", 6)] * 10, ("a", 1)]
    steps = {step.rule: step for step in report.decision.steps} if report.decision else {}
    assert steps["endpoint"].why == f"a holds {held} pilots, one tries it again"
    cycles(40)
    assert batch.tried.count(("a", 1)) == 1, "that one still waits there"
    batch.holding = {"a"}
    cycles(41)
    assert batch.tried.count(("a", 1)) == 3, "at once, for the pause was over, then after twice as long"
    assert batch.tried.count(("b", 6)) == 10 + 40 + 39
    batch.held, batch.holding, paused = {}, set(), False
    cycles(1)
    assert batch.tried[-1] == ("a", 6), "it works like any other"


def test_an_endpoint_in_another_trouble_is_not_tried_for_its_held_pilots(world: World) -> None:
    batch = Ces(world)
    batch.held, batch.troubles = {"a": 11}, {"a": Trouble("silent", 0.0)}
    cycle = cycle_of(world, batch, ("a", "b"))
    for _ in range(20):
        run(world, cycle)
    assert set(batch.tried) == {("b", 6)}


def test_however_many_hold_pilots_and_refuse_one_that_works_has_every_second_cycle(world: World) -> None:
    batch = Ces(world)
    batch.held, batch.refusing = dict.fromkeys("abc", 11), set("de")
    cycle = cycle_of(world, batch, ("a", "b", "c", "d", "e", "f"))
    for _ in range(30):
        run(world, cycle, 400.0)
    assert sum(tried == ("f", 6) for tried in batch.tried) >= 14
    assert {endpoint for endpoint, _ in batch.tried} == set("abcdef")


def test_where_all_have_too_many_held_pilots_there_are_probes_only(world: World) -> None:
    batch = Ces(world)
    batch.held = {"a": 12, "b": 11}
    cycle = cycle_of(world, batch, ("a", "b"))
    reports = [run(world, cycle) for _ in range(3)]
    assert [(order.endpoint, order.count) for order in batch.orders] == [("b", 1)]
    steps = {step.rule: step for step in reports[1].decision.steps} if reports[1].decision else {}
    assert steps["max_held"].why.startswith("12 pilots are held, more than 10")


def test_held_pilots_of_a_queue_with_one_endpoint_count_whole(world: World) -> None:
    batch = Ces(world)
    batch.held = {"before": 6, "a": 6}
    assert run(world, cycle_of(world, batch, ("a",))).submitted_count == 1


def test_one_that_refuses_is_left_alone_and_tried_with_one_pilot(world: World) -> None:
    batch = Ces(world)
    batch.refusing = {"a"}
    cycle = cycle_of(world, batch, ("a", "b"))
    assert "refused" in run(world, cycle).error
    for _ in range(9):
        assert run(world, cycle).submitted_count == 6, "no ramp, for b goes on"
    assert batch.tried == [("a", 6), *[("b", 6)] * 9]
    report = run(world, cycle)
    steps = {step.rule: step for step in report.decision.steps} if report.decision else {}
    assert steps["endpoint"].why == "a took no pilots at 22:14:20, one tries it again"
    assert batch.tried[-1] == ("a", 1)
    for _ in range(20):
        run(world, cycle)
    assert batch.tried.count(("a", 1)) == 2, "the pause has doubled"
    batch.refusing = set()
    for _ in range(42):
        run(world, cycle)
    assert ("a", 6) in batch.tried, "the third trial went well"


@pytest.mark.parametrize("first", ["refuses", "hangs"])
def test_one_that_hangs_is_left_alone_like_one_that_refuses(world: World, first: str) -> None:
    batch = Ces(world)
    batch.refusing, batch.hanging = ({"a"}, set()) if first == "refuses" else (set(), {"a"})
    cycle = cycle_of(world, batch, ("a", "b"))
    run(world, cycle)
    batch.refusing, batch.hanging = set(), {"a"}
    for _ in range(40):
        run(world, cycle)
    tried = [endpoint for endpoint, _ in batch.tried]
    assert tried.count("a") == 3, "two trials, the pause doubles"
    assert sum(count for endpoint, count in batch.tried if endpoint == "b") > 100


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_failure_is_booked_where_the_submission_went(world: World, how: str) -> None:
    """The call may have been left behind by a reload, and the queue have chosen another endpoint since."""

    class Overtaken(Ces):
        def submit(self, order: Order) -> Submitted:
            cycle.memory.endpoints.chosen = "b"
            return super().submit(order)

    batch = Overtaken(world)
    batch.refusing, batch.hanging = ({"a"}, set()) if how == "refuses" else (set(), {"a"})
    cycle = cycle_of(world, batch, ("a", "b"))
    for _ in range(3):
        run(world, cycle)
    assert [endpoint for endpoint, _ in batch.tried] == ["a", "b", "b"]


@pytest.mark.parametrize("kind", [Refused, Ambiguous])
def test_a_call_that_we_broke_off_ourselves_speaks_against_no_endpoint(
    world: World, kind: Callable[..., SubmitError]
) -> None:
    class Closed(Ces):
        def submit(self, order: Order) -> Submitted:
            self.tried.append((order.endpoint, order.count))
            raise kind("closed", stopped=True)

    closed, batch = Closed(world), Ces(world)
    cycle = cycle_of(world, closed, ("a", "b"))
    assert "closed" in run(world, cycle).error
    world.source.batch = batch
    for _ in range(2):
        run(world, cycle)
    assert closed.tried == [("a", 6)]
    assert sorted(batch.tried) == [("a", 6), ("b", 6)], "neither a pause nor a ramp"


def test_the_only_endpoint_that_refuses_ramps(world: World) -> None:
    batch = Ces(world)
    batch.refusing = {"a"}
    cycle = cycle_of(world, batch, ("a",))
    for _ in range(3):
        run(world, cycle)
    batch.refusing = set()
    for _ in range(4):
        run(world, cycle)
    assert batch.tried == [("a", count) for count in (6, 1, 1, 1, 2, 4, 6)]


def test_where_all_refuse_they_are_tried_in_turn_and_come_back_together(world: World) -> None:
    batch = Ces(world)
    batch.refusing = {"a", "b"}
    cycle = cycle_of(world, batch, ("a", "b"))
    for _ in range(4):
        run(world, cycle)
    assert batch.tried == [("a", 6), ("b", 6), ("a", 1), ("b", 1)]
    batch.refusing = set()
    for _ in range(4):
        run(world, cycle)
    assert batch.tried[4:] == [("a", 1), ("b", 2), ("a", 4), ("b", 6)]


def test_an_endpoint_that_the_queue_does_not_name_any_more_is_forgotten() -> None:
    endpoints = Endpoints()
    nothing = Snapshot(Tally(), "pool", 0.0, 0.0)
    endpoints.choose("ab", ("Q",), nothing, 1.0, max_held=10, probe=600)
    assert endpoints.refused("a", 1.0, 600)
    assert endpoints.choose("b", ("Q",), nothing, 2.0, max_held=10, probe=600) == Choice("b")
    assert endpoints.choose("ab", ("Q",), nothing, 3.0, max_held=10, probe=600).endpoint == "a"
    assert endpoints.choose("ab", ("Q",), nothing, 3.0, max_held=10, probe=600, avoid={"a"}).endpoint == "b"
    assert endpoints.choose("", ("Q",), nothing, 4.0, max_held=10, probe=600) == Choice()


@pytest.mark.parametrize(
    ("seen", "count"),
    [
        ({"held": 10}, 50),
        ({"held": 11}, 1),
        ({"pilots": PilotCounts(held=99), "held": 10}, 50),
        ({"trial": "ce1 refused pilots"}, 1),
    ],
)
def test_what_the_limits_make_of_it(seen: dict[str, Any], count: int) -> None:
    state = QueueState("Q", RuleOptions(fixed=50), **{"pilots": PilotCounts(), **seen})
    assert decide(chain(("fixed",), state.options), state).count == count


def test_a_copy_of_a_memory_goes_ways_of_its_own() -> None:
    memory = Memory(ramp=4)
    memory.endpoints.refused("a", 1.0, 600)
    memory.endpoints.sent("b", 1.0, 5)
    copy, again = memory.copy(), memory.copy()
    assert copy == memory
    memory.endpoints.refused("b", 2.0, 600)
    memory.endpoints.sent("b", 2.0, 5)
    memory.endpoints.accepted("a")
    memory.ramp = 1
    assert copy == again


NAMES = ("a", "b", "c")


@settings(max_examples=40, deadline=None)
@given(weather=st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=60))
def test_a_refusing_endpoint_gets_single_pilots_and_starves_nobody(weather: list[set[str]]) -> None:
    endpoints, now = Endpoints(), 0.0
    nothing = Snapshot(Tally(), "pool", float("-inf"), 0.0)
    refusals: dict[str, float] = {}
    trials = 0
    for refusing in weather:
        now += 60.0
        choice = endpoints.choose(NAMES, ("Q",), nothing, now, max_held=10, probe=600)
        free = set(NAMES) - refusals.keys()
        if free:
            assert choice.endpoint in free or choice.trial, "one that refused gets one pilot at most"
            assert bool(choice.trial) == (choice.endpoint in refusals)
            if choice.trial:
                assert now - refusals[choice.endpoint] >= 600
        trials += bool(choice.trial)
        if choice.endpoint in refusing:
            refusals[choice.endpoint] = now
            assert endpoints.refused(choice.endpoint, now, 600.0) == bool(set(NAMES) - refusals.keys())
        else:
            endpoints.sent(choice.endpoint, now, 1)
            endpoints.accepted(choice.endpoint)
            if not free:
                refusals.clear()
            refusals.pop(choice.endpoint, None)
    assert trials <= 2 * len(weather) / 10 + 2, "two that refuse cost two cycles of ten at most"
