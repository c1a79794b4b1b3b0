"""The one clock of a factory: never jumps while the process lives, and follows the system clock all the same."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

SLEW = 0.1
"""Of each second, the most by which the clock goes faster or slower to come back to the system clock."""


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Tell the time in seconds since the epoch, advanced by the clock that counts from boot.

    A step of the system clock (NTP, an operator) would make a snapshot look fresh or stale by the size of the step;
    so this one follows slowly, and never backwards: an age is wrong by a tenth at most, and times from elsewhere
    (ends of pilots, proxies) are off until it has caught up. It goes on while the host is suspended.
    """

    def __init__(self, system: Callable[[], float] = time.time, boot: Callable[[], float] = _boot) -> None:
        self._system = system
        self._boot = boot
        self._lock = threading.Lock()
        self._at, self._now = boot(), system()

    def now(self) -> float:
        """Return seconds since the epoch."""
        with self._lock:
            at = self._boot()
            passed, self._at = at - self._at, at
            self._now += passed
            most = SLEW * passed
            self._now -= min(most, max(-most, self._now - self._system()))
            return self._now

    def off(self) -> float:
        """Return by how many seconds this clock is ahead of the system clock, negative: behind it."""
        return self.now() - self._system()


def utc(at: float) -> datetime:
    """Turn a time of a `Clock` into an aware datetime in UTC."""
    return datetime.fromtimestamp(at, UTC)
