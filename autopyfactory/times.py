"""Points in time as people write them; UTC, as in the log."""

import re
from datetime import UTC, datetime, timedelta

from autopyfactory.clock import utc
from autopyfactory.config.fields import duration

_CLOCK = re.compile(r"(?:(today|yesterday)\s+)?(\d{1,2}):(\d{2})(?::(\d{2}))?")
_AGO = re.compile(r"(\S+)\s+ago")
FORMS = "write for example 10:30, 'yesterday 10:30', 2026-11-22T10:30 or '2h ago' (UTC)"


def moment(text: str, now: float) -> float:
    """Return seconds since the epoch; `10:30` is the last one that has been. Raises ValueError."""
    text = " ".join(text.split())
    if text == "now":
        return now
    if found := _AGO.fullmatch(text):
        return now - duration(found[1])
    try:
        if found := _CLOCK.fullmatch(text):
            return _of_day(utc(now), found[1], [int(word or 0) for word in found.groups()[1:]])
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is no time, {FORMS}") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def spoken(at: float, now: float) -> str:
    """Write a time as briefly as it is clear: 10:30 of today, else with its day."""
    form = "%H:%M" if utc(at).date() == utc(now).date() else "%Y-%m-%d %H:%M"
    return f"{utc(at):{form}}"


def _of_day(now: datetime, day: str | None, clock: list[int]) -> float:
    at = now.replace(hour=clock[0], minute=clock[1], second=clock[2], microsecond=0)
    if day == "yesterday" or (day is None and at > now):
        at -= timedelta(days=1)
    return at.timestamp()
