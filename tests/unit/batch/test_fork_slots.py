"""Slots are never exceeded, nobody is forgotten, nobody waits for ever."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch.fork_files import Record
from autopyfactory.batch.fork_slots import SlotPilot, Slots

numbers = itertools.count()


def pilot(queue: str, cores: int) -> SlotPilot:
    record = Record("base", 1, "F", "here", "s", queue, "here", "", cores, 0.0)
    return SlotPilot(f"base.{next(numbers)}", record)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[str, int]]]:
    size = draw(st.integers(1, 8))
    arrival = st.tuples(st.sampled_from("ABC"), st.integers(1, size))
    end = st.tuples(st.just("end"), st.integers(0, 7))
    return size, draw(st.lists(arrival | end, max_size=60))


def start_all(slots: Slots) -> None:
    while (one := slots.next()) is not None:
        slots.run(one, "process")
        assert slots.free >= 0


@given(histories())
def test_slots_are_never_exceeded_and_everybody_runs(history: tuple[int, list[tuple[str, int]]]) -> None:
    size, steps = history
    slots = Slots(size)
    present: set[str] = set()
    for what, number in steps:
        if what == "end":
            running = list(slots.running.values())
            if running:
                over = running[number % len(running)]
                slots.leave(over)
                present.remove(over.cid)
        else:
            one = pilot(what, number)
            slots.add(one)
            present.add(one.cid)
        start_all(slots)
        assert sum(one.record.cores for one in slots.running.values()) <= size
        assert {one.cid for one in slots.waiting()} | set(slots.running) == present
    for _ in steps:
        for one in list(slots.running.values()):
            slots.leave(one)
        start_all(slots)
    assert not list(slots.waiting()) + list(slots.running)


@given(st.integers(1, 8), st.integers(1, 20), st.integers(1, 20))
def test_queues_share_the_slots_evenly(size: int, first: int, second: int) -> None:
    slots = Slots(size)
    for queue, count in (("A", first), ("B", second)):
        for _ in range(count):
            slots.add(pilot(queue, 1))
    start_all(slots)
    queues = [one.record.queue for one in slots.running.values()]
    assert len(queues) == min(size, first + second)
    assert min(queues.count("A"), queues.count("B")) >= min(size // 2, first, second)


def test_a_large_pilot_is_not_overtaken() -> None:
    slots = Slots(4)
    small = [pilot("A", 1) for _ in range(4)]
    for one in small:
        slots.add(one)
    start_all(slots)
    large = pilot("B", 4)
    slots.add(large)
    slots.add(pilot("A", 1))
    for one in small:
        assert slots.next() is None
        slots.leave(one)
    assert slots.next() is large


def test_a_pilot_that_never_fits_comes_up_to_be_ended() -> None:
    slots = Slots(2)
    giant = pilot("A", 3)
    slots.add(giant)
    assert slots.next() is giant
