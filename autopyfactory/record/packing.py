"""Press many lines that differ in their numbers into few bytes.

Lines that are equal but for their numbers share one form; of each number in a form only the differences from line
to line are kept, column by column, for there equal and regular ones stand side by side. Then lzma.
"""

import json
import lzma
import re
from collections.abc import Iterable
from itertools import accumulate, pairwise

_NUMBER = re.compile(r"(?<!\d)(?:0|[1-9]\d{0,15})(?!\d)")
_HOLE = "\x00"
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 18}]


def packed(lines: Iterable[str]) -> bytes:
    """Pack lines of text without the character NUL."""
    forms: dict[str, int] = {}
    order: list[int] = []
    rows: list[list[list[int]]] = []
    for line in lines:
        form = _NUMBER.sub(_HOLE, line)
        number = forms.setdefault(form, len(forms))
        if number == len(rows):
            rows.append([])
        rows[number].append([int(word) for word in _NUMBER.findall(line)])
        order.append(number)
    columns = [[_steps(column) for column in zip(*found, strict=True)] for found in rows]
    text = json.dumps([list(forms), order, columns], separators=(",", ":"))
    return lzma.compress(text.encode(), filters=_FILTERS, check=lzma.CHECK_CRC32)


def unpacked(data: bytes) -> list[str]:
    """Return the lines. Raises ValueError for what is no such pack."""
    try:
        forms, order, columns = json.loads(lzma.decompress(data))
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None
    rows = [zip(*map(accumulate, found), strict=True) if found else None for found in columns]
    return [_filled(forms[number], rows[number]) for number in order]


def _steps(column: tuple[int, ...]) -> list[int]:
    return [column[0], *(after - before for before, after in pairwise(column))]


def _filled(form: str, rows: Iterable[tuple[int, ...]] | None) -> str:
    if rows is None:
        return form
    parts = form.split(_HOLE)
    numbers = next(iter(rows))
    return "".join(f"{part}{number}" for part, number in zip(parts, numbers, strict=False)) + parts[-1]
