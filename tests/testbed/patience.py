"""How long a test waits for what it does not measure: long, for machines are shared, and a wait ends when it may."""

_PROMISE = 20.0
_TIMES = 3.0


def patience(seconds: float) -> float:
    """Return the time to wait; a short one is a promise that is tested and stays."""
    return seconds * _TIMES if seconds >= _PROMISE else seconds
