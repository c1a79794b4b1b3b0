"""The options of `[globus NAME]`, and what can be wrong with a queue of GRAM."""

import re
import shlex
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from autopyfactory.batch.commands_options import CommandOptions
from autopyfactory.batch.globus_rsl import GlobusQueueOptions, hiding
from autopyfactory.config.fields import Duration, Options
from autopyfactory.config.models import QueueOptions

_GIVEN = ("-f", "-file", "-b", "-batch", "-F", "-fast-batch", "-q", "-quiet", "-r", "-resource")
_OTHER = ("-s", "-server", "-w", "-write-allow", "-o", "-output-enable", "-k", "-kill", "-status", "-p", "-parse", "-a")
HIDING = frozenset(
    (*_GIVEN, *_OTHER, "-authenticate-only", "-d", "-dryrun", "-y", "-refresh-proxy", "-stop-manager", "-j")
)
"""Options of globusrun that would hide the pilots, or do something else."""

_ENDPOINT = re.compile(r"[\w.-]+(:\d{0,5})?(/[^\s:/]+)?(:/\w+=.*)?", re.ASCII)
_EXAMPLE = "for example gk01.example.org:2119/jobmanager-pbs"


class GlobusOptions(CommandOptions):
    """`[globus NAME]` of autopyfactory.conf: each knows its own pilots only."""

    place: ClassVar[tuple[str, ...]] = ()

    interval: Duration = Field(60.0, gt=0, description="time between two rounds of questions for the pilots")
    max_age: Duration = Field(600.0, gt=0, description="an older state of a pilot is not believed")
    deadline: Duration = Field(45.0, gt=0, description="the most that one round of questions, or one submission, takes")
    give_up: Duration = Field(
        4 * 86400.0, gt=0, description="pilots of unknown state are written off after so long without an answer"
    )
    at_once: int = Field(8, ge=1, le=64, description="calls of globusrun that run at the same time")


def problems(options: QueueOptions, backend: Options) -> Iterator[str]:
    """Say what a queue lacks for GRAM, and what would hide its pilots."""
    if not options.endpoints:
        yield f"endpoint: is missing, name the gatekeeper, {_EXAMPLE}"
    for endpoint in options.endpoints:
        if not _ENDPOINT.fullmatch(endpoint):
            yield f"endpoint: '{endpoint}' is no gatekeeper, write {_EXAMPLE}"
    if not options.proxy:
        yield "proxy: is missing, GRAM takes nothing without one: write 'proxy = ...'"
    if options.submit_user:
        yield "submit_user: the CE's grid-mapfile chooses the account, write 'submit_user =' here"
    if isinstance(backend, GlobusQueueOptions):
        if word := next((word for word in shlex.split(backend.extra_arguments) if word in HIDING), ""):
            yield f"extra_arguments: {word} would hide the pilots from their own factory, take it out"
        if name := hiding(backend, ()):
            yield f"globusrsl: the attribute {name} belongs to the factory, take it out"
