"""`autopyfactory record`: the demand that the decision record saw, as a trace."""

import sys
import time
from pathlib import Path

import click

from autopyfactory.cli.options import conf_option
from autopyfactory.config.glance import glance
from autopyfactory.config.problems import suggest
from autopyfactory.record import FILE
from autopyfactory.record.book import Record, RecordError
from autopyfactory.record.demand import trace
from autopyfactory.record.trace import line_of
from autopyfactory.times import moment


@click.command(short_help="Write the demand that the decision record saw as a trace.")
@conf_option
@click.option("--from", "first", metavar="TIME", help="Begin there; else as far back as the record goes.")
@click.option("--to", "last", metavar="TIME", default="now", help="End there; else now.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there; else to stdout.")
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def record(conf: Path, first: str | None, last: str, output: Path | None, queues: tuple[str, ...]) -> None:
    """Write the demand of the wmsqueues of these QUEUEs, or of all, as a trace: JSON lines, for 'simulate'.

    A TIME is 10:30, 'yesterday 10:30', 2026-11-22T10:30 or '2h ago', in UTC. Also while the daemon runs.
    """
    now = time.time()
    try:
        begin = moment(first, now) if first else 0.0
        end = moment(last, now)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if first and end <= begin:
        raise click.UsageError(f"--to {last} is not after --from {first}")
    count = 0
    try:
        with Record(glance(conf).state_dir / FILE) as book:
            for name in queues:
                if name not in book.queues:
                    raise click.UsageError(f"the record has no queue '{name}'{suggest(name, book.queues)}")
            with output.open("w", encoding="utf-8") if output else click.open_file("-", "w") as file:
                for demand in trace(book, queues or book.queues, max(begin, book.first() or begin), end):
                    file.write(line_of(demand))
                    count += 1
    except RecordError as error:
        click.echo(f"autopyfactory: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None
    if not count:
        click.echo("nothing: no queue with a wmsqueue had a cycle in that time", err=True)
