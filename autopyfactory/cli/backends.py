"""`autopyfactory backends`: what a queue can submit to, and what this host can use now."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autopyfactory.batch.rows import ROWS, Row, plugin
from autopyfactory.config.catalogue import BATCH, Broken, Catalogue
from autopyfactory.config.loader import load
from autopyfactory.config.models import Section


class Standing(NamedTuple):
    """A row and why this host cannot use it now, "" when it can."""

    row: Row
    lacking: str


@click.command(short_help="List what a queue can submit to, and what this host can use now.")
@click.option(
    "--conf",
    type=click.Path(dir_okay=True, path_type=Path),
    envvar="APF_CONF",
    metavar="FILE",
    help="Count what this main configuration file names, too: other schedds, bin_dir; also $APF_CONF.",
)
def backends(conf: Path | None) -> None:
    """List what a queue can submit to, and what this host can use now, or why not.

    Nothing is connected to: a command that is there and a daemon that has left its address count as usable.
    Off a terminal one line per row: backend, type, subtype, yes or no, and what it goes to or what is missing,
    with '-' for what is empty.
    """
    found = list(standings(Catalogue(), load(conf).sources.values() if conf else ()))
    if sys.stdout.isatty():
        Console().print(table(found))
        return
    for row, lacking in found:
        words = (row.backend, row.type or "-", row.subtype or "-", "no" if lacking else "yes")
        click.echo(" ".join((*words, lacking or row.title)))


def standings(catalogue: Catalogue, sources: Iterable[Section] = ()) -> Iterator[Standing]:
    """Return every row, and plug-ins of other packages that have none in the table, as these sources can use them."""
    sections = list(sources)
    shipped = {plugin(row.backend, row.type) for row in ROWS}
    others = [Row(name, title="of another package") for name in catalogue.backends if name not in shipped]
    for row in sorted((*ROWS, *others), key=lambda row: row.backend):
        yield Standing(row, _lacking(catalogue, row, sections))


def _lacking(catalogue: Catalogue, row: Row, sections: Sequence[Section]) -> str:
    name = plugin(row.backend, row.type)
    kind = catalogue.find(BATCH, name)
    if isinstance(kind, Broken):
        return f"it cannot be imported: {kind.reason}"
    look = getattr(kind, "lacking", None)
    mine = [section.options for section in sections if section.plugin == name]
    return str(look(row.type, row.subtype, mine)) if look else ""


def table(found: list[Standing]) -> Table:
    """Return the table for a terminal."""
    grid = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("backend", "type", "subtype", "here", "goes to, or what is missing"):
        grid.add_column(name)
    for row, lacking in found:
        usable = Text("no", "red") if lacking else Text("yes", "green")
        grid.add_row(row.backend, row.type, row.subtype, usable, Text(lacking or row.title))
    return grid
