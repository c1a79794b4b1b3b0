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
from autopyfactory.config.fields import duration
from autopyfactory.config.glance import glance
from autopyfactory.downtimes import ALL
from autopyfactory.errors import OperateError
from autopyfactory.operate import Action, Operator, OperatorState

Command = TypeVar("Command", bound=Callable[..., Any])
NO_REASON = "--why is missing: say why, for whoever comes next, as in --why 'disk full at the site'"


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    try:
        seconds = None if text is None else duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if seconds is not None and seconds <= 0:
        raise click.BadParameter(f"'{text}' is over at once, 'autopyfactory resume QUEUE' lets a queue run again")
    return seconds


def _naming(command: Command) -> Command:
    """Add what the three commands have in common: one syntax."""
    for option in (
        conf_option,
        click.option("--why", metavar="TEXT", help="The reason, for whoever comes next."),
        click.option("--all", "everything", is_flag=True, help="All queues, also those to come."),
        click.argument("queues", nargs=-1, metavar="[QUEUE]..."),
    ):
        command = option(command)
    return command


def _lasting(text: str, *, hidden: bool = False) -> Callable[[Command], Command]:
    return click.option("--for", "lasts", callback=_seconds, metavar="DURATION", help=text, hidden=hidden)


@click.command(short_help="Submit no more pilots for a while.")
@_lasting("Resume by itself, e.g. after 4h.")
@_naming
def pause(queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str | None) -> None:
    """Submit no more pilots for a while; those there go on. Without a queue and --all: print what is in force.

    Works also while the factory is down: it is written into state_dir.
    """
    _stop("pause", queues, everything, conf, lasts, why)


@click.command(short_help="As pause, and say when the last pilot has ended.")
@_lasting("Resume by itself, e.g. after 4h.")
@_naming
def drain(queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str | None) -> None:
    """Submit no more pilots and say in the log when the last one has ended; those there go on.

    Without a queue and --all: print what is in force. Works also while the factory is down: it is written
    into state_dir.
    """
    _stop("drain", queues, everything, conf, lasts, why)


@click.command(short_help="Let queues run again.")
@_lasting("", hidden=True)
@_naming
def resume(queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str | None) -> None:
    """Let queues run again; by name also while all others are paused.

    Without a queue and --all: print what is in force. --why is optional here.
    """
    if lasts is not None:
        hint = "a queue runs until it is stopped; 'autopyfactory pause QUEUE --for 4h' stops one and ends by itself"
        raise click.BadParameter(hint, param_hint="--for")
    if not queues and not everything and why is None:
        return _show(conf)
    state_dir, names = resolve(queues, everything, conf)
    operator = Operator(state_dir)
    reason = " ".join((why or "").split())
    for name in names:
        try:
            operator.resume(name, who(), time.time(), reason)
        except OperateError as error:
            raise click.ClickException(str(error)) from None
    runs = "runs" if len(names) == 1 and not everything else "run"
    click.echo(f"{spoken(names)} {runs}{f': {reason}' if reason else ''}")
    return None


def _stop(
    action: Action, queues: tuple[str, ...], everything: bool, conf: Path, lasts: float | None, why: str | None
) -> None:
    if not queues and not everything and why is None and lasts is None:
        return _show(conf)
    if why is None or not why.strip():
        raise click.UsageError(NO_REASON)
    state_dir, names = resolve(queues, everything, conf)
    operator = Operator(state_dir)
    now = time.time()
    state = OperatorState(action, who(), now, " ".join(why.split()), None if lasts is None else now + lasts)
    for name in names:
        try:
            operator.set(name, state)
        except OperateError as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"{spoken(names)} {state}")
    return None


def _show(conf: Path) -> None:
    """Print what is in force: who, since when, until when, why."""
    states = _states(Operator(glance(conf).state_dir))
    for name in sorted(states):
        click.echo(f"{spoken((name,))} {states[name]}")
    if all(state.action == "run" for state in states.values()):
        click.echo("no queue is paused")


def _states(operator: Operator) -> dict[str, OperatorState]:
    try:
        return operator.states(time.time())
    except OperateError as error:
        raise click.ClickException(str(error)) from None


def resolve(queues: tuple[str, ...], everything: bool, conf: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the folder of the state and the names to write; an unknown one is a wrong command line."""
    if everything and queues:
        raise click.UsageError("--all means all queues: give it or name queues, not both")
    if not everything and not queues:
        raise click.UsageError("name queues or give --all")
    seen = glance(conf)
    if everything:
        return seen.state_dir, (ALL,)
    written = set(_states(Operator(seen.state_dir)))
    if seen.queues is None:
        click.echo("warning: the queue files cannot be read whole, so names are taken as they are", err=True)
        return seen.state_dir, queues
    known = {*seen.queues, *written} - {ALL}
    for name in queues:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean '{close[0]}'?" if close else f" in {conf}"
            raise click.BadParameter(f"there is no queue '{name}'{hint}", param_hint="QUEUE")
    return seen.state_dir, queues


def spoken(names: tuple[str, ...]) -> str:
    """Return the queues as they are spoken of."""
    return "all queues" if names == (ALL,) else ", ".join(names)


def who() -> str:
    """Return the account behind the command, also behind sudo."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
