"""`autopyfactory run`: the daemon, in the foreground unless told otherwise."""

import os
import sys
from functools import partial
from pathlib import Path

import click

from autopyfactory import logs
from autopyfactory.cli.options import conf_option
from autopyfactory.config.loader import load
from autopyfactory.daemon import NEW_DOCUMENT
from autopyfactory.errors import StartError
from autopyfactory.factory import Factory
from autopyfactory.launch import Request, launch

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Run the factory, in the foreground or as a daemon.")
@conf_option
@click.option("--once", is_flag=True, help="Do one cycle of every queue and end.")
@click.option("--cycles", type=click.IntRange(min=1), metavar="N", help="Do N cycles of every queue and end.")
@click.option("--dry-run", is_flag=True, help="Decide and say so, submit nothing.")
@click.option("--paused", is_flag=True, help="Pause all queues first; 'autopyfactory resume --all' lets them go.")
@click.option("--daemon", "detach", is_flag=True, help="Go into the background once the factory has started.")
@click.option("--pidfile", type=FILE, metavar="FILE", help="Write the process id there.")
@click.option("--runas", default="", metavar="USER", help="Become this user first; root must name one.")
@click.option("--log", "log_file", type=FILE, metavar="FILE", help="Log there; else stderr, or log_dir with --daemon.")
@click.option("--debug", is_flag=True, help="Log more.")
def run(
    conf: Path,
    once: bool,
    cycles: int | None,
    dry_run: bool,
    paused: bool,
    detach: bool,
    pidfile: Path | None,
    runas: str,
    log_file: Path | None,
    debug: bool,
) -> None:
    """Run the factory.

    TERM and INT stop it, HUP reloads the configuration. Exit code: 0 after a stop or all cycles, 1 when it
    could not start or went wrong, 2 for a wrong command line or configuration.
    """
    if once and cycles is not None:
        raise click.UsageError("--once and --cycles contradict each other, give one")
    request = Request(
        conf=conf.absolute(),
        cycles=1 if once else cycles,
        dry_run=dry_run,
        paused=paused,
        detach=detach,
        pidfile=pidfile.absolute() if pidfile else None,
        runas=runas,
        log_file=log_file.absolute() if log_file else None,
        debug=debug,
    )
    try:
        code = launch(request, load=load, make=partial(Factory, on_catalogue=_reload))
    except StartError as error:
        click.echo(f"autopyfactory: {logs.mask(str(error))}", err=True)
        code = error.code
    sys.exit(code)


def _reload() -> None:
    """Have the configuration read again, as by an admin's HUP: all or nothing, shown as a difference."""
    os.kill(os.getpid(), NEW_DOCUMENT)
