"""One poll for all who ask: a snapshot with its age, single flight, and back-off after failures."""

import logging
import random
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError
from autopyfactory.model import Snapshot

T = TypeVar("T")
log = logging.getLogger(__name__)


class Shared(Generic[T]):
    """Share one source's answer among all queue threads.

    `poll` asks the source and returns a snapshot or raises SourceError; it must have a deadline of its
    own and is never called twice at once: who asks meanwhile waits for the one answer. A good answer
    serves for `interval`. After a failure the last good one goes on serving until it is older than
    `max_age` (counted from what it speaks of); the source is asked again after a back-off that doubles
    from `interval` (at least 1 s) to `max_backoff`, and everyone who asks in between gets the same error
    at once. `on_good` is told of each good answer after it is in place and before anyone who waits sees
    it. A bug in either counts as a failure and leaves its whole trace in the log. All times are in seconds.
    """

    def __init__(
        self,
        name: str,
        poll: Callable[[], Snapshot[T]],
        *,
        interval: float,
        max_age: float,
        clock: Clock,
        max_backoff: float = 60.0,
        on_good: Callable[[Snapshot[T]], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._poll = poll
        self._interval = interval
        self._max_age = max_age
        self._clock = clock
        self._max_backoff = max_backoff
        self._on_good = on_good
        self._jitter = jitter
        self._changed = threading.Condition()
        self._polling = False
        self._polls = 0
        self._closed = False
        self._last: Snapshot[T] | None = None
        self._error: SourceError | None = None
        self._failures = 0
        self._next = 0.0

    def get(self) -> Snapshot[T]:
        """Return a snapshot no older than `max_age`, asking the source when it is time.

        Raises SourceError when the source never answered, or its last good answer is too old.
        """
        with self._changed:
            waited, polls = self._polling, self._polls
            # Who has waited for an answer takes it, also where asking took longer than the interval.
            self._changed.wait_for(lambda: self._closed or not self._polling or self._polls != polls)
            if self._closed:
                raise SourceError(self.name, "the factory stops", stopped=True)
            if waited or self._clock.now() < self._next:
                return self._believable()
            self._polling = True
        try:
            self._refresh()
        finally:
            with self._changed:
                self._polling = False
                self._polls += 1
                self._changed.notify_all()
        with self._changed:
            return self._believable()

    def peek(self) -> Snapshot[T] | None:
        """Return the last good snapshot whatever its age, without asking the source."""
        with self._changed:
            return self._last

    def close(self) -> None:
        """Wake everyone who waits with an error; later questions get it at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _refresh(self) -> None:
        try:
            snapshot = self._poll()
        except SourceError as error:
            with self._changed:
                self._fail(error)
            return
        except Exception as bug:
            self._report(bug)
            return
        with self._changed:
            if self._failures:
                log.info("%s answers again after %d failures", self.name, self._failures)
            self._last, self._error, self._failures = snapshot, None, 0
            self._next = snapshot.began + self._interval
        if self._on_good is not None:
            try:
                self._on_good(snapshot)
            except Exception as bug:
                self._report(bug)

    def _report(self, bug: Exception) -> None:
        log.exception("%s: a bug in asking this source", self.name)
        with self._changed:
            self._fail(SourceError(self.name, f"a bug in asking it: {bug!r}"))

    def _fail(self, error: SourceError) -> None:
        if error.stopped:
            self._error = error
            return
        wait = min(self._max_backoff, max(1.0, self._interval) * 2**self._failures)
        wait *= 0.75 + 0.5 * self._jitter()
        self._failures = min(self._failures + 1, 30)
        self._next = self._clock.now() + wait
        if self._error is None or self._error.reason != error.reason:
            log.warning("%s, next try in %.0f s", error, wait)
        self._error = error

    def _believable(self) -> Snapshot[T]:
        if self._last is None:
            error = self._error or SourceError(self.name, "no answer yet")
            # A new one for each thread: one that is raised again and again gathers the traces of all.
            raise SourceError(error.source, error.reason, stopped=error.stopped)
        age = self._last.age(self._clock.now())
        if age <= self._max_age:
            return self._last
        if self._error is not None:
            raise SourceError(self.name, f"{self._error.reason} (last good answer speaks of {age:.0f} s ago)")
        raise SourceError(self.name, f"the answer speaks of {age:.0f} s ago, max_age is {self._max_age:.0f} s")
