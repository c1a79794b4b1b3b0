"""The one clock of a factory: never jumps while the process lives, and reads as UTC across restarts."""

import time
from datetime import UTC, datetime


class Clock:
    """Tell the time in seconds since the epoch, advanced by the clock that counts from boot.

    A step of the system clock (NTP, an operator) would make a snapshot look fresh or stale by the size
    of the step; ages taken from this clock do not change with it. It goes on while the host is suspended.
    """

    def __init__(self) -> None:
        self._epoch = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._epoch + time.clock_gettime(time.CLOCK_BOOTTIME)


def utc(at: float) -> datetime:
    """Turn a time of a `Clock` into an aware datetime in UTC."""
    return datetime.fromtimestamp(at, UTC)
