"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_CONF = Path("/etc/apf/autopyfactory.conf")


def conf_option(command: Command) -> Command:
    """Add `--conf FILE`, which reaches the command as the argument `conf`, a Path."""
    return click.option(
        "--conf",
        type=click.Path(dir_okay=True, path_type=Path),
        envvar="APF_CONF",
        default=DEFAULT_CONF,
        show_default=True,
        metavar="FILE",
        help="The main configuration file; also $APF_CONF.",
    )(command)
