"""Spooled pilots: fetch the output of those that completed, remove those whose input does not come."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from autopyfactory.batch import condor_child
from autopyfactory.batch.condor_child import Ad, ScheddSaid, Spooled, Target
from autopyfactory.batch.condor_ends import Ends
from autopyfactory.child import CallLost, KillableChild, NotRun
from autopyfactory.clock import Clock

log = logging.getLogger(__name__)

_TRIES = 10
_PATIENCE = 3600.0


class Spool:
    """Deals with one pilot in one call of the child, so that a hanging one is known, and others' calls come between.

    Those that failed before come last. One that failed ten times in at least an hour is removed and told with a
    fault. `patience` are the seconds an input may take; `say` gets what went wrong in a round, or "".
    """

    def __init__(
        self,
        child: KillableChild,
        target: Target,
        factory: str,
        ends: Ends,
        clock: Clock,
        *,
        deadline: float,
        patience: float,
        say: Callable[[str], None],
    ) -> None:
        self._child = child
        self._target = target
        self._factory = factory
        self._ends = ends
        self._clock = clock
        self._deadline = deadline
        self._patience = patience
        self._say = say
        self._lock = threading.Lock()
        self._busy = False
        # One round at a time: what follows belongs to it, its callbacks run one after the other.
        self._end = 0.0
        self._todo: deque[tuple[Ad, bool]] = deque()
        self._failures: dict[str, tuple[int, float]] = {}
        self._trouble = ""

    def look_after(self) -> None:
        """Begin a round if none is under way; it takes up no new pilot after half the deadline."""
        with self._lock:
            if self._busy:
                return
            self._busy = True
        self._trouble = ""
        self._end = self._clock.now() + self._deadline / 2
        self._post(self._listed, condor_child.spooled, self._target, self._factory, self._patience)

    def _post(self, then: Callable[[Future[Any]], None], function: Callable[..., Any], *args: object) -> None:
        try:
            future = self._child.post(self._deadline, function, *args)
        except NotRun:
            self._over()
            return
        future.add_done_callback(then)

    def _listed(self, future: Future[Spooled]) -> None:
        error = future.exception()
        if error is not None:
            self._note(error)
            self._over()
            return
        found = future.result()
        todo = [(job, True) for job in found.late] + [(job, False) for job in found.completed]
        self._failures = {name: self._failures[name] for job, _ in todo if (name := _name(job)) in self._failures}
        self._todo = deque(sorted(todo, key=lambda item: self._failures.get(_name(item[0]), (0, 0.0))[0]))
        self._next()

    def _next(self) -> None:
        if not self._todo or self._clock.now() > self._end:
            self._over()
            return
        job, late = self._todo.popleft()
        if late:
            fault = f"removed: its input did not reach the schedd within {self._patience:.0f} s"
            self._remove(job, "its input was not spooled in time", fault)
        else:
            self._post(partial(self._fetched, job), condor_child.fetch, self._target, _name(job))

    def _remove(self, job: Ad, reason: str, fault: str) -> None:
        then = partial(self._removed, job, fault)
        self._post(then, condor_child.drop, self._target, _name(job), reason)

    def _removed(self, job: Ad, fault: str, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            self._ends.tell_removed([job], fault)
        else:
            self._failed(job, error)
        self._next()

    def _fetched(self, job: Ad, future: Future[None]) -> None:
        error = future.exception()
        if error is None:
            self._ends.tell_retrieved([job])
            self._next()
            return
        tries, since = self._failed(job, error)
        if tries >= _TRIES and self._clock.now() - since >= _PATIENCE:
            fault = f"removed: its output could not be fetched {tries} times: {_reason(error)}"
            self._remove(job, "its output could not be fetched", fault)
        else:
            self._next()

    def _failed(self, job: Ad, error: BaseException) -> tuple[int, float]:
        self._note(error)
        tries, since = self._failures.get(_name(job), (0, self._clock.now()))
        if not isinstance(error, NotRun):
            tries += 1
            self._failures[_name(job)] = (tries, since)
        return tries, since

    def _note(self, error: BaseException) -> None:
        if isinstance(error, CallLost) and error.stopped:
            return
        if not isinstance(error, CallLost | ScheddSaid):
            log.error("bug while fetching the output of pilots", exc_info=error)
        self._trouble = self._trouble or f"{_reason(error)} (fetching the output of pilots; it is tried again)"

    def _over(self) -> None:
        self._say(self._trouble)
        with self._lock:
            self._busy = False


def _name(job: Ad) -> str:
    return f"{job['ClusterId']}.{job['ProcId']}"


def _reason(error: BaseException) -> str:
    return error.reason if isinstance(error, CallLost | ScheddSaid) else repr(error)
