"""`autopyfactory demo`: see a factory at work, with a PanDA to play with and pilots on this host."""

import json
import logging
import signal
import threading
from dataclasses import asdict

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from autopyfactory import logs
from autopyfactory.explain import reasons
from autopyfactory.simulate.demo import Demo, Row

REFRESH = 0.5
"""Seconds between two pictures of the live table."""

COLUMNS = ("queue", "activated", "pending", "running", "done", "last decision")


def table(rows: list[Row], seconds_left: float) -> Group:
    """Return the live table."""
    grid = Table(title="AutoPyFactory: a PanDA to play with, pilots on this host", title_justify="left", expand=True)
    for name in COLUMNS:
        grid.add_column(
            name, justify="left" if name in ("queue", "last decision") else "right", no_wrap=name == "queue"
        )
    for row in rows:
        pilots = row.report.pilots if row.report else None
        grid.add_row(
            row.queue,
            str(row.jobs.activated),
            str(pilots.waiting) if pilots else "?",
            str(pilots.running) if pilots else "?",
            str(row.jobs.finished),
            decision(row),
        )
    left = Text(f"pilots fetch jobs, run them and report; ends in {seconds_left:.0f} s, or with Ctrl-C", style="dim")
    return Group(grid, left)


def decision(row: Row) -> str:
    """Return the last decision of a queue with its reasons."""
    report = row.report
    if report is None:
        return "no cycle yet"
    if report.blocked is not None:
        return f"blocked: {report.blocked.reason}"
    steps = report.decision.steps if report.decision else ()
    return f"submitted {report.submitted_count}: {reasons(steps)}" + (f"; {report.error}" if report.error else "")


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="End after so long.")
@click.option("--json", "as_json", is_flag=True, help="No table: the last line of stdout is one JSON object.")
def demo(seconds: float, as_json: bool) -> None:
    """Run a factory against a simulated PanDA for a while; everything stays on this host."""
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    logs.setup(None, debug=False)
    if not as_json:
        logging.getLogger().setLevel(logging.ERROR)
    with Demo() as world:
        if as_json:
            ending.wait(seconds)
        else:
            show(world, seconds, ending)
        result = world.result()
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    click.echo(
        f"{result.submitted} pilots were submitted to {result.queues} queues; "
        f"{result.finished} jobs finished, {result.failed} failed in {result.seconds:.0f} s."
    )
    click.echo("Next: your own queue, see 'From the demo to your first queue' in README.md.")


def show(world: Demo, seconds: float, ending: threading.Event) -> None:
    """Draw the live table until the time is over; without a terminal only its last state."""
    console = Console()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for tick in range(int(seconds / REFRESH), -1, -1):
            live.update(table(world.rows(), tick * REFRESH), refresh=True)
            if ending.wait(REFRESH):
                return
