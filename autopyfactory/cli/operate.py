"""`autopyfactory pause`, `resume` and `drain`: what an operator does at run time, with or without a daemon."""

import difflib
import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from autopyfactory.cli.options import conf_option
from autopyfactory.config import load
from autopyfactory.config.fields import duration
from autopyfactory.operate import ALL, Action, OperateError, Operator, OperatorState

Command = TypeVar("Command", bound=Callable[..., Any])


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _stopping(command: Command) -> Command:
    """Add what pause and drain have in common."""
    for option in (
        click.option("--why", required=True, metavar="TEXT", help="The reason, for whoever comes next."),
        click.option("--for", "lasts", callback=_seconds, metavar="DURATION", help="Resume by itself, e.g. after 4h."),
    ):
        command = option(command)
    return _naming(command)


def _naming(command: Command) -> Command:
    """Add the names of queues and the configuration that knows them."""
    command = conf_option(command)
    command = click.option("--all", "everything", is_flag=True, help="All queues, also those to come.")(command)
    return click.argument("queues", nargs=-1, metavar="[QUEUE]...")(command)


@click.command(short_help="Submit no more pilots for a while.")
@_stopping
def pause(queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str) -> None:
    """Submit no more pilots for a while; those there go on.

    Works also while the factory is down: it is written into state_dir.
    """
    _stop("pause", queues, everything, conf, lasts, why)


@click.command(short_help="As pause, and say when the last pilot has ended.")
@_stopping
def drain(queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str) -> None:
    """Submit no more pilots and say in the log when the last one has ended; those there go on.

    Works also while the factory is down: it is written into state_dir.
    """
    _stop("drain", queues, everything, conf, lasts, why)


@click.command(short_help="Let queues run again.")
@_naming
def resume(queues: tuple[str, ...], everything: bool, conf: Path) -> None:
    """Let queues run again; by name also while all others are paused."""
    operator, names = _resolve(queues, everything, conf)
    for name in names:
        try:
            operator.resume(name, _who(), time.time())
        except OperateError as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"{_spoken(names)} {'runs' if len(names) == 1 and not everything else 'run'}")


def _stop(action: Action, queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str) -> None:
    if not why.strip():
        raise click.BadParameter("say why, for whoever comes next", param_hint="--why")
    operator, names = _resolve(queues, everything, conf)
    now = time.time()
    state = OperatorState(action, _who(), now, " ".join(why.split()), None if lasts is None else now + lasts)
    for name in names:
        try:
            operator.set(name, state)
        except OperateError as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"{_spoken(names)} {state}")


def _resolve(queues: tuple[str, ...], everything: bool, conf: Path) -> tuple[Operator, tuple[str, ...]]:
    """Return the operator's book and the names to write into it; an unknown one is a wrong command line."""
    if everything == bool(queues):
        raise click.UsageError("name queues or give --all")
    config = load(conf)
    operator = Operator(config.factory.state_dir)
    if everything:
        return operator, (ALL,)
    try:
        written = set(operator.states(time.time()))
    except OperateError as error:
        raise click.ClickException(str(error)) from None
    known = {*config.queues, *config.out, *config.disabled, *written} - {ALL}
    for name in queues:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean '{close[0]}'?" if close else f" in {conf}"
            raise click.BadParameter(f"there is no queue '{name}'{hint}", param_hint="QUEUE")
    return operator, queues


def _spoken(names: tuple[str, ...]) -> str:
    return "all queues" if names == (ALL,) else ", ".join(names)


def _who() -> str:
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
