"""`autopyfactory why`: why a queue submits no pilots, now or at a time, in plain words."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from autopyfactory import plugins
from autopyfactory.batch import Context
from autopyfactory.claims import holder
from autopyfactory.cli.options import conf_option
from autopyfactory.clock import Clock
from autopyfactory.config.glance import glance
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.config.problems import suggest
from autopyfactory.diagnosis.native import commands
from autopyfactory.diagnosis.story import Scene, find, tell
from autopyfactory.errors import ConfigError
from autopyfactory.operate import Operator
from autopyfactory.record import FILE
from autopyfactory.record.book import Record, RecordError
from autopyfactory.times import moment


@click.command(short_help="Say why a queue submits no pilots, now or at a time.")
@conf_option
@click.option("--at", "when", metavar="TIME", help="Then, not now: 10:30, 'yesterday 10:30', '2h ago'; in UTC.")
@click.argument("queue")
def why(conf: Path, when: str | None, queue: str) -> None:
    """Say why QUEUE submits no pilots: the cause in the first line, since when, and what would have to change.

    It is read from the decision record, also while the factory is down or its configuration is broken. At the
    end stand the commands of others that show the same. Times are UTC.
    """
    now = time.time()
    try:
        at = moment(when, now) if when else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None
    if at is not None and at > now:
        raise click.BadParameter(f"{when} has not been yet", param_hint="--at")
    try:
        config = load(conf)
    except ConfigError:
        config = None
    state_dir = config.factory.state_dir if config else glance(conf).state_dir
    scene = Scene(now, config, _record(config, state_dir), _running(state_dir), Operator(state_dir).state(queue, now))
    try:
        _expect(scene, queue)
        found = find(scene, queue, at)
        for line in tell(scene, queue, at, found):
            click.echo(line)
    except RecordError as error:
        raise click.ClickException(str(error)) from None
    shown = list(_native(config, queue, found.cause.key)) if config else []
    if shown:
        click.echo("the same by hand:")
    for line in shown:
        click.echo(f"  {line}")


def _expect(scene: Scene, queue: str) -> None:
    config, record = scene.config, scene.record
    known = {*config.queues, *config.disabled, *config.out} if config else set()
    if isinstance(record, Record):
        known.update(record.queues)
    if queue in known:
        return
    if config is None:
        said = f"nothing is recorded of '{queue}'{suggest(queue, known)}, and the configuration cannot be used"
        raise click.ClickException(f"{said}: 'autopyfactory check' tells why")
    raise click.UsageError(f"there is no queue '{queue}'{suggest(queue, known)}")


def _record(config: Config | None, state_dir: Path) -> Record | str:
    try:
        return Record(state_dir / FILE)
    except (RecordError, OSError) as error:
        if config is not None and not config.factory.record_keep:
            return "the decision record is switched off ([factory] record_keep = 0)"
        return str(error)


def _running(state_dir: Path) -> bool | None:
    try:
        return holder(state_dir / "lock") is not None
    except (OSError, ValueError):
        return None


def _native(config: Config, name: str, key: str) -> Iterator[str]:
    """Return the commands; a plug-in that cannot be made has none."""
    queue = config.queues.get(name) or config.disabled.get(name)
    if queue is None:
        return
    batch = wms = None
    with suppress(Exception):
        batch = _batch(config, queue)
    with suppress(Exception):
        section = config.wms[queue.options.wms]
        wms = plugins.load("autopyfactory.wms", section.plugin)(section.name, section.options, Clock())
    yield from commands(config, queue, batch, wms, key)


def _batch(config: Config, queue: QueueConfig) -> Any:
    section = config.sources[queue.options.source]
    kind = plugins.load("autopyfactory.batch", section.plugin)
    return kind(section.name, section.options, Context(config.factory, Clock(), looking=True))
