"""`autopyfactory downtime`: announce when a site or CE is down, with or without a daemon."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from autopyfactory.cli.operate import NO_REASON, resolve, spoken, who
from autopyfactory.cli.options import conf_option
from autopyfactory.config.fields import duration
from autopyfactory.config.glance import glance
from autopyfactory.downtimes import Downtimes
from autopyfactory.errors import OperateError
from autopyfactory.model import Downtime

T = TypeVar("T")


@click.command(short_help="Announce a downtime: no pilots that would run into it.")
@click.option("--from", "start", metavar="TIME", help="Its beginning, e.g. '2026-11-23 08:00' (UTC), +2h; now.")
@click.option("--to", "end", metavar="TIME", help="Its end, e.g. '2026-11-23 18:00' (UTC); +8h after its beginning.")
@click.option("--cancel", is_flag=True, help="Take back what is announced for these queues.")
@conf_option
@click.option("--why", metavar="TEXT", help="The reason, for whoever comes next.")
@click.option("--all", "everything", is_flag=True, help="All queues, also those to come.")
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def downtime(
    queues: tuple[str, ...],
    everything: bool,
    conf: Path,
    start: str | None,
    end: str | None,
    cancel: bool,
    why: str | None,
) -> None:
    """Announce a downtime. Without a queue and --all: print what is announced.

    From its beginning less the wall time of a pilot (or downtime.drain_before) no pilots are sent; after its end the
    queue begins with one and doubles. Works also while the factory is down: it is written into state_dir.
    """
    now = time.time()
    if not queues and not everything:
        if start or end or cancel or why:
            raise click.UsageError("name queues or give --all")
        return _show(conf, now)
    if cancel:
        if start or end or why:
            raise click.UsageError("--cancel takes back all that is announced for a queue, it has no other option")
        return _cancel(conf, queues, everything, now)
    return _announce(conf, queues, everything, _period(start, end, why, now), now)


def _period(start: str | None, end: str | None, why: str | None, now: float) -> Downtime:
    if end is None:
        raise click.UsageError("--to is missing: say when it is over, as in --to +8h or --to '2026-11-23 18:00'")
    if why is None or not why.strip():
        raise click.UsageError(NO_REASON)
    begins = _time("--from", start or "now", now)
    ends = _time("--to", end, begins)
    if ends <= max(begins, now):
        raise click.BadParameter(f"'{end}' is over, or not after its beginning", param_hint="--to")
    return Downtime(begins, ends, " ".join(why.split()), who())


def _time(option: str, text: str, origin: float) -> float:
    """Read a time in UTC, or one after `origin`."""
    word = text.strip()
    try:
        if word == "now":
            return origin
        if word.startswith("+"):
            return origin + duration(word[1:])
        if not re.match(r"\d{4}-\d\d-\d\d", word):
            raise ValueError
        at = datetime.fromisoformat(word)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        hint = "write for example 'now', '+2h', '2026-11-23 08:00' (UTC) or '2026-11-23T08:00+01:00'"
        raise click.BadParameter(f"'{text}' is no time, {hint}", param_hint=option) from None


def _announce(conf: Path, queues: tuple[str, ...], everything: bool, period: Downtime, now: float) -> None:
    state_dir, names = resolve(queues, everything, conf)
    for name in names:
        _try(partial(Downtimes(state_dir).add, name, period, now))
    click.echo(f"{spoken(names)} {period}")


def _cancel(conf: Path, queues: tuple[str, ...], everything: bool, now: float) -> None:
    state_dir, names = resolve(queues, everything, conf)
    count = sum(_try(partial(Downtimes(state_dir).cancel, name, now)) for name in names)
    click.echo(f"{spoken(names)}: {count} taken back" if count else f"{spoken(names)}: nothing was announced")


def _show(conf: Path, now: float) -> None:
    announced = _try(lambda: Downtimes(glance(conf).state_dir).all(now))
    for name in sorted(announced):
        for one in announced[name]:
            click.echo(f"{spoken((name,))} {one}")
    if not announced:
        click.echo("no downtime is announced")


def _try(action: Callable[[], T]) -> T:
    try:
        return action()
    except OperateError as error:
        raise click.ClickException(str(error)) from None
