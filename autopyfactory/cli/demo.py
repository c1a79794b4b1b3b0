"""`autopyfactory demo`: see a factory at work, with a PanDA to play with and pilots on this host."""

import json
import logging
import signal
import threading
from dataclasses import asdict

import click
from rich import box
from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from autopyfactory import logs
from autopyfactory.explain import reasons
from autopyfactory.simulate.demo import Demo, Row

REFRESH = 0.5
"""Seconds between two pictures of the live table."""

COLUMNS = (
    ("jobs\nactivated", "yellow"),
    ("pilots\npending", "cyan"),
    ("pilots\nrunning", "bold green"),
    ("jobs\ndone", "bold"),
)

STORY = "PanDA has jobs; the factory submits pilots; the pilots fetch jobs and run them."

LINES = 3
"""Lines of a queue; on 80 columns a decision needs them, so that the table does not jump."""


def table(rows: list[Row], last_line: str) -> Group:
    """Return the live table; its height stays the same from picture to picture."""
    grid = Table(box=box.HORIZONTALS, expand=True, show_edge=False, padding=0, border_style="dim", header_style="")
    grid.add_column(_spanned("queue\n", "bold"), no_wrap=True)
    for name, _style in COLUMNS:
        grid.add_column(_spanned(name, "bold"), justify="right", no_wrap=True)
    grid.add_column(_spanned(" last decision,\n and why", "bold"), ratio=1)
    for row in rows:
        pilots = row.report.pilots if row.report else None
        figures: tuple[int | None, ...] = (
            row.jobs.activated,
            pilots.waiting if pilots else None,
            pilots.running if pilots else None,
            row.jobs.finished,
        )
        cells = (_figure(value, style) for value, (_name, style) in zip(figures, COLUMNS, strict=True))
        why = Align(decision(row), height=LINES, vertical="top", pad=False)
        grid.add_row(Text.assemble((row.queue, "bold"), "\n", (row.note, "dim")), *cells, _indented(why))
    title = Text("AutoPyFactory demo\n", style="bold")
    return Group(title, grid, Rule(style="dim"), Text(STORY, style="dim"), Text(last_line))


def decision(row: Row) -> Text:
    """Return the last decision of a queue with its reasons, in the words of the log."""
    report = row.report
    if report is None:
        return Text("no cycle yet", style="dim")
    if report.blocked is not None:
        return Text.assemble(("blocked", "bold red"), "\n", report.blocked.reason)
    steps = report.decision.steps if report.decision else ()
    count = report.submitted_count
    why = reasons(steps) + (f"; {report.error}" if report.error else "")
    return Text.assemble((f"submitted {count}", "bold green" if count else "dim"), "\n", (why, "" if count else "dim"))


def _figure(value: int | None, style: str) -> Text:
    return _spanned("?", "red") if value is None else _spanned(str(value), style if value else "dim")


def _spanned(text: str, style: str) -> Text:
    """Return a text whose padding has no style: as a picture (SVG) it would lose its place else."""
    return Text.assemble((text, style))


def _indented(cell: Align) -> Table:
    grid = Table.grid(padding=(0, 0, 0, 1), expand=True)
    grid.add_row(cell)
    return grid


@click.command("demo", short_help="Watch a factory at work on this host, with a simulated PanDA.")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="End after so long.")
@click.option("--json", "as_json", is_flag=True, help="No table: the last line of stdout is one JSON object.")
def demo(seconds: float, as_json: bool) -> None:
    """Run a factory against a simulated PanDA for a while; everything stays on this host.

    Needs no configuration and no batch system: pilots are child processes, all files lie in a temporary
    folder that is removed at the end. Ctrl-C ends it early.
    """
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ending.set())
    logs.setup(None, debug=False)
    if not as_json:
        logging.getLogger().setLevel(logging.ERROR)
    with Demo() as world:
        if as_json:
            ending.wait(seconds)
        else:
            show(world, seconds, ending, Console())
        result = world.result()
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    click.echo(
        f"{result.submitted} pilots were submitted to {result.queues} queues; "
        f"{result.finished} jobs finished, {result.failed} failed in {result.seconds:.0f} s."
    )
    click.echo("Next: your own queue, see 'From the demo to your first queue' in README.md.")


def show(world: Demo, seconds: float, ending: threading.Event, console: Console) -> None:
    """Draw the live table until the time is over; without a terminal only its last state."""
    if not console.is_terminal:
        console.print(f"a factory works for {seconds:.0f} s; its last state follows")
        ending.wait(seconds)
        console.print(table(world.rows(), ""))
        return
    with Live(console=console, auto_refresh=False) as live:
        for tick in range(int(seconds / REFRESH), 0, -1):
            left = f"ends in {tick * REFRESH:.0f} s, or with Ctrl-C"
            live.update(table(world.rows(), left), refresh=True)
            if ending.wait(REFRESH):
                break
        live.update(table(world.rows(), "ending the pilots ..."), refresh=True)
