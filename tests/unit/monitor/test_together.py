"""Reporter and client together, before a monitor that goes away and comes back empty."""

import threading
from collections.abc import Callable

from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions
from autopyfactory.model import EndedPilot, Submitted
from autopyfactory.monitor.apfmon import Apfmon, ApfmonOptions
from autopyfactory.monitor.reporter import Reporter
from autopyfactory.report import CycleReport, Decision
from tests.testbed.apfmon import ApfmonServer


def until(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    tick = threading.Event()
    for _ in range(int(deadline / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come to pass")


def test_monitor_that_was_down_and_lost_all_is_told_all() -> None:
    clock = Clock()

    def submit(serial: int) -> CycleReport:
        return CycleReport("Q", clock.now(), Decision(1), submitted=(Submitted("s", (f"{serial}.0",)),))

    with ApfmonServer() as server:
        monitor = Apfmon("apfmon", ApfmonOptions(url=server.url), FactoryOptions(id="F"), clock)
        reporter = Reporter({"apfmon": monitor}, clock, routes={"Q": ("apfmon",)}, jitter=lambda: -1.48)
        try:
            reporter.put(submit(1), ["apfmon"])
            until(lambda: "F:1.0" in server.jobs)
            server.stop()
            reporter.put(submit(2), ["apfmon"])
            reporter.ended([EndedPilot("2.0", "Q", "s", 0)])
            server.forget()
            server.start()
            reporter.put(submit(3), ["apfmon"])
            until(lambda: {"F:1.0", "F:2.0", "F:3.0"} <= set(server.jobs) and server.jobs["F:2.0"].state == "done")
        finally:
            reporter.stop()
        assert server.labels["F:Q"].msg.endswith(",ret=1")
