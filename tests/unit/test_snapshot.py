"""One poll for all who ask: ages, single flight, back-off, and what a bug does to it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from autopyfactory.errors import SourceError
from autopyfactory.model import Snapshot
from autopyfactory.snapshot import Shared
from tests.unit.world import ManualClock

WAIT = 10.0
"""Seconds after which a thread that should have come through counts as wedged."""


class Source:
    """Something to poll: answers, fails, or hangs until it is let go."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = 0
        self.error: Exception | None = None
        self.lag = 0.0
        self.takes = 0.0
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def poll(self) -> Snapshot[int]:
        self.asked += 1
        began = self.clock.now()
        self.entered.release()
        assert self.gate.wait(WAIT)
        self.clock.at += self.takes
        if self.error is not None:
            raise self.error
        return Snapshot(self.asked, "src", began, began - self.lag)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source(clock: ManualClock) -> Source:
    return Source(clock)


def shared(source: Source, **values: float) -> Shared[int]:
    times = {"interval": 30.0, "max_age": 100.0, **values}
    return Shared("src", source.poll, clock=source.clock, jitter=lambda: 0.5, **times)  # type: ignore[arg-type]


@contextmanager
def threads(number: int, ask: Callable[[], object]) -> Iterator[list[object]]:
    """Run threads that ask; on leaving, all of them must have come through."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(ask())
        except BaseException as error:
            results.append(error)

    running = [threading.Thread(target=run, daemon=True) for _ in range(number)]
    for thread in running:
        thread.start()
    yield results
    for thread in running:
        thread.join(WAIT)
    assert len(results) == number


def waiters(of: Shared[int]) -> int:
    return len(of._changed._waiters)  # type: ignore[attr-defined]


def until_waiting(of: Shared[int], number: int) -> None:
    while waiters(of) < number:
        threading.Event().wait(0.001)


def test_two_hundred_threads_one_poll(source: Source) -> None:
    one = shared(source)
    source.gate.clear()
    with threads(200, lambda: one.get().value) as results:
        until_waiting(one, 199)
        source.gate.set()
    assert results == [1] * 200
    assert source.asked == 1


def test_two_hundred_threads_one_failure(source: Source) -> None:
    one = shared(source)
    source.gate.clear()
    source.error = SourceError("src", "no answer")
    with threads(200, one.get) as results:
        until_waiting(one, 199)
        source.gate.set()
    assert {str(result) for result in results} == {"src: no answer"}
    assert len({id(result) for result in results}) == 200, "an error raised in many threads mixes their traces"
    assert source.asked == 1


def test_a_poll_longer_than_the_interval_still_serves_all_who_waited(source: Source) -> None:
    one = shared(source, interval=10.0)
    source.takes = 20.0
    source.gate.clear()
    with threads(100, lambda: one.get().value) as results:
        until_waiting(one, 99)
        source.gate.set()
    assert results == [1] * 100
    assert source.asked == 1


def test_an_answer_serves_for_the_interval(source: Source, clock: ManualClock) -> None:
    one = shared(source)
    assert [one.get().value for _ in range(3)] == [1, 1, 1]
    clock.at += 29.9
    assert one.get().value == 1
    clock.at += 0.2
    assert one.get().value == 2


def test_the_interval_counts_from_the_begin_of_the_poll(source: Source, clock: ManualClock) -> None:
    one = shared(source)
    source.takes = 20.0
    one.get()
    clock.at += 10.0
    assert one.get().value == 2


def test_back_off_doubles_up_to_its_bound(source: Source, clock: ManualClock) -> None:
    one = shared(source, interval=10.0, max_age=1e9)
    source.error = SourceError("src", "no answer")
    waits = []
    for asked in range(1, 7):
        while source.asked < asked:
            with pytest.raises(SourceError):
                one.get()
            clock.at += 1.0
        waits.append(clock.at)
    assert [round(b - a) for a, b in pairwise(waits)] == [10, 20, 40, 60, 60]


def test_the_back_off_ends_with_the_first_answer(source: Source, clock: ManualClock) -> None:
    one = shared(source, interval=10.0)
    source.error = SourceError("src", "no answer")
    with pytest.raises(SourceError):
        one.get()
    source.error = None
    clock.at += 10.5
    assert one.get().value == 2
    clock.at += 10.5
    assert one.get().value == 3


def test_the_last_good_answer_serves_until_it_is_too_old(source: Source, clock: ManualClock) -> None:
    one = shared(source)
    source.lag = 20.0
    one.get()
    source.error = SourceError("src", "no answer")
    clock.at += 80.0
    assert one.get().value == 1
    clock.at += 0.5
    with pytest.raises(SourceError, match=r"src: no answer \(last good answer speaks of 100 s ago\)"):
        one.get()
    last = one.peek()
    assert last is not None
    assert last.value == 1


def test_an_answer_that_is_old_when_it_comes_is_not_believed(source: Source) -> None:
    one = shared(source)
    source.lag = 101.0
    with pytest.raises(SourceError, match="the answer speaks of 101 s ago, max_age is 100 s"):
        one.get()


def test_a_failure_is_logged_once_and_the_return_too(
    source: Source, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = shared(source, interval=10.0)
    source.error = SourceError("src", "no answer")
    for _ in range(4):
        clock.at += 100.0
        with pytest.raises(SourceError):
            one.get()
    source.error = None
    clock.at += 100.0
    one.get()
    assert [record.message for record in caplog.records] == [
        "src: no answer, next try in 10 s",
        "src answers again after 4 failures",
    ]


def test_nobody_asked_and_nothing_known(source: Source) -> None:
    assert shared(source).peek() is None


def test_close_wakes_all_who_wait(source: Source) -> None:
    one = shared(source)
    source.gate.clear()
    with threads(50, one.get) as results:
        until_waiting(one, 49)
        one.close()
        while len(results) < 49:
            threading.Event().wait(0.001)
        assert all(isinstance(result, SourceError) and result.stopped for result in results)
        source.gate.set()
    with pytest.raises(SourceError, match="the factory stops"):
        one.get()


def test_a_question_that_was_abandoned_is_no_failure(source: Source, clock: ManualClock) -> None:
    one = shared(source)
    source.error = SourceError("src", "the factory stops", stopped=True)
    with pytest.raises(SourceError) as caught:
        one.get()
    assert caught.value.stopped
    source.error = None
    assert one.get().value == 2


def test_a_bug_is_a_failure_with_its_trace(
    source: Source, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    one = shared(source)
    one.get()
    clock.at += 31.0
    source.error = KeyError("cluster")
    source.gate.clear()
    with threads(100, lambda: one.get().value) as results:
        until_waiting(one, 99)
        source.gate.set()
    assert results == [1] * 100, "the last good answer goes on serving"
    assert source.asked == 2
    assert caplog.records[0].exc_info
    clock.at += 80.0
    with pytest.raises(SourceError, match=r"a bug in asking it: KeyError\('cluster'\)"):
        one.get()
    source.error = None
    clock.at += 100.0
    assert one.get().value == 4


def test_even_an_interpreter_that_ends_leaves_no_one_waiting(source: Source) -> None:
    def ends() -> Snapshot[int]:
        source.poll()
        raise SystemExit

    one = Shared("src", ends, interval=30.0, max_age=100.0, clock=source.clock)
    with pytest.raises(SystemExit):
        one.get()
    source.gate.clear()
    source.entered = threading.Semaphore(0)
    with threads(3, one.get) as results:
        assert source.entered.acquire(timeout=WAIT)
        until_waiting(one, 2)
        source.gate.set()
    assert sorted(str(result) for result in results) == ["", "src: no answer yet", "src: no answer yet"]


def test_a_bug_in_who_is_told_does_not_take_the_answer_away(
    source: Source, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def tell(snapshot: Snapshot[int]) -> None:
        told.append(snapshot.value)
        if snapshot.value == 1:
            raise ZeroDivisionError

    one = Shared("src", source.poll, interval=30.0, max_age=100.0, clock=clock, on_good=tell, jitter=lambda: 0.5)
    assert one.get().value == 1
    assert caplog.records[0].exc_info
    clock.at += 31.0
    assert one.get().value == 2
    assert told == [1, 2]


def test_who_is_told_comes_before_those_who_wait(source: Source) -> None:
    order: list[str] = []
    one: Shared[int] = Shared(
        "src",
        source.poll,
        interval=30.0,
        max_age=100.0,
        clock=source.clock,
        on_good=lambda snapshot: order.append(f"told, {one.peek() is snapshot}"),
    )
    source.gate.clear()
    with threads(2, lambda: order.append(f"got {one.get().value}")):
        until_waiting(one, 1)
        source.gate.set()
    assert order == ["told, True", "got 1", "got 1"]
