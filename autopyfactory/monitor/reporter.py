"""Tell the monitors, each from a thread of its own, at nobody else's cost."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from autopyfactory.clock import Clock
from autopyfactory.errors import MonitorError
from autopyfactory.model import EndedPilot
from autopyfactory.monitor import Monitor
from autopyfactory.report import CycleReport

log = logging.getLogger(__name__)

IDLE = 60.0
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
BATCH = 100


class Reporter:
    """Hand what queues report to the monitors they name.

    `put` and `ended` never wait and never raise, from any thread. `routes` says which monitors a queue
    names, for the pilots that end. Each monitor has a thread and keeps at most `bound` items for it; the
    oldest are dropped. A monitor that fails is asked again after a wait that doubles from 1 to 60 s.
    """

    def __init__(
        self,
        monitors: Mapping[str, Monitor],
        clock: Clock,
        *,
        routes: Mapping[str, Sequence[str]] | None = None,
        bound: int = 10_000,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._bound = bound
        self._jitter = jitter
        self._lock = threading.Lock()
        self._outboxes: dict[str, Outbox] = {}
        self._routes: dict[str, Sequence[str]] = {}
        self.update(monitors, routes or {})

    def put(self, report: CycleReport, to: Sequence[str]) -> None:
        """Queue a report for the named monitors; an unknown name is one that a reload took away."""
        for name in to:
            if outbox := self._outboxes.get(name):
                outbox.add([report])

    def ended(self, pilots: Sequence[EndedPilot]) -> None:
        """Queue the end of pilots for the monitors of their queues."""
        told: dict[str, list[EndedPilot]] = {}
        for pilot in pilots:
            for name in self._routes.get(pilot.queue, ()):
                told.setdefault(name, []).append(pilot)
        for name, theirs in told.items():
            if outbox := self._outboxes.get(name):
                outbox.add(theirs)

    def update(self, monitors: Mapping[str, Monitor], routes: Mapping[str, Sequence[str]]) -> None:
        """Go over to these monitors after a reload.

        One that is the same object goes on undisturbed. One in the place of another of its name gets what
        was still to be told; one that is gone is told what it takes at once. A queue that is gone keeps its
        route, for its pilots still have to end.
        """
        with self._lock:
            outboxes = {}
            for name, monitor in monitors.items():
                old = self._outboxes.get(name)
                if old is not None and old.monitor is monitor:
                    outboxes[name] = old
                    continue
                new = outboxes[name] = Outbox(name, monitor, self._clock, bound=self._bound, jitter=self._jitter)
                new.add(old.hand_over() if old else [])
                new.start()
            gone = [outbox for name, outbox in self._outboxes.items() if name not in outboxes]
            self._outboxes, self._routes = outboxes, self._routes | dict(routes)
        for outbox in gone:
            outbox.finish()

    def stop(self, grace: float = 2.0) -> None:
        """Flush what the monitors take within `grace` seconds for all of them together, then end."""
        with self._lock:
            outboxes = list(self._outboxes.values())
            self._outboxes = {}
        for outbox in outboxes:
            outbox.finish()
        deadline = time.monotonic() + grace
        for outbox in outboxes:
            outbox.join(max(0.0, deadline - time.monotonic()))
        for outbox in outboxes:
            if left := outbox.hand_over():
                log.warning("monitor %s: %d reports were not told before the stop", outbox.name, len(left))


class Outbox:
    """What one monitor has still to be told, and the thread that tells it."""

    def __init__(
        self, name: str, monitor: Monitor, clock: Clock, *, bound: int, jitter: Callable[[], float] = random.random
    ) -> None:
        self.name = name
        self.monitor = monitor
        self._clock = clock
        self._bound = bound
        self._jitter = jitter
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[CycleReport | EndedPilot] = deque()
        self._sending: list[CycleReport | EndedPilot] = []
        self._finishing = False
        self._gave_up = False
        self._alone = 0
        self._handed_over = False
        self._dropped = 0
        self._failures = 0
        self._said = ""
        self._next = clock.now()
        self._thread = threading.Thread(target=self._run, name=f"monitor-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread that tells the monitor."""
        self._thread.start()

    def add(self, items: Iterable[CycleReport | EndedPilot]) -> None:
        """Queue items, dropping the oldest beyond the bound."""
        with self._changed:
            if not self._handed_over:
                self._waiting.extend(items)
                self._trim()
                self._changed.notify_all()

    def pause(self) -> float:
        """Return the seconds until there is something to tell, 0 when there is."""
        with self._changed:
            if self._waiting and not self._failures:
                return 0.0
            return max(0.0, self._next - self._clock.now())

    def step(self) -> None:
        """Tell the monitor one batch, which may be empty; keep it when the monitor could not take it.

        What trips a bug of the plug-in is sent again one by one, and the item that trips it once more is dropped.
        """
        with self._changed:
            last_chance = self._finishing
            batch = self._sending = list(islice(self._waiting, 1 if self._alone else BATCH))
            for _ in batch:
                self._waiting.popleft()
        error = self._tell(batch)
        with self._changed:
            if error is None:
                self._succeeded()
            elif not self._handed_over:
                self._failed(error)
                self._gave_up = last_chance
            self._sending = []

    def hand_over(self) -> list[CycleReport | EndedPilot]:
        """Give up at once, and return all that is not known to be told."""
        with self._changed:
            items = [*self._sending, *self._waiting]
            self._waiting.clear()
            self._handed_over = True
        self.finish()
        self._close()
        return items

    def finish(self) -> None:
        """Tell what waits until the monitor first fails, then end."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, at most `timeout` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while self._more():
            self.step()
        self._close()

    def _more(self) -> bool:
        """Wait until there is something to tell; return False when it is time to end."""
        with self._changed:
            while not self._finishing and (pause := self.pause()) > 0:
                self._changed.wait(pause)
            return not self._finishing or (bool(self._waiting) and not self._gave_up)

    def _trim(self) -> None:
        before = len(self._waiting)
        if before > self._bound:
            self._waiting = deque(_without_old_statuses(self._waiting, before - self._bound))
        for _ in range(len(self._waiting) - self._bound):
            self._waiting.popleft()
        lost = before - len(self._waiting)
        if lost and not self._dropped:
            log.warning("monitor %s: more than %d reports wait, the oldest are dropped", self.name, self._bound)
        self._dropped += lost

    def _tell(self, batch: Sequence[CycleReport | EndedPilot]) -> Exception | None:
        reports = [item for item in batch if isinstance(item, CycleReport)]
        pilots = [item for item in batch if isinstance(item, EndedPilot)]
        try:
            self.monitor.send(reports, pilots)
        except Exception as error:  # a bug of one plug-in must not end its thread
            return error
        return None

    def _succeeded(self) -> None:
        if self._failures:
            log.info("monitor %s answers again after %d failures", self.name, self._failures)
        if self._dropped:
            log.warning("monitor %s: %d reports were dropped while it could not be told", self.name, self._dropped)
        self._failures, self._dropped, self._said = 0, 0, ""
        self._alone = max(0, self._alone - 1)
        self._next = self._clock.now() + IDLE

    def _failed(self, error: Exception) -> None:
        bug = not isinstance(error, MonitorError)
        culprit = self._sending[0] if bug and self._alone and self._sending else None
        if culprit is not None:
            self._alone -= 1
            log.error("monitor %s: a bug, this report is dropped: %r", self.name, culprit, exc_info=error)
        else:
            self._waiting.extendleft(reversed(self._sending))
            self._alone = len(self._sending) if bug else self._alone
        self._trim()
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 30)) * (0.75 + 0.5 * self._jitter())
        self._failures += 1
        self._next = self._clock.now() + wait
        if culprit is not None or repr(error) == self._said:
            return
        self._said = repr(error)
        if not bug:
            log.warning("%s; next try in %.0f s, reports waiting: %d", error, wait, len(self._waiting))
        else:
            log.error("monitor %s failed unexpectedly, next try in %.0f s", self.name, wait, exc_info=error)

    def _close(self) -> None:
        try:
            self.monitor.close()
        except Exception:
            log.exception("monitor %s could not be closed", self.name)


def _without_old_statuses(items: Iterable[CycleReport | EndedPilot], excess: int) -> list[CycleReport | EndedPilot]:
    """Leave out what a later report of the same queue makes old, and then the oldest statuses beyond the bound.

    A status is a report that registers no pilots: the next cycle tells another one.
    """
    kept: list[CycleReport | EndedPilot] = []
    latest: set[str] = set()
    for item in reversed(list(items)):
        if isinstance(item, CycleReport):
            if item.queue in latest and not item.submitted:
                excess -= 1
                continue
            latest.add(item.queue)
        kept.append(item)
    result: list[CycleReport | EndedPilot] = []
    for item in reversed(kept):
        if excess > 0 and isinstance(item, CycleReport) and not item.submitted:
            excess -= 1
        else:
            result.append(item)
    return result
