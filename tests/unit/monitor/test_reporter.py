"""The reporter: never in the way, nothing lost within its bound, each monitor on its own."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.errors import MonitorError
from autopyfactory.model import EndedPilot, Submitted
from autopyfactory.monitor.reporter import IDLE, Outbox, Reporter
from autopyfactory.report import CycleReport, Decision
from tests.unit.monitor.kit import Hands

PATIENCE = 5.0


class Recorder:
    """A monitor that keeps what it is told, fails on demand, or hangs until it is closed."""

    Options: ClassVar[type[Options]] = Options
    pilot_url = ""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.reports: list[CycleReport] = []
        self.pilots: list[EndedPilot] = []
        self.calls = 0
        self.error: Exception | None = None
        self.hangs = False
        self.closed = False

    def send(self, reports: Sequence[CycleReport], ended: Sequence[EndedPilot]) -> None:
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
            if self.hangs:
                self.changed.wait_for(lambda: self.closed, PATIENCE)
                raise MonitorError("monitor m: abandoned")
            if self.error is not None:
                raise self.error
            self.reports += reports
            self.pilots += ended

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)


def report(queue: str = "Q", at: float = 0.0) -> CycleReport:
    return CycleReport(queue, at, Decision(1), submitted=(Submitted("s", ("1.0",)),))


def status(queue: str = "Q", at: float = 0.0) -> CycleReport:
    return CycleReport(queue, at, Decision(0))


@pytest.fixture
def made() -> Iterator[Callable[..., Reporter]]:
    """Make reporters that are stopped after the test."""
    reporters: list[Reporter] = []

    def make(monitors: dict[str, Recorder], **options: object) -> Reporter:
        reporters.append(Reporter(monitors, Clock(), **options))  # type: ignore[arg-type]
        return reporters[-1]

    yield make
    for reporter in reporters:
        reporter.stop(0.1)


def outbox(monitor: Recorder, clock: Clock, bound: int = 1000) -> Outbox:
    return Outbox("m", monitor, clock, bound=bound, jitter=lambda: 0.5)


def test_reports_and_ends_reach_the_monitors_of_their_queue(made: Callable[..., Reporter]) -> None:
    a, b = Recorder(), Recorder()
    reporter = made({"a": a, "b": b}, routes={"Q": ("a", "b"), "P": ("b",)})
    reporter.put(report("Q"), ["a", "b"])
    reporter.put(report("P"), ["b", "gone"])
    reporter.ended([EndedPilot("1.0", "Q", "s"), EndedPilot("2.0", "P", "s"), EndedPilot("3.0", "X", "s")])
    b.until(lambda: len(b.reports) == 2 and len(b.pilots) == 2)
    a.until(lambda: len(a.reports) == 1 and len(a.pilots) == 1)


def test_a_monitor_is_told_at_start_and_when_idle() -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock)
    assert box.pause() == 0
    box.step()
    assert (monitor.calls, box.pause()) == (1, IDLE)
    box.add([report()])
    assert box.pause() == 0


def test_back_off_doubles_to_a_minute_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock)
    monitor.error = MonitorError("monitor m: down")
    pauses = []
    for n in range(9):
        box.add([report(at=n)])
        box.step()
        pauses.append(box.pause())
        clock.at += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [record.getMessage() for record in caplog.records] == [
        "monitor m: down; next try in 1 s, reports waiting: 1"
    ]
    monitor.error = MonitorError("monitor m: still down")
    box.step()
    assert len(caplog.records) == 2
    monitor.error = None
    box.step()
    assert [told.at for told in monitor.reports] == list(range(9))
    assert box.pause() == IDLE


def test_the_oldest_are_dropped_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock, bound=3)
    monitor.error = MonitorError("monitor m: down")
    for n in range(10):
        box.add([report(at=n)])
        box.step()
    monitor.error = None
    box.step()
    assert [told.at for told in monitor.reports] == [7, 8, 9]
    said = [record.getMessage() for record in caplog.records if "down" not in record.getMessage()]
    assert said == [
        "monitor m: more than 3 reports wait, the oldest are dropped",
        "monitor m: 7 reports were dropped while it could not be told",
    ]


def test_a_bug_in_a_plug_in_shows_its_trace_once_and_no_other_monitor_feels_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock)
    monitor.error = ZeroDivisionError("oops")
    for _ in range(3):
        box.step()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info


def test_the_one_report_that_trips_a_bug_is_dropped_and_the_others_are_told(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(Recorder):
        def send(self, reports: Sequence[CycleReport], ended: Sequence[EndedPilot]) -> None:
            if any(told.at == 7 for told in reports):
                raise ZeroDivisionError("oops")
            super().send(reports, ended)

    clock, monitor = Hands(), Picky()
    box = outbox(monitor, clock)
    box.add([report(at=n) for n in range(20)])
    for _ in range(30):
        box.step()
        clock.at += box.pause()
    box.add([report(at=20), report(at=21)])
    calls = monitor.calls
    box.step()
    assert monitor.calls == calls + 1, "in one batch again"
    assert [told.at for told in monitor.reports] == [n for n in range(22) if n != 7]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert all(record.exc_info for record in errors)
    assert "this report is dropped: CycleReport(queue='Q', at=7" in errors[-1].getMessage()


def test_a_report_that_meets_a_bug_is_tried_once_more(caplog: pytest.LogCaptureFixture) -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock)
    monitor.error = ZeroDivisionError("oops")
    box.add([report()])
    box.step()
    assert box.pause() > 0
    monitor.error = None
    box.step()
    assert len(monitor.reports) == 1


def test_statuses_make_way_for_pilots_and_the_latest_of_a_queue_stays() -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock, bound=8)
    box.add([report(at=0), EndedPilot("1.0", "Q", "s")])
    for n in range(1, 50):
        box.add([status("P", n), status("Q", n)])
    box.add([report(at=50)])
    box.step()
    told = [(item.queue, item.at) for item in monitor.reports]
    assert {("Q", 0), ("P", 49), ("Q", 50)} <= set(told)
    assert len(monitor.pilots) == 1
    assert len(told) <= 7


def test_statuses_of_more_queues_than_fit_push_no_pilot_out() -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock, bound=5)
    box.add([report(at=n) for n in range(4)])
    box.add([status(f"Q{n}", n) for n in range(10)])
    box.step()
    assert [(item.queue, item.at) for item in monitor.reports] == [("Q", 0), ("Q", 1), ("Q", 2), ("Q", 3), ("Q9", 9)]


def test_a_bug_leaves_the_other_monitors_alone(made: Callable[..., Reporter]) -> None:
    bad, good = Recorder(), Recorder()
    bad.error = ZeroDivisionError("oops")
    reporter = made({"bad": bad, "good": good})
    reporter.put(report(), ["bad", "good"])
    good.until(lambda: len(good.reports) == 1)


def test_stop_flushes(made: Callable[..., Reporter]) -> None:
    monitor = Recorder()
    reporter = made({"m": monitor})
    for n in range(1000):
        reporter.put(report(at=n), ["m"])
    reporter.stop(PATIENCE)
    assert [told.at for told in monitor.reports] == list(range(1000))
    assert monitor.closed
    reporter.put(report(), ["m"])
    reporter.ended([EndedPilot("1.0", "Q", "s")])


def test_stop_tries_a_failing_monitor_once_more(made: Callable[..., Reporter]) -> None:
    monitor = Recorder()
    monitor.error = MonitorError("monitor m: down")
    reporter = made({"m": monitor})
    reporter.put(report(), ["m"])
    monitor.until(lambda: monitor.calls > 0)
    with monitor.changed:
        monitor.error = None
    reporter.stop(PATIENCE)
    assert len(monitor.reports) == 1


def test_hanging_monitors_do_not_delay_a_stop(made: Callable[..., Reporter], caplog: pytest.LogCaptureFixture) -> None:
    monitors = {f"m{n}": Recorder() for n in range(5)}
    for monitor in monitors.values():
        monitor.hangs = True
    reporter = made(monitors)
    for monitor in monitors.values():
        monitor.until(lambda told=monitor: told.calls == 1)  # type: ignore[misc]
    reporter.put(report(), ["m3"])
    began = time.monotonic()
    reporter.stop(0.2)
    assert time.monotonic() - began < 2
    assert all(monitor.closed for monitor in monitors.values())
    assert [record.getMessage() for record in caplog.records] == ["monitor m3: 1 reports were not told before the stop"]


def test_put_does_not_wait_for_a_hanging_monitor(made: Callable[..., Reporter]) -> None:
    monitor = Recorder()
    monitor.hangs = True
    reporter = made({"m": monitor})
    monitor.until(lambda: monitor.calls == 1)
    began = time.monotonic()
    for _ in range(1000):
        reporter.put(report(), ["m"])
    assert time.monotonic() - began < 2


def test_reload_leaves_the_same_monitor_alone(made: Callable[..., Reporter]) -> None:
    kept, new = Recorder(), Recorder()
    reporter = made({"kept": kept})
    reporter.put(report(), ["kept"])
    reporter.update({"kept": kept, "new": new}, {"Q": ("new",)})
    reporter.put(report(), ["new"])
    reporter.put(report(), ["kept"])
    reporter.ended([EndedPilot("1.0", "Q", "s")])
    kept.until(lambda: len(kept.reports) == 2)
    new.until(lambda: len(new.reports) == 1 and len(new.pilots) == 1)
    assert not kept.closed


def test_reload_hands_what_waits_to_the_monitor_in_its_place(made: Callable[..., Reporter]) -> None:
    old, new = Recorder(), Recorder()
    old.hangs = True
    reporter = made({"m": old})
    old.until(lambda: old.calls == 1)
    for n in range(3):
        reporter.put(report(at=n), ["m"])
    reporter.update({"m": new}, {})
    new.until(lambda: len(new.reports) == 3)
    assert old.closed
    assert [told.at for told in new.reports] == [0, 1, 2]


def test_a_monitor_that_is_gone_is_told_what_waits_and_closed(made: Callable[..., Reporter]) -> None:
    monitor = Recorder()
    reporter = made({"m": monitor})
    reporter.put(report(), ["m"])
    reporter.update({}, {})
    monitor.until(lambda: monitor.closed)
    assert len(monitor.reports) == 1


def test_a_queue_that_is_gone_keeps_its_route(made: Callable[..., Reporter]) -> None:
    monitor = Recorder()
    reporter = made({"m": monitor}, routes={"Q": ("m",)})
    reporter.update({"m": monitor}, {"P": ("m",)})
    reporter.ended([EndedPilot("1.0", "Q", "s")])
    monitor.until(lambda: len(monitor.pilots) == 1)


def test_a_monitor_that_cannot_be_closed_is_said(
    made: Callable[..., Reporter], caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Recorder):
        def close(self) -> None:
            raise RuntimeError("no")

    reporter = made({"m": Stubborn()})
    reporter.stop(PATIENCE)
    assert "monitor m could not be closed" in caplog.text


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=12), st.integers(1, 400))
def test_order_is_kept_and_only_the_oldest_are_lost(rounds: list[tuple[int, bool]], bound: int) -> None:
    clock, monitor = Hands(), Recorder()
    box = outbox(monitor, clock, bound)
    sent = 0
    for count, fails in rounds:
        box.add([report(at=sent + n) for n in range(count)])
        sent += count
        monitor.error = MonitorError("down") if fails else None
        box.step()
    monitor.error = None
    box.step()
    while box.pause() == 0:
        box.step()
    told = [int(item.at) for item in monitor.reports]
    assert told == sorted(set(told))
    kept = min(sent, bound)
    assert told[len(told) - kept :] == list(range(sent - kept, sent))
