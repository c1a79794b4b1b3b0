"""Names of pilots, made before they are submitted."""

import threading

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Cids:
    """Makes the beginnings of cids for one source, by its position among the factory's. Safe from many threads."""

    def __init__(self, position: int) -> None:
        self._prefix = f"{position}-" if position else ""
        self._lock = threading.Lock()
        self._last = 0

    def base(self, now: float) -> str:
        """Return what a submission's cids begin with, never the same twice: the time in milliseconds."""
        with self._lock:
            self._last = max(int(now * 1000), self._last + 1)
            number, digits = self._last, ""
        while number:
            number, digit = divmod(number, 36)
            digits = _DIGITS[digit] + digits
        return self._prefix + digits
