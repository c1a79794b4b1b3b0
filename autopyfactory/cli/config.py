"""`autopyfactory config`: what the factory would run with, and where each value comes from."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from autopyfactory.cli.options import conf_option, known_queue
from autopyfactory.config import by_type
from autopyfactory.config.compare import options_of, sections, values
from autopyfactory.config.fields import HIDDEN, Options, write
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.config.sentences import declared
from autopyfactory.logs import mask

_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


@click.command(short_help="Print what is in force, each value with its file and line.")
@conf_option
@click.argument("queue", required=False)
def config(conf: Path, queue: str | None) -> None:
    """Print the effective configuration, each value with the line it comes from; of one QUEUE only, or all.

    The text is in the form of the files and could be one, but for secrets, which are masked.
    """
    loaded = load(conf)
    if queue is None:
        plugins = {
            f"{part.kind} {part.name}": part.plugin for part in (*loaded.wms.values(), *loaded.monitors.values())
        }
        for head, options in sections(loaded).items():
            plugin = [("plugin", plugins[head])] if head in plugins else []
            _print(loaded, head, [*plugin, *_of_model(options)])
        names = list(loaded.queues)
    else:
        names = [known_queue(loaded, queue).name]
    if loaded.out:
        click.echo(f"left out: {', '.join(sorted(loaded.out))}; 'autopyfactory check' says why", err=True)
    found = {**loaded.queues, **loaded.disabled}
    for name in names:
        if (at := found[name]) is not None:
            _print(loaded, name, _of_queue(at))


def _print(loaded: Config, head: str, rows: Iterable[tuple[str, str]]) -> None:
    click.echo(f"[{head}]")
    for option, text in rows:
        place = loaded.origins.get((head, option), "default")
        setting = f"{option} = {text}".rstrip().replace("%", "%%")
        click.echo(f"{setting:<48} ; {place}")
    click.echo()


def _of_queue(queue: QueueConfig) -> Iterator[tuple[str, str]]:
    tables = by_type.written(queue)
    for options in options_of(queue):
        yield from ((name, tables.get(name, text)) for name, text in _of_model(options))
    for prefix, carried in (("env", queue.environment), ("submit", queue.submit)):
        for name, text in carried.items():
            yield f"{prefix}.{name}", HIDDEN if text and _SECRET.search(name) else mask(text)


def _of_model(options: Options) -> Iterator[tuple[str, str]]:
    fields = declared(type(options))
    for name, value in values(options).items():
        yield name, write(fields[name], value) if name in fields else mask(str(value))
