"""The types of option values: what an admin writes as text, and what the factory computes with.

Every option of every section is a field of an `Options` model, built from these types. A validator
raises ValueError with what is wrong and what to do; the loader adds file, line, section and option.
Numbers are bounded in length, for a value of a million digits would cost minutes before it is refused.
"""

import os
import pwd
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, SecretStr
from pydantic.fields import FieldInfo

from autopyfactory.logs import mask

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 10 * 366 * 86400
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
_DECIMAL = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_NUMBER = re.compile(rf"[+-]?(?:{_DECIMAL}|\.[0-9]{{1,15}}|[0-9]{{1,9}}/[0-9]{{1,9}})")
_TIMES = re.compile(rf"({_DECIMAL})\s*([A-Za-z]+)\s*")
HIDDEN = "********"
"""Stands for a value that is a secret as a whole."""


class Options(BaseModel):
    """Base of all option models: frozen, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, arbitrary_types_allowed=True)


def duration(text: Any) -> float:
    """Read `90s`, `10m`, `1h30m`, `2d` as seconds; a bare number but 0 is refused, for its unit is a guess."""
    if isinstance(text, int | float):
        return float(text)
    stripped = str(text).strip()
    if stripped == "0":
        return 0.0
    if not stripped or _TIMES.sub("", stripped):
        raise ValueError(f"'{text}' is no duration, write for example 90s, 10m, 1h30m or 2d")
    total = 0.0
    for number, unit in _TIMES.findall(stripped):
        if unit not in _DURATION_UNITS:
            raise ValueError(f"'{unit}' is no unit of time, use s, m, h, d or w")
        total += float(number) * _DURATION_UNITS[unit]
    if total > _LONGEST:
        raise ValueError(f"'{text}' is longer than ten years")
    return total


def size(text: Any) -> int:
    """Read `16GB`, `500 MB`, `2GiB` as bytes."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(rf"\s*({_DECIMAL})\s*([A-Za-z]+)\s*", str(text))
    if not match or match[2] not in _SIZE_UNITS:
        raise ValueError(f"'{text}' is no size, write for example 500MB, 16GB or 2GiB")
    return int(Fraction(match[1]) * _SIZE_UNITS[match[2]])


def rate(text: Any) -> float:
    """Read `20`, `20/s`, `100/m` or `5/h` as a number per second."""
    if isinstance(text, int | float):
        return float(text)
    match = re.fullmatch(rf"\s*({_DECIMAL})\s*(?:/\s*([smh]))?\s*", str(text))
    if not match:
        raise ValueError(f"'{text}' is no rate, write for example 20 or 20/s, 100/m or 5/h")
    return float(match[1]) / _DURATION_UNITS[match[2] or "s"]


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
    if isinstance(text, int | Fraction):
        return Fraction(text)
    stripped = str(text).strip()
    if not _NUMBER.fullmatch(stripped) or re.search("/0+$", stripped):
        raise ValueError(f"'{text}' is no number, write for example 0.5 or 1/3")
    return Fraction(stripped)


def cores(text: Any) -> dict[str, int]:
    """Read `SCORE:1, MCORE:8` as cores by resource type."""
    if isinstance(text, dict):
        return text
    result: dict[str, int] = {}
    for word in words(text):
        match = re.fullmatch(r"([^:]*[^:\s])\s*:\s*([0-9]{1,6})", word)
        if not match or int(match[2]) < 1:
            raise ValueError(f"'{word}' is not TYPE:CORES, write for example SCORE:1, MCORE:8")
        result[match[1]] = int(match[2])
    return result


def exit_codes(text: Any) -> tuple[int, ...]:
    """Read `0, 20, 82`; a signal is negative."""
    found = words(text)
    for word in found:
        if not re.fullmatch("-?[0-9]{1,9}", str(word)):
            raise ValueError(f"'{word}' is no exit code, write for example 0, 20, 82")
    return tuple(map(int, found))


REST = "*"
"""Stands in a table for everything that it does not name."""


def releases(text: Any) -> dict[str, str]:
    """Read `ptest:RC, *:PR` as the pilot's release by label."""
    if isinstance(text, dict):
        return text
    pairs = [[part.strip() for part in word.split(":")] for word in words(text)]
    for pair in pairs:
        if len(pair) != 2 or not all(re.fullmatch(r"[A-Za-z0-9_.*-]+", word) for word in pair):
            raise ValueError(f"'{':'.join(pair)}' is not LABEL:RELEASE, write for example ptest:RC, *:PR")
    return dict(pairs)


def absolute(text: Any) -> Path:
    """Read an absolute path; a leading `~` is the home directory of the account that we act as, whatever $HOME says."""
    if isinstance(text, str) and not text.strip():
        raise ValueError("has no value, write a path that begins with / or ~")
    try:
        path = Path(text)
        if path.parts[:1] == ("~",):
            # After su or sudo $HOME may be another's: each command would look in another folder.
            path = Path(pwd.getpwuid(os.geteuid()).pw_dir, *path.parts[1:])
        path = path.expanduser()
    except (KeyError, RuntimeError):
        raise ValueError(f"nobody knows the home directory in '{text}', write a path that begins with /") from None
    if not path.is_absolute():
        raise ValueError(f"'{text}' is no absolute path, write one that begins with / or ~")
    return path


def identifier(text: Any) -> str:
    """Read the factory's id: what the monitor can have in a page's address."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(text)):
        raise ValueError(f"'{text}' is no id, use up to 64 of A-Z a-z 0-9 _ -")
    return str(text)


def command_line(text: Any) -> str:
    """Check that a shell could split the text into words, and return it as it is."""
    try:
        shlex.split(str(text))
    except ValueError:
        raise ValueError("a quotation mark or a backslash at the end has no partner") from None
    return str(text)


def check_longer(options: Options, name: str, *others: str) -> None:
    """Check that a duration is more than others together, all by their names. Raises ValueError with the numbers."""
    value, least = getattr(options, name), sum(getattr(options, other) for other in others)
    if value <= least:
        together = f"{' and '.join(others)}{' together' if len(others) > 1 else ''}"
        numbers = f"which are {_write_duration(least)}, and not {_write_duration(value)}"
        raise ValueError(f"{name} must be more than {together}, {numbers}, else good answers are too old")


def _write_duration(seconds: float) -> str:
    if seconds != int(seconds):
        return f"{seconds:.9f}".rstrip("0") + "s"
    left, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _DURATION_UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _write_size(size: int) -> str:
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def _write_rate(per_second: float) -> str:
    for unit in ("s", "m", "h"):
        number = round(per_second * _DURATION_UNITS[unit], 9)
        if number == int(number):
            return f"{int(number)}/{unit}"
    return f"{per_second:.9f}/s"


def _write_text(value: object) -> str:
    return mask(str(value))


def _write_words(value: tuple[object, ...]) -> str:
    return ", ".join(_write_text(word) for word in value)


def _write_numbers(value: tuple[int, ...]) -> str:
    return ", ".join(map(str, value))


def _write_table(value: dict[str, object]) -> str:
    return ", ".join(f"{name}:{number}" for name, number in value.items())


@dataclass(frozen=True, slots=True)
class Kind:
    """What values of a type are called, and how one is written as the admin would, secrets masked."""

    name: str
    write: Callable[[Any], str] = _write_text


Duration = Annotated[float, BeforeValidator(duration), Kind("duration (s m h d w)", _write_duration)]
Size = Annotated[int, BeforeValidator(size), Kind("size (MB GB GiB ...)", _write_size)]
Rate = Annotated[float, BeforeValidator(rate), Kind("rate (20/s, 100/m)", _write_rate)]
Words = Annotated[tuple[str, ...], BeforeValidator(words), Kind("list, by commas", _write_words)]
ExitCodes = Annotated[tuple[int, ...], BeforeValidator(exit_codes), Kind("exit codes, by commas", _write_numbers)]
Boolean = Annotated[bool, BeforeValidator(boolean), Kind("yes or no", lambda value: "yes" if value else "no")]
CoresByType = Annotated[dict[str, int], BeforeValidator(cores), Kind("TYPE:CORES list, by commas", _write_table)]
Releases = Annotated[dict[str, str], BeforeValidator(releases), Kind("LABEL:RELEASE list, by commas", _write_table)]
CountByType = Annotated[int, Kind("whole number, or by resource type (SCORE:1, MCORE:8)")]
SizeByType = Annotated[
    int, BeforeValidator(size), Kind("size, or by resource type (SCORE:2GB, MCORE:16GB)", _write_size)
]
DurationByType = Annotated[
    float, BeforeValidator(duration), Kind("duration, or by resource type (SCORE:12h, MCORE:2d)", _write_duration)
]
Number = Annotated[Fraction, BeforeValidator(fraction), PlainSerializer(str), Kind("number (0.5, 1/3)")]
Identifier = Annotated[str, BeforeValidator(identifier)]
CommandLine = Annotated[str, BeforeValidator(command_line)]
AbsolutePath = Annotated[Path, BeforeValidator(absolute), Kind("absolute path")]
Secret = Annotated[SecretStr, Kind("secret", lambda _: HIDDEN)]

_PLAIN: dict[object, Kind] = {int: Kind("whole number"), float: Kind("number"), str: Kind("text"), Path: Kind("path")}


def kind(field: FieldInfo) -> Kind:
    """Return the kind of a field, `X | None` being of the kind of X."""
    return _find_kind(field.annotation, tuple(field.metadata)) or Kind("text")


def _find_kind(annotation: Any, metadata: tuple[object, ...] = ()) -> Kind | None:
    for mark in metadata:
        if isinstance(mark, Kind):
            return mark
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _find_kind(arguments[0], arguments[1:])
    if origin is Literal:
        return Kind(" or ".join(str(word) for word in arguments))
    if origin in {Union, UnionType}:
        return next((found for found in map(_find_kind, arguments) if found), None)
    if annotation is SecretStr:
        return Kind("secret", lambda _: HIDDEN)
    return None if annotation is NoneType else _PLAIN.get(annotation)


def write(field: FieldInfo, value: object) -> str:
    """Write a value as it would stand in a file; `none` for what is not set, a secret masked."""
    return "none" if value is None else kind(field).write(value)
