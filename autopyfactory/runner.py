"""The thread of one queue: a cycle every interval, one line in the log for each, a report for the monitors."""

import logging
import threading
from collections.abc import Callable

from autopyfactory.clock import Clock
from autopyfactory.cycle import Cycle
from autopyfactory.explain import likeness, sentence
from autopyfactory.report import Blocked, CycleReport

log = logging.getLogger(__name__)

REPEAT = 3600.0
"""Seconds after which a line that says nothing new is logged all the same."""


class Runner:
    """Run one queue's cycles in a thread until it is stopped, or `cycles` times.

    `delay` is the time before the first cycle, which keeps queues that start together apart. A cycle that
    takes longer than the interval is followed by the next at the next full interval.
    """

    def __init__(
        self,
        cycle: Cycle,
        clock: Clock,
        tell: Callable[[CycleReport], None],
        *,
        delay: float = 0.0,
        cycles: int | None = None,
    ) -> None:
        self.cycle = cycle
        self.name = cycle.queue.name
        self.done = threading.Event()
        self._clock = clock
        self._tell = tell
        self._delay = delay
        self._left = cycles
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"queue {self.name}", daemon=True)
        self._said = ""
        self._said_at = float("-inf")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end and tell whether it did."""
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _run(self) -> None:
        interval = self.cycle.queue.options.interval
        due = self._clock.now() + self._delay
        while self._left != 0 and not self._stopping.wait(max(0.0, due - self._clock.now())):
            try:
                self._tick()
            except Exception:
                # Whoever is told of a cycle may be broken; the next cycle goes on all the same.
                log.exception("a bug in telling of this cycle", extra={"queue": self.name})
            if self._left is not None:
                self._left -= 1
            due += interval * max(1, -(-(self._clock.now() - due) // interval))
        self.done.set()

    def _tick(self) -> None:
        try:
            report = self.cycle.run(self._stopping)
        except Exception as error:
            report = CycleReport(
                self.name, self._clock.now(), blocked=Blocked(f"a bug in this cycle: {error!r}", cause="bug")
            )
            self._log(report, bug=True)
        else:
            self._log(report)
        # After a stop nobody waits for a status; but the pilots are there, and only this report says so.
        if report.submitted or not self._stopping.is_set():
            self._tell(report)

    def _log(self, report: CycleReport, *, bug: bool = False) -> None:
        """Write the cycle's line; one that says the same as the last, and submitted nothing, only hourly."""
        now, said = self._clock.now(), likeness(report)
        would = report.dry_run and report.decision is not None and report.decision.count > 0
        if not report.submitted and not would and said == self._said and now < self._said_at + REPEAT:
            return
        self._said, self._said_at = said, now
        wrong = report.error or (report.blocked is not None and not report.blocked.wanted)
        level = logging.WARNING if wrong else logging.INFO
        log.log(logging.ERROR if bug else level, "%s", sentence(report), exc_info=bug, extra={"queue": self.name})
