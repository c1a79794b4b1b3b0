"""Keep the decision record, from a thread of its own and at nobody else's cost."""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from autopyfactory.clock import Clock
from autopyfactory.record.book import Writer, aside
from autopyfactory.record.paper import ages, paper
from autopyfactory.report import CycleReport

log = logging.getLogger(__name__)

BATCH_S = 2.0
"""Seconds that cycles are gathered before they are written together."""

RETRY_S = 60.0
"""Seconds after a failure before the file is tried again; what comes meanwhile waits, up to the bound."""

FORGET_S = 3600.0
"""Seconds between two looks at what is too old."""

_NO_GOOD = ("malformed", "not a database", "has the form", "no such table", "no such column")
"""What SQLite says of a file that will never be good again; all else may pass."""


class Keeper:
    """Write what cycles report into the file at `path`, for `keep` seconds; 0 keeps nothing.

    `put` never waits and never raises, from any thread; at most `bound` cycles wait, the oldest are dropped. A
    file that cannot be written is tried again; a broken one is moved aside and begun afresh. Either is one WARNING.
    """

    def __init__(self, path: Path, clock: Clock, keep: float, *, bound: int = 5000) -> None:
        self._path = path
        self._clock = clock
        self._keep = keep
        self._changed = threading.Condition()
        self._waiting: deque[CycleReport] = deque(maxlen=bound)
        self._stopping = threading.Event()
        self._writer: Writer | None = None
        self._said = ""
        self._forgot = float("-inf")
        self._thread: threading.Thread | None = None

    def put(self, report: CycleReport) -> None:
        """Take a cycle to be written; the first one begins the thread."""
        with self._changed:
            if not self._keep or self._stopping.is_set():
                return
            self._waiting.append(report)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="record", daemon=True)
                self._thread.start()
            self._changed.notify()

    def keep(self, seconds: float) -> None:
        """Keep cycles for another time from now on, after a reload."""
        with self._changed:
            self._keep = seconds
            self._forgot = float("-inf")

    def stop(self, grace: float) -> None:
        """Write what waits and close the file, if that takes no longer than `grace` seconds."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(grace)

    def flush(self) -> bool:
        """Write what waits now; return whether that went well. Called by the thread, and by tests instead of it."""
        with self._changed:
            batch = list(self._waiting)
            self._waiting.clear()
        now = self._clock.now()
        forget = now - self._keep if now >= self._forgot + FORGET_S else None
        try:
            good = self._write(batch, forget)
        except (sqlite3.Error, OSError) as error:
            self._failed(error, batch)
            return False
        self._forgot = self._forgot if forget is None else now
        if self._said:
            log.info("%s: the decision record is kept again", self._path)
            self._said = ""
        return good

    def _write(self, batch: Sequence[CycleReport], forget: float | None) -> bool:
        """Write cycles together; where that trips a bug each queue's alone, so that it costs no other's.

        Return whether all are written. Raises sqlite3.Error and OSError.
        """
        try:
            if self._writer is None:
                self._writer = Writer(self._path)
            rows = [(one.queue, one.at, one.interval, ages(one), paper(one)) for one in batch]
            self._writer.write(rows, forget=forget)
        except (sqlite3.Error, OSError):
            raise
        except Exception:
            queues = {one.queue for one in batch}
            if len(queues) > 1:
                good = [self._write([one for one in batch if one.queue == name], forget) for name in queues]
                return all(good)
            whose = f"{len(batch)} cycles of {''.join(queues)}"
            log.exception("%s: a bug in keeping %s, they are not in the record", self._path, whose)
            return False
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
            self._stopping.wait(BATCH_S)
            last = self._stopping.is_set()
            good = self.flush()
            if last:
                break
            if not good:
                self._stopping.wait(RETRY_S)
        self._close()

    def _failed(self, error: Exception, batch: list[CycleReport]) -> None:
        """Keep the batch for the next try, and begin a new file in the place of one that is broken."""
        self._close()
        with self._changed:
            room = (self._waiting.maxlen or 0) - len(self._waiting)
            self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))
        text = str(error)
        if any(words in text for words in _NO_GOOD):
            with suppress(OSError):
                text = f"{text}; it is moved to {aside(self._path)} and begun afresh"
        if text != self._said:
            log.warning("%s: cannot keep the decision record, the queues go on without it: %s", self._path, text)
        self._said = text

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
