"""The pace at which a source is submitted to, as its `max_submit_rate` has it."""

import threading

from autopyfactory.clock import Clock


class Pace:
    """Give turns to the queues of one source: at most `rate` pilots a second, None: as fast as it takes them.

    Every queue waits for at most `patience` seconds, or else for its next cycle. Safe from many threads.
    """

    def __init__(self, rate: float | None, patience: float, clock: Clock) -> None:
        self._rate = rate
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0.0

    def turn(self, count: int) -> tuple[int, float]:
        """Reserve a submission; return how many pilots may go, 0 for none in this cycle, and the wait in seconds."""
        if self._rate is None:
            return count, 0.0
        with self._lock:
            now = self._clock.now()
            wait = max(0.0, self._next - now)
            if wait > self._patience:
                return 0, 0.0
            granted = min(count, max(1, int((self._patience - wait) * self._rate)))
            self._next = now + wait + granted / self._rate
            return granted, wait
