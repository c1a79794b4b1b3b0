"""The command line: one module per command, imported only when its command is used.

Exit codes of all commands: 0 well, 1 not done or not all of it, 2 a wrong command line or a configuration that
cannot be used. Where one means more by them (`check`, `kill`, `run`) its help says so.
"""

import sys
from importlib import import_module
from typing import Any

import click

from autopyfactory import __version__
from autopyfactory.errors import ConfigError

COMMANDS = {
    "demo": "autopyfactory.cli.demo:demo",
    "run": "autopyfactory.cli.run:run",
    "check": "autopyfactory.cli.check:check",
    "config": "autopyfactory.cli.config:config",
    "plan": "autopyfactory.cli.plan:plan",
    "why": "autopyfactory.cli.why:why",
    "pause": "autopyfactory.cli.operate:pause",
    "drain": "autopyfactory.cli.operate:drain",
    "resume": "autopyfactory.cli.operate:resume",
    "downtime": "autopyfactory.cli.downtime:downtime",
    "kill": "autopyfactory.cli.kill:kill",
    "render": "autopyfactory.cli.render:render",
    "queues": "autopyfactory.cli.queues:queues",
    "backends": "autopyfactory.cli.backends:backends",
    "simulate": "autopyfactory.cli.simulate:simulate",
    "record": "autopyfactory.cli.record:record",
    "reference": "autopyfactory.cli.reference:reference",
}
"""In the order of a newcomer: look, set up, ask, operate, go further."""


class _Lazy(click.Group):
    """Find commands in the table; print a ConfigError as what it is, without a trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101  (the table is ours)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            click.echo(str(error), err=True)
            sys.exit(2)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autopyfactory")
def main() -> None:
    """Keep the right number of pilot jobs on every batch queue and grid site.

    A first look: 'autopyfactory demo'. Each command explains itself with -h.
    """
