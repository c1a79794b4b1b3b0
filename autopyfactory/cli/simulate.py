"""`autopyfactory simulate`: what a configuration would do with a demand, on a virtual clock."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from autopyfactory.cli.options import conf_option
from autopyfactory.config import ini
from autopyfactory.config.fields import duration
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config
from autopyfactory.config.problems import Fault, suggest
from autopyfactory.config.sentences import build, declared
from autopyfactory.errors import ConfigError
from autopyfactory.record.trace import TraceError, read
from autopyfactory.simulate import arrivals as demand
from autopyfactory.simulate.fleet import SiteOptions
from autopyfactory.simulate.model import Stream
from autopyfactory.simulate.picture import svg
from autopyfactory.simulate.replay import Course, Replay, Sites

LAG = 120.0
FILE = click.Path(dir_okay=False, path_type=Path)


class _Duration(click.ParamType):  # type: ignore[type-arg]  # older clicks know no argument
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return duration(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


@click.command(short_help="Replay demand through a configuration's rules, against model sites.")
@conf_option
@click.option("--trace", type=FILE, metavar="FILE", help="Recorded demand, as 'autopyfactory record' writes it.")
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="So many days; a trace that is shorter is repeated. Default: the trace's, or 1.",
)
@click.option(
    "--jobs",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="N",
    help="Without a trace: invented demand of so many jobs an hour and wmsqueue, in the mean.",
)
@click.option(
    "--sites",
    type=FILE,
    metavar="FILE",
    help="What the sites are like: [DEFAULT], and sections by names or patterns of queues.",
)
@click.option("--lag", type=_Duration(), default=LAG, metavar="TIME", help="Age of the WMS's figures.  [default: 2m]")
@click.option("--against", type=FILE, metavar="FILE", help="Compare with this other configuration on the same demand.")
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Draw each queue there, as SVG.",
)
@click.option("--seed", type=int, default=0, metavar="N", help="For other dice of the model.")
def simulate(
    conf: Path,
    trace: Path | None,
    days: float | None,
    jobs: float,
    sites: Path | None,
    lag: float,
    against: Path | None,
    pictures: Path | None,
    seed: int,
) -> None:
    """Replay demand through the rules of a configuration and tell what happened, queue by queue.

    The cycles and rules are the daemon's own; time, jobs and sites are models. Nothing is connected to. Pilots
    start after the site's delay where there is room, take the jobs that fit, and are wasted when there are none.
    """
    model = _sites(sites)
    found: dict[str, Mapping[str, Course]] = {}
    paths = {"A": conf, "B": against} if against else {"": conf}
    for name, path in paths.items():
        config = load(path)
        if not config.queues:
            raise click.ClickException(f"{path}: no queue can be served, 'autopyfactory check' says why")
        span, arrivals = _arrivals(config, trace, days, jobs, model("").job_length, seed)
        found[name] = Replay(config, model, lag=lag, seed=seed).run(arrivals, span)
    if against:
        click.echo(f"A: {conf}\nB: {against}")
    Console(width=None if sys.stdout.isatty() else 140).print(table(found))
    try:
        for file in draw(found, pictures) if pictures else ():
            click.echo(file)
    except OSError as error:
        raise click.ClickException(f"cannot write into {pictures}: {error.strerror}") from None


def _arrivals(
    config: Config, trace: Path | None, days: float | None, jobs: float, length: float, seed: int
) -> tuple[float, Iterator[demand.Arrival]]:
    """Return the days to replay and what arrives."""
    if trace is None:
        return days or 1.0, demand.made_up(_served(config), days or 1.0, jobs, seed)
    try:
        lines = list(read(trace))
    except TraceError as error:
        raise click.ClickException(str(error)) from None
    if not lines:
        raise click.ClickException(f"{trace}: holds no demand")
    for name in sorted({line.wms for line in lines} - {"", *config.wms}):
        click.echo(f"{trace}: its jobs of [wms {name}] are left out, {config.path} has no such section", err=True)
    span = (lines[-1].at - lines[0].at) / demand.DAY
    return days or max(span, 0.01), demand.replayed(lines, length, days)


def _served(config: Config) -> list[Stream]:
    """Return a kind of jobs for each resource type that queues count alone at each of their wmsqueues."""
    parts = [part for queue in config.queues.values() if queue.options.wms for part in queue.parts]
    found = {
        (name, part.resource_type or next(iter(part.options.resource_types), ""), part.options.wms)
        for part in parts
        for name in part.options.wmsqueues
    }
    return [Stream(name, kind, wms=wms) for name, kind, wms in sorted(found)]


def _sites(path: Path | None) -> Sites:
    """Return what tells of a queue's site; the last section that fits its name wins. Raises ConfigError."""
    if path is None:
        return lambda queue: SiteOptions()
    file = ini.read(path)
    problems = [f"{path}:{fault.line or 1}: {fault.text}" for fault in file.faults]
    common: dict[str, str] = {}
    found: list[tuple[str, SiteOptions]] = []
    for block in sorted(file.blocks, key=lambda block: block.name != "DEFAULT"):
        values, faults = ini.expand(block.entries)
        fields = declared(SiteOptions)
        faults += [Fault(name, f"unknown option{suggest(name, fields)}") for name in values if name not in fields]
        values = {name: text for name, text in values.items() if name in fields}
        options, more = build(SiteOptions, common | values)
        for fault in (*block.faults, *faults, *more):
            place = block.entries[fault.option].place if fault.option in block.entries else block.place
            problems.append(f"{place}: [{block.name}] {fault.option}: {fault.text}")
        if block.name == "DEFAULT":
            common = values
        found.append(("*" if block.name == "DEFAULT" else block.name, options or SiteOptions()))
    if problems:
        raise ConfigError(problems)

    def of(queue: str) -> SiteOptions:
        return next((options for name, options in reversed(found) if fnmatchcase(queue, name)), SiteOptions())

    return of


_RETIRED = "retired\n%"
_COLUMNS = (
    "queue",
    "jobs",
    "wait\nmin",
    "pilots",
    "wasted\n%",
    "failed\n%",
    _RETIRED,
    "most\npending",
    "most\nrunning",
    "first\nmin",
    "longest\nmin",
    "blocked\n%",
)


def table(found: Mapping[str, Mapping[str, Course]]) -> Table:
    """Return one row per queue and configuration, and their sums."""
    grid = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    queues = list(dict.fromkeys(queue for courses in found.values() for queue in courses))
    rows = [(queue, path, [found[path][queue]]) for queue in queues for path in found if queue in found[path]]
    if len(queues) > 1:
        rows += [("all", path, list(courses.values())) for path, courses in found.items()]
    # Few configurations remove pilots; the column would cost the others the width of a terminal.
    retiring = any(course.retired for _, _, courses in rows for course in courses)
    columns = [name for name in _COLUMNS if retiring or name != _RETIRED]
    for k, name in enumerate((*columns, *(["of"] if len(found) > 1 else []))):
        grid.add_column(name, justify="right" if 0 < k < len(columns) else "left")
    for row, (queue, path, courses) in enumerate(rows):
        cells = dict(zip(_COLUMNS[1:], _cells(courses), strict=True))
        of = [path] if len(found) > 1 else []
        style = "bold" if row >= len(rows) - len(found) and len(queues) > 1 else None
        grid.add_row(queue, *(cells[name] for name in columns[1:]), *of, style=style)
    return grid


def _cells(courses: Sequence[Course]) -> Iterator[str]:
    jobs, pilots = sum(c.jobs for c in courses), sum(c.submitted for c in courses)
    firsts = [seconds for course in courses for seconds in course.first_pilot]
    yield str(jobs)
    yield _minutes(sum(c.waited for c in courses) / jobs) if jobs else "-"
    yield str(pilots)
    yield _part(sum(c.wasted for c in courses), pilots)
    yield _part(sum(c.failed for c in courses), pilots)
    yield _part(sum(c.retired for c in courses), pilots)
    yield str(max((max(c.pending, default=0) for c in courses), default=0))
    yield str(max((max(c.running, default=0) for c in courses), default=0))
    yield _minutes(median(firsts)) if firsts else "-"
    yield _minutes(max(firsts)) if firsts else "-"
    yield _part(sum(c.blocked for c in courses), sum(c.cycles for c in courses))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _part(count: int, whole: int) -> str:
    return f"{100 * count / whole:.1f}" if whole else "-"


def draw(found: Mapping[str, Mapping[str, Course]], folder: Path) -> Iterable[Path]:
    """Write a picture per queue and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for queue in dict.fromkeys(queue for courses in found.values() for queue in courses):
        courses = {path: by_queue[queue] for path, by_queue in found.items() if queue in by_queue}
        file = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', queue)}.svg"
        file.write_text(svg(queue, courses))
        yield file
