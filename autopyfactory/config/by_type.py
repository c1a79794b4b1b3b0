"""Tables by resource type: with `cores = SCORE:1, MCORE:8` one section is a queue that counts each type alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from autopyfactory.config.fields import REST, boolean, words, write
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.config.problems import Fault
from autopyfactory.config.sentences import build as build_model
from autopyfactory.config.sentences import declared

TABLES = ("cores", "memory", "memory_per_core", "walltime")
"""The options that may be tables; each is a field of this very name."""

_Rows = dict[str, dict[str, str]]


def build(texts: Mapping[str, str]) -> tuple[QueueOptions | None, dict[str, dict[str, object]], list[Fault]]:
    """Return the options of a queue, those that each of its resource types has for itself, and what is wrong.

    Where a queue counts each type alone, its own shape is the largest that any of them needs.
    """
    common, rows, faults = _read(texts)
    options, more = build_model(QueueOptions, common)
    types: dict[str, dict[str, object]] = {}
    for name, row in rows.items():
        one, wrong = build_model(QueueOptions, {**common, **row})
        more += wrong
        if one is not None:
            types[name] = {option: getattr(one, option) for option in row}
    if options is not None and types:
        options = options.model_copy(update={option: _largest(types, option) for option in next(iter(types.values()))})
    return options, types, [*faults, *dict.fromkeys(more)]


def written(queue: QueueConfig) -> dict[str, str]:
    """Return the tables of a queue as an admin would write them, by option."""
    fields = declared(QueueOptions)
    return {
        option: ", ".join(f"{name}:{write(fields[option], row[option])}" for name, row in queue.by_type.items())
        for option in next(iter(queue.by_type.values()), ())
    }


def _read(texts: Mapping[str, str]) -> tuple[dict[str, str], _Rows, list[Fault]]:
    """Return the texts of the queue as a whole, those of each type where there are several, and what is wrong."""
    faults: list[Fault] = []
    tables = {option: _table(option, texts[option], faults) for option in TABLES if ":" in texts.get(option, "")}
    named = dict.fromkeys(name for table in tables.values() for name in table if name != REST)
    types = words(texts.get("resource_types", "")) or tuple(named)
    common = {option: text for option, text in texts.items() if option not in tables}
    if not tables and not _wanted(texts):
        return common, {}, faults
    if not types:
        faults.append(Fault(next(iter(tables), "split"), "which types? name them in resource_types"))
        return common, {}, faults
    rows = {name: {option: _of(name, option, table, faults) for option, table in tables.items()} for name in types}
    common |= rows[types[0]] | {"resource_types": ", ".join(types)}
    return common, rows if len(types) > 1 else {}, faults


def _table(option: str, text: str, faults: list[Fault]) -> dict[str, str]:
    table: dict[str, str] = {}
    for word in words(text):
        name, _, value = (part.strip() for part in word.partition(":"))
        if not name or not value:
            faults.append(Fault(option, f"'{word[:80]}' is not TYPE:VALUE, write for example SCORE:..., MCORE:..."))
        elif name in table:
            faults.append(Fault(option, f"names '{name}' twice, take one away"))
        table[name] = value
    return table


def _of(name: str, option: str, table: Mapping[str, str], faults: list[Fault]) -> str:
    if name not in table and REST not in table:
        faults.append(Fault(option, f"says nothing of '{name}', add '{name}:...', or '{REST}:...' for all others"))
    return table.get(name, table.get(REST, ""))


def _wanted(texts: Mapping[str, str]) -> bool:
    try:
        return boolean(texts.get("split", "no"))
    except ValueError:
        return False


def _largest(types: Mapping[str, Mapping[str, object]], option: str) -> object:
    values: Iterable[Any] = [row[option] for row in types.values()]
    return None if None in values else max(values)
