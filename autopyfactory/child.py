"""A child process that runs one call at a time and is killed when a call outlasts its deadline.

For libraries that may hang with the interpreter's lock held, which would stall every thread of the factory.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any, ParamSpec, TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

P = ParamSpec("P")
R = TypeVar("R")

# The child ignores SIGTERM on purpose (see `_shield`): a grace before SIGKILL would only lengthen the deadline.
CONSTS.term_timeout = 0.0

_PR_SET_PDEATHSIG = 1
_KILL_GRACE = 5.0
_CALLS = 10_000
_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class CallLost(Exception):
    """A call has no result; `stopped` is true when the child was closed."""

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


class NotRun(CallLost):
    """The call was surely never begun."""


class NoAnswer(CallLost):
    """The call was begun, and the child was killed or died before it answered."""


class KillableChild:
    """Run functions in a child process, in the order of the calls, from any thread.

    A child that has served 10,000 calls is replaced before the next one, so that a library's leaks do not add up.
    `prepare(*arguments)` runs once in every new child. The child dies with this process, whatever kills
    it, and does not hear the signals that a terminal or a service manager sends to all of a group.
    """

    def __init__(self, name: str, prepare: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._prepare = (os.getpid(), prepare, args, kwargs)
        # The kernel ends a child with the thread that spawned it (PR_SET_PDEATHSIG), not with the process:
        # this one thread lives as long as the object and spawns every child. It also keeps the calls in
        # order, and what it has not taken up can still be cancelled for certain.
        self._keeper = ThreadPoolExecutor(1, f"child-{name}", initializer=_shield)
        self._lock = threading.Lock()
        self._closed = False
        self._pool: ProcessPool | None = None
        self._running: Future[Any] | None = None
        self._served = 0

    def call(self, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the function's result; wait at most `deadline` seconds for its turn and again for its end.

        Raises NotRun, NoAnswer, and whatever the function raises.
        """
        future = self.post(deadline, function, *args, **kwargs)
        try:
            return future.result(deadline)
        except TimeoutError:
            if future.done():
                raise
        if future.cancel():
            raise NotRun(f"busy with other calls for {deadline:g} s")
        try:
            # Twice the deadline, for a new child may have to start first.
            return future.result(2 * deadline + _KILL_GRACE)
        except TimeoutError:
            if future.done():
                raise
            raise NoAnswer(f"no answer within {deadline:g} s, and its child process cannot be killed") from None

    def post(self, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue a call and return its future at once; the future raises what `call` would."""
        try:
            return self._keeper.submit(self._run, deadline, function, args, kwargs)
        except RuntimeError:
            raise NotRun("closed", stopped=True) from None

    def close(self) -> None:
        """Kill the child and wake everyone who waits for it, at once and from any thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._running is not None:
                self._running.cancel()
        self._keeper.submit(self._discard)
        self._keeper.shutdown(wait=False)

    def _run(
        self, deadline: float, function: Callable[..., R], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> R:
        pool = self._ready_pool(deadline)
        try:
            return self._wait(pool, deadline, function, args, kwargs)
        except ProcessExpired as error:
            raise NoAnswer(f"its child process died with code {error.exitcode}") from None
        except BrokenProcessPool:
            raise NoAnswer("its child process died") from None
        except NoAnswer:
            self._discard()
            raise

    def _ready_pool(self, deadline: float) -> ProcessPool:
        """Return a pool whose child is up: its start (imports) is no part of a call's deadline."""
        if self._pool is not None and self._pool.active and self._served < _CALLS:
            self._served += 1
            return self._pool
        self._discard()
        self._served = 1
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(1, initializer=_enter, initargs=self._prepare, context=context)
        try:
            self._wait(self._pool, deadline, _greet, (), {})
        except NotRun:
            raise
        except Exception as error:
            self._discard()
            stopped = isinstance(error, CallLost) and error.stopped
            raise NotRun(f"its child process does not start: {error}", stopped=stopped) from None
        return self._pool

    def _wait(
        self,
        pool: ProcessPool,
        deadline: float,
        function: Callable[..., R],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> R:
        with self._lock:
            if self._closed:
                raise NotRun("closed", stopped=True)
            future = pool.schedule(function, args=args, kwargs=kwargs)
            self._running = future
        try:
            # Not pebble's own time-out: that one follows the system clock, which may step.
            return future.result(deadline)
        except CancelledError:
            raise NoAnswer("closed", stopped=True) from None
        except TimeoutError:
            if future.done():
                raise
            future.cancel()  # type: ignore[no-untyped-call]
            raise NoAnswer(f"no answer within {deadline:g} s") from None
        finally:
            with self._lock:
                self._running = None

    def _discard(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _shield() -> None:
    """Block signals in the keeper thread: what it starts inherits that, from its first instruction on."""
    # Its start, which comes with the first child otherwise, unblocks two of them again.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _enter(parent: int, prepare: Callable[..., None], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    try:
        prepare(*args, **kwargs)
    except Exception as error:
        _TROUBLE.append(error)


_TROUBLE: list[Exception] = []


def _greet() -> None:
    """Say, in the child, whether it is ready."""
    if _TROUBLE:
        raise _TROUBLE[0]
