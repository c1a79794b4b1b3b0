"""`autopyfactory render`: exactly what a queue would submit, and nothing submitted."""

from dataclasses import replace
from pathlib import Path

import click

from autopyfactory.batch import Batch, Context
from autopyfactory.batch.order import endpoints_of, make_order
from autopyfactory.cli.options import conf_option, known_queue
from autopyfactory.clock import Clock, utc
from autopyfactory.config.catalogue import MONITOR, Catalogue
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.credentials.wallet import Wallet
from autopyfactory.errors import Refused
from autopyfactory.positions import Positions


@click.command(short_help="Print what a queue would submit; nothing is submitted.")
@conf_option
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="So many pilots.")
@click.argument("queue")
def render(conf: Path, count: int, queue: str) -> None:
    """Print the submit description, or command line and script, that QUEUE would submit now.

    Nothing is submitted and no connection is opened. Only the id of the submission is not a real one. A
    queue with several endpoints is shown with its first; one that counts resource types alone with a
    submission of each; one that is disabled is shown too.
    """
    config = load(conf)
    try:
        click.echo(rendered(config, known_queue(config, queue), count, Clock()), nl=False)
    except Refused as error:
        raise click.ClickException(f"{queue} cannot submit: {error.reason}") from None


def rendered(config: Config, queue: QueueConfig, count: int, clock: Clock) -> str:
    """Return what the queue's backend would hand over for `count` pilots. Raises Refused."""
    batch = _batch(config, queue, clock)
    describe = getattr(batch, "describe", None)
    if describe is None:
        raise Refused(f"the backend '{queue.options.backend}' cannot show what it submits")
    now = clock.now()
    endpoint = next(iter(endpoints_of(queue, batch.endpoint)), batch.endpoint)
    url = _monitor_url(config, queue, clock)
    name = f"{utc(now):%Y%m%dT%H%M%S}-rendered"
    orders = [make_order(config, part, name, count, now, endpoint=endpoint, monitor_url=url) for part in queue.parts]
    chosen = Wallet(config.credentials, clock).best(queue)
    orders = [replace(order, proxy=chosen.proxy, token=chosen.token) for order in orders]
    try:
        return "\n".join(str(describe(order)).rstrip("\n") + "\n" for order in orders)
    finally:
        batch.close()


def _batch(config: Config, queue: QueueConfig, clock: Clock) -> Batch:
    """Make the object that the factory would make; the source of a disabled queue may have no section."""
    section = config.sources.get(queue.options.source)
    kind = Catalogue().kind_of(queue.options)
    options = section.options if section else kind.SourceOptions()
    positions = Positions(config.factory.state_dir, looking=True).of(config.sources)
    context = Context(config.factory, clock, positions.get(queue.options.source, 0))
    batch: Batch = kind(section.name if section else queue.options.source, options, context)
    return batch


def _monitor_url(config: Config, queue: QueueConfig, clock: Clock) -> str:
    for name in queue.options.monitor:
        section = config.monitors[name]
        monitor = Catalogue().find(MONITOR, section.plugin)(name, section.options, config.factory, clock)
        if monitor.pilot_url:
            return str(monitor.pilot_url)
    return ""
