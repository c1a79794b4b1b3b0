"""What a reload would change, for the log and for what has to be rebuilt."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from autopyfactory.config.fields import Options
from autopyfactory.config.models import Config, QueueConfig, Section


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of what was added, removed, disabled and changed, with the names of the changed options.

    `sections` speaks of the main file: `[factory]` and the sections of sources, WMS, monitors and
    credentials, each with `added`, `removed` or its changed options. As text: one line per change.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sections: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.disabled or self.changed or self.sections)

    def __str__(self) -> str:
        lines = [f"[{name}] {what}" for name, what in self.sections.items()]
        lines += [f"queue {name} added" for name in self.added]
        lines += [f"queue {name} removed" for name in self.removed]
        lines += [f"queue {name} disabled" for name in self.disabled]
        lines += [f"queue {name} changed: {', '.join(options)}" for name, options in self.changed.items()]
        return "\n".join(lines) or "nothing changed"


def difference(old: Config, new: Config) -> Difference:
    """Compare two configurations; of queues those that are served."""
    gone = [name for name in old.queues if name not in new.queues]
    return Difference(
        tuple(name for name in new.queues if name not in old.queues),
        tuple(name for name in gone if name not in new.disabled),
        tuple(name for name in gone if name in new.disabled),
        {
            name: _changed(settings(old.queues[name]), settings(queue))
            for name, queue in new.queues.items()
            if name in old.queues and queue != old.queues[name]
        },
        dict(_sections(old, new)),
    )


def settings(queue: QueueConfig) -> dict[str, object]:
    """Return all options of a queue by the names that stand in files."""
    found: dict[str, object] = {}
    for options in options_of(queue):
        found |= values(options)
    found |= {option: {name: row[option] for name, row in queue.by_type.items()} for option in _tables(queue)}
    found |= {f"env.{name}": value for name, value in queue.environment.items()}
    return found | {f"submit.{name}": value for name, value in queue.submit.items()}


def _tables(queue: QueueConfig) -> Iterable[str]:
    return next(iter(queue.by_type.values()), {})


def options_of(queue: QueueConfig) -> tuple[Options, ...]:
    """Return the models that hold a queue's options: what all queues have, its rules, its backend."""
    return queue.options, queue.rules, queue.backend


def values(options: Options) -> dict[str, object]:
    """Return the options of a model by the names that stand in files."""
    names = {field.alias or name: name for name, field in type(options).model_fields.items()}
    return {shown: getattr(options, name) for shown, name in names.items()} | (options.model_extra or {})


def sections(config: Config) -> dict[str, Options]:
    """Return the options of all sections of the main file by their heads, default sources included."""
    found: dict[str, Options] = {"factory": config.factory}
    parts: list[Section] = [*config.sources.values(), *config.wms.values(), *config.monitors.values()]
    found |= {f"{part.kind} {part.name}": part.options for part in parts}
    found |= {f"cric {name}": options for name, options in config.catalogues.items()}
    found |= {f"credential {name}": options for name, options in config.credentials.items()}
    return found | {f"held {name}": options for name, options in config.held.items()}


def _sections(old: Config, new: Config) -> Iterator[tuple[str, str]]:
    before, now = sections(old), sections(new)
    for name in {**before, **now}:
        if name not in before:
            yield name, "added"
        elif name not in now:
            yield name, "removed"
        elif before[name] != now[name]:
            yield name, f"changed: {', '.join(_changed(values(before[name]), values(now[name]))) or 'plugin'}"


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name in {**before, **now} if before.get(name) != now.get(name))
