"""The types of option values: what an admin writes as text, and what the factory computes with.

Every option of every section is a field of an `Options` model, built from these types. A validator
raises ValueError with what is wrong and what to do; the loader adds file, line, section and option.
"""

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


class Options(BaseModel):
    """Base of all option models: frozen, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)


def duration(text: Any) -> float:
    """Read `90s`, `10m`, `1h30m`, `2d` as seconds; a bare number is refused, for its unit is a guess."""
    if isinstance(text, int | float):
        return float(text)
    words = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", str(text))
    if not words or re.sub(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", "", str(text).strip()):
        raise ValueError(f"'{text}' is no duration, write for example 90s, 10m, 1h30m or 2d")
    total = 0.0
    for number, unit in words:
        if unit not in _DURATION_UNITS:
            raise ValueError(f"'{unit}' is no unit of time, use s, m, h, d or w")
        total += float(number) * _DURATION_UNITS[unit]
    return total


def size(text: Any) -> int:
    """Read `16GB`, `500 MB`, `2GiB` as bytes."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", str(text))
    if not match or match[2] not in _SIZE_UNITS:
        raise ValueError(f"'{text}' is no size, write for example 500MB, 16GB or 2GiB")
    return int(Fraction(match[1]) * _SIZE_UNITS[match[2]])


def words(text: Any) -> tuple[str, ...]:
    """Read a comma list; blanks around the words and empty words vanish."""
    if isinstance(text, list | tuple):
        return tuple(text)
    return tuple(word for word in (part.strip() for part in str(text).split(",")) if word)


def boolean(text: Any) -> bool:
    """Read yes/no, true/false, on/off, 1/0 in any case."""
    if isinstance(text, bool):
        return text
    word = str(text).strip().lower()
    if word in {"yes", "true", "on", "1"}:
        return True
    if word in {"no", "false", "off", "0"}:
        return False
    raise ValueError(f"'{text}' is neither yes nor no")


def fraction(text: Any) -> Fraction:
    """Read `0.25` or `1/3` exactly, so that rounding up never sees a binary remainder."""
    try:
        return Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"'{text}' is no number, write for example 0.5 or 1/3") from None


def cores(text: Any) -> dict[str, int]:
    """Read `SCORE:1, MCORE:8` as cores by resource type."""
    if isinstance(text, dict):
        return text
    result: dict[str, int] = {}
    for word in words(text):
        name, _, number = word.partition(":")
        if not name.strip() or not number.strip().isdigit() or int(number) < 1:
            raise ValueError(f"'{word}' is not TYPE:CORES, write for example SCORE:1, MCORE:8")
        result[name.strip()] = int(number)
    return result


Duration = Annotated[float, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
Words = Annotated[tuple[str, ...], BeforeValidator(words)]
Boolean = Annotated[bool, BeforeValidator(boolean)]
CoresByType = Annotated[dict[str, int], BeforeValidator(cores)]
Number = Annotated[Fraction, BeforeValidator(fraction), PlainSerializer(str)]
