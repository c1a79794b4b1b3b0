"""What pilots are submitted with: X.509 proxies and tokens, as files that somebody else keeps fresh.

`proxy` and `token` read one file each and tell how long it is valid; `files` looks at a file again when it
has changed; `wallet` chooses for a queue, before each submission, the first of its credentials that is good.
No message ever carries what is inside a file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

KINDS = ("proxy", "token")
"""The kinds of credentials, which are also the options of a queue that name them."""

_LEEWAY = 60.0
"""Seconds by which the clock of whoever made a credential may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when and until when a credential is good, in seconds since the epoch; None: no bound."""

    begins: float | None = None
    until: float | None = None

    def fault(self, now: float, min_life: float) -> str:
        """Return why it is not good for another `min_life` seconds, and what to do, or ""."""
        if self.begins is not None and self.begins > now + _LEEWAY:
            return f"is not valid for another {span(self.begins - now)}, look at the clock of this host"
        if self.until is None or self.until >= now + min_life:
            return ""
        if self.until <= now:
            return f"expired {span(now - self.until)} ago, renew it"
        return f"lives {span(self.until - now)} more, less than min_life = {span(min_life)}, renew it"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that a submission takes, or in `lacking` why none can be made."""

    proxy: Path | None = None
    token: Path | None = None
    lacking: str = ""


def carried(batch: object, type: str, subtype: str) -> Iterable[str]:
    """Return the kinds of credentials that a backend's row takes, as its class says; else all."""
    says = getattr(batch, "carries", None)
    return says(type, subtype) if says else KINDS


def span(seconds: float) -> str:
    """Write a time as an admin says it: `45 s`, `12 min`, `3 h`, `5 days`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit != "days" and seconds >= length):
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
