"""The thread of a queue: its cadence, its one line, and that nothing ends it but a stop."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from autopyfactory.cycle import Cycle
from autopyfactory.model import Submitted
from autopyfactory.report import Blocked, CycleReport, Decision, Step
from autopyfactory.runner import REPEAT, Runner
from tests.unit.world import START, ManualClock, make_queue

WAIT = 10.0


class Waits:
    """A stop event whose waits move the clock instead of taking time."""

    def __init__(self, clock: ManualClock, stop_at: float) -> None:
        self.clock = clock
        self.stop_at = stop_at
        self.stopped = False

    def wait(self, timeout: float) -> bool:
        self.clock.at += timeout
        return self.is_set()

    def is_set(self) -> bool:
        return self.stopped or self.clock.at >= self.stop_at

    def set(self) -> None:
        self.stopped = True


class Script:
    """A cycle that plays what it is told; each answer is a report or an error, and may take time."""

    def __init__(self, clock: ManualClock, play: Callable[[int], CycleReport], interval: float, takes: float) -> None:
        self.queue = make_queue("Q", interval=interval)
        self.clock = clock
        self.play = play
        self.takes = takes
        self.began: list[float] = []

    def run(self, stopping: threading.Event) -> CycleReport:
        self.began.append(self.clock.at - START)
        self.clock.at += self.takes
        return self.play(len(self.began) - 1)


def zero(number: int = 0, why: str = "0 activated") -> CycleReport:
    return CycleReport("Q", START, Decision(0, (Step("ready", 0, 0, why),)))


def play(
    script: Callable[[int], CycleReport] = zero,
    *,
    interval: float = 60.0,
    takes: float = 0.0,
    lasts: float = 600.0,
    tell: Callable[[CycleReport], None] = lambda report: None,
    **words: Any,
) -> Script:
    """Play a runner's whole life in this thread."""
    clock = ManualClock()
    cycle = Script(clock, script, interval, takes)
    runner = Runner(cast(Cycle, cycle), clock, tell, **words)
    runner._stopping = cast(threading.Event, Waits(clock, START + lasts))
    runner._run()
    assert runner.done.is_set()
    return cycle


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "autopyfactory.runner"]


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_fixed_cadence_whatever_a_cycle_takes() -> None:
    assert play(takes=25.0, lasts=300.0).began == [0, 60, 120, 180, 240]


def test_a_long_cycle_skips_to_the_next_full_interval() -> None:
    assert play(takes=130.0, lasts=600.0).began == [0, 180, 360, 540]


def test_a_cycle_of_exactly_one_interval() -> None:
    assert play(takes=60.0, lasts=240.0).began == [0, 60, 120, 180]


def test_the_first_cycle_after_the_delay() -> None:
    assert play(delay=7.0, lasts=100.0).began == [7, 67]


def test_so_many_cycles_and_no_more() -> None:
    assert play(cycles=3).began == [0, 60, 120]
    assert play(cycles=0).began == []


def test_stopped_before_the_first() -> None:
    assert play(delay=7.0, lasts=5.0).began == []


def test_an_unchanged_zero_is_logged_hourly(caplog: pytest.LogCaptureFixture) -> None:
    play(lasts=2 * REPEAT + 1)
    assert len(lines(caplog)) == 3


def test_a_zero_with_other_figures_is_the_same_and_with_another_reason_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    play(lambda number: zero(why=f"{number} activated" if number < 5 else "the site is offline"))
    assert [line.split("|")[1].strip() for line in lines(caplog)] == [
        "ready 0 (0 activated)",
        "ready 0 (the site is offline)",
    ]


@pytest.mark.parametrize("dry", [False, True])
def test_each_cycle_that_submits_or_would_has_its_line(caplog: pytest.LogCaptureFixture, dry: bool) -> None:
    def one(number: int) -> CycleReport:
        done = () if dry else (Submitted("s", ("1.0",)),)
        return CycleReport("Q", START, Decision(1, (Step("ready", 0, 1, ""),)), submitted=done, dry_run=dry)

    play(one)
    assert len(lines(caplog)) == 10


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    script = [
        zero(),
        CycleReport("Q", START, blocked=Blocked("paused", wanted=True)),
        CycleReport("Q", START, blocked=Blocked("demand unknown: a typo")),
        CycleReport("Q", START, blocked=Blocked("pilots unknown", outage=True)),
        CycleReport("Q", START, Decision(1, (Step("ready", 0, 1, ""),)), error="refused: no room"),
    ]
    play(lambda number: script[number], cycles=5)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING", "WARNING", "WARNING"]
    assert {getattr(record, "queue", "") for record in caplog.records} == {"Q"}


def test_a_bug_has_its_whole_trace_and_the_next_cycle_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    told: list[CycleReport] = []

    def broken(number: int) -> CycleReport:
        return CycleReport("Q", START) if number % 2 else cast(dict[str, CycleReport], {})["nothing"]

    script = play(broken, cycles=4, tell=told.append)
    assert len(script.began) == 4
    assert caplog.records[0].levelname == "ERROR"
    assert caplog.records[0].exc_info
    assert told[0].blocked == Blocked("a bug in this cycle: KeyError('nothing')", cause="bug")
    assert told[1].blocked is None


def test_who_is_told_may_break_and_the_queue_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def tell(report: CycleReport) -> None:
        raise ZeroDivisionError

    assert len(play(cycles=3, tell=tell).began) == 3
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "ERROR", "ERROR"]


def test_after_a_stop_nobody_is_told() -> None:
    told: list[CycleReport] = []
    play(takes=30.0, lasts=20.0, tell=told.append)
    assert told == []


def test_after_a_stop_what_was_submitted_is_told_all_the_same() -> None:
    told: list[CycleReport] = []
    done = replace(zero(), submitted=(Submitted("s", ("1.0",)),))
    play(lambda number: done, takes=30.0, lasts=20.0, tell=told.append)
    assert told == [done]


def test_a_real_thread_stops_within_the_wait_of_its_interval() -> None:
    ran = threading.Event()

    class Real(Script):
        def run(self, stopping: threading.Event) -> CycleReport:
            ran.set()
            return zero()

    clock = ManualClock()
    runner = Runner(cast(Cycle, Real(clock, zero, 86400.0, 0.0)), clock, lambda report: None)
    assert runner.name == "Q"
    runner.start()
    assert ran.wait(WAIT)
    assert not runner.join(0.0)
    runner.stop()
    assert runner.join(WAIT)
    assert runner.done.is_set()


def test_a_stop_reaches_a_cycle_that_waits() -> None:
    waits = threading.Event()

    class Hangs(Script):
        def run(self, stopping: threading.Event) -> CycleReport:
            waits.set()
            assert stopping.wait(WAIT)
            return zero()

    clock = ManualClock()
    runner = Runner(cast(Cycle, Hangs(clock, zero, 60.0, 0.0)), clock, lambda report: None)
    runner.start()
    assert waits.wait(WAIT)
    runner.stop()
    assert runner.join(WAIT)
