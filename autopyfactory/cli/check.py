"""`autopyfactory check`: every problem of the configuration at once."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from autopyfactory.cli.options import conf_option
from autopyfactory.clock import Clock
from autopyfactory.config.catalogue import Catalogue
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config
from autopyfactory.credentials.wallet import doubtful
from autopyfactory.errors import ConfigError


@click.command(short_help="Check the configuration and print every problem.")
@conf_option
def check(conf: Path) -> None:
    """Check the configuration and print every problem, one per line.

    Opens no connection; a credential that is missing or expired now is a warning. Exit code: 0 clean, warnings
    too; 1 when a queue is out; 2 when the factory cannot start.
    """
    try:
        config = load(conf)
    except ConfigError as error:
        click.echo(error)
        click.echo("cannot start: the main configuration is wrong")
        sys.exit(2)
    for line in lines(config):
        click.echo(line)
    catalogue = Catalogue()
    batches = {name: catalogue.kind_of(queue.options) for name, queue in config.queues.items()}
    for problem in dict.fromkeys(map(str, doubtful(config, Clock(), batches))):
        click.echo(problem)
    click.echo(summary(config))
    sys.exit(0 if all(problem.warning for problem in config.problems) else 1)


def lines(config: Config) -> Iterator[str]:
    """Return each problem once; one of [DEFAULT] or of a whole file says how many queues it takes out."""
    queues = Counter(str(problem) for problem in config.problems if problem.queue)
    for text in dict.fromkeys(str(problem) for problem in config.problems):
        yield f"{text} (takes out {queues[text]} queues)" if queues[text] > 1 else text


def summary(config: Config) -> str:
    """Return for example `7 queues: 5 served, 1 disabled, 1 out`."""
    served, disabled, out = len(config.queues), len(config.disabled), len(config.out)
    total = served + disabled + out
    return f"{total} queue{'' if total == 1 else 's'}: {served} served, {disabled} disabled, {out} out"
