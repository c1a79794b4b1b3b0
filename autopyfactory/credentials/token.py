"""Bearer tokens: a file with one word, mostly a JWT, whose `exp` and `nbf` tell how long it is good."""

import math

import jwt

from autopyfactory.credentials import Validity
from autopyfactory.errors import CredentialError


def read(data: bytes) -> Validity:
    """Return how long a token is valid; one that is no JWT does not tell. Raises CredentialError.

    The signature is not verified: the service that the token is shown to does that.
    """
    words = data.split()
    if len(words) != 1:
        raise CredentialError("is empty, renew it" if not words else "holds more than one word, write the token alone")
    word = words[0]
    if word.count(b".") != 2 and not word.startswith(b"eyJ"):
        return Validity()
    try:
        claims = jwt.decode(word, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise CredentialError("holds a token that cannot be read, perhaps cut short: renew it") from None
    return Validity(_time(claims, "nbf"), _time(claims, "exp"))


def _time(claims: dict[str, object], name: str) -> float | None:
    """Return a time of the claims (RFC 7519: seconds since the epoch, perhaps with a fraction)."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CredentialError(f"holds a token whose '{name}' is no time, renew it")
    return float(value)
