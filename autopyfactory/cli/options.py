"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.config.problems import suggest

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


def known_queue(config: Config, name: str) -> QueueConfig:
    """Return a queue that is sound, also a disabled one. Raises UsageError."""
    queue = config.queues.get(name) or config.disabled.get(name)
    if queue:
        return queue
    if name in config.out or name in config.disabled:
        raise click.UsageError(f"the section [{name}] has mistakes, 'autopyfactory check' tells them")
    hint = suggest(name, [*config.queues, *config.disabled, *config.out])
    raise click.UsageError(f"there is no queue '{name}'{hint}")
