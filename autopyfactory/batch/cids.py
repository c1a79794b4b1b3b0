"""Names of pilots, made before they are submitted."""

import threading

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def cid_prefix(position: int) -> str:
    """Return what the cids of a source begin with: nothing for the first of the factory's, then `1-`, `2-`, ..."""
    return f"{position}-" if position else ""


def base36(number: int) -> str:
    """Return a positive number in as few characters as a cid allows."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


class Cids:
    """Makes the beginnings of cids for one source, by its position among the factory's. Safe from many threads."""

    def __init__(self, position: int) -> None:
        self._prefix = cid_prefix(position)
        self._lock = threading.Lock()
        self._last = 0

    def base(self, now: float) -> str:
        """Return what a submission's cids begin with, never the same twice: the time in milliseconds."""
        with self._lock:
            self._last = max(int(now * 1000), self._last + 1)
            return self._prefix + base36(self._last)
