"""What the configuration becomes: the options of the main file and of a queue, declared once, and the result.

The check, the reference page, the sample files and `autopyfactory config` all read these declarations.
Options of one plug-in only are declared in its own module (`QueueOptions`, `SourceOptions`, `Options`).
"""

import getpass
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from autopyfactory.config.fields import (
    AbsolutePath,
    Boolean,
    CommandLine,
    CoresByType,
    CountByType,
    Duration,
    DurationByType,
    Identifier,
    Number,
    Options,
    Rate,
    Releases,
    Size,
    SizeByType,
    Words,
    words,
)
from autopyfactory.config.problems import Problem
from autopyfactory.cric.options import CricOptions
from autopyfactory.sched.options import RuleOptions


def _user() -> str:
    """Return the name of this account, or its number where the host has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class FactoryOptions(Options):
    """`[factory]` of autopyfactory.conf."""

    id: Identifier = Field(description="name of this factory in tags, monitor and WMS")
    host: str = Field(
        default_factory=socket.gethostname, description="name of this host in the tag APF_HOST and in FACTORY_JOBID"
    )
    user: str = Field(default_factory=_user, description="FACTORYUSER in the pilot's environment")
    admin_email: str = Field("", description="who is told; shown on the monitor, notify_user of HTCondor")
    log_dir: AbsolutePath = Field(Path("/var/log/apf"), description="where the daemon's own log goes")
    state_dir: AbsolutePath = Field(Path("/var/lib/apf"), description="what must survive a restart")
    run_dir: AbsolutePath = Field(Path("/run/apf"), description="the lock of a running factory")
    pilot_log_dir: AbsolutePath = Field(Path("/var/lib/apf/pilots"), description="root of the pilots' output")
    pilot_log_url: str = Field("", description="the URL under which pilot_log_dir is served")
    queues: Words = Field((), description="queue files; default: queues.conf and queues.d/*.conf beside this file")
    max_per_factory: int | None = Field(None, ge=0, description="pilots in flight over all queues, at most")
    record_keep: Duration = Field(2_592_000.0, description="how long the decision record remembers; 0: no record")
    min_free: Size = Field(100_000_000, description="nothing is submitted below this free space of our directories")
    environment_script: AbsolutePath | None = Field(
        None, description="a script for /bin/sh, sourced at start so that grid tools are found"
    )
    submit_users: Words = Field((), description="accounts that queues may name in submit_user")


class CredentialOptions(Options):
    """`[credential NAME]` of autopyfactory.conf."""

    kind: Literal["proxy", "token"] = Field("proxy", description="proxy (X.509) or token")
    file: AbsolutePath = Field(description="the file that holds it")
    min_life: Duration = Field(600.0, ge=0, description="it is not used when it expires sooner than that")


class HeldOptions(Options):
    """`[held NAME]` of autopyfactory.conf: what to do with pilots that are held, asked before the shipped table."""

    code: Words = Field((), description="HTCondor's hold codes it speaks of, also CODE:SUBCODE; empty: any")
    match: str = Field("", description="what is in the reason, a regular expression, in any case; empty: anything")
    action: Literal["leave", "release", "remove", "pause", "tell"] = Field(
        description="leave them, release (then remove) or remove them, pause the queue's endpoint, tell the admin"
    )
    times: int = Field(3, ge=0, description="release: so often, then they are removed")
    after: Duration = Field(300.0, ge=0, description="nothing is released or removed that is held for less")
    rate: Rate = Field(1 / 6, gt=0, description="released, and removed, at most")
    remedy: str = Field("", description="what the admin has to do; logged as a warning when pilots are held so")

    @field_validator("code")
    @classmethod
    def _codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            if not re.fullmatch(r"\d{1,5}(:-?\d{1,9})?", code):
                raise ValueError(f"'{code}' is no hold code, write for example 13 or 13:2")
        return codes

    @field_validator("match")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _conditional(self) -> "HeldOptions":
        if not self.code and not self.match:
            raise ValueError("it speaks of no pilot, name code or match")
        return self


class QueueOptions(Options):
    """The options every queue has, whatever its backend, WMS and rules."""

    enabled: Boolean = Field(True, description="no: the queue is configured and not served")
    wms: str = Field("", description="[wms NAME] that knows its jobs; empty: rules that need demand are refused")
    wmsqueue: str = Field("", description="its name in the WMS, or several by commas, whose jobs are added")
    batchqueue: str = Field("", description="queue or partition behind the CE or in the batch system")
    backend: str = Field(description="what it submits to: condor, fork, ...")
    type: str = Field("", description="type of the backend")
    subtype: str = Field("", description="subtype of the backend")
    source: str = Field("", description="name of the [schedd NAME] or [fork NAME] section; empty: the local one")
    endpoint: str = Field("", description="CE it submits to, or several by commas; empty: the source itself")
    monitor: Words = Field((), description="[monitor NAME] sections that are told")
    interval: Duration = Field(60.0, ge=0.1, description="time between two cycles")
    rules: Words = Field(("ready",), description="the makers of the decision, in order")
    share: Number = Field(Fraction(1), ge=0, le=1, description="this factory's part of the wmsqueue's demand, 0 to 1")
    weight: Number = Field(Fraction(1), ge=0, description="this queue's weight among its siblings")
    weight_by: Literal["itself", "drain"] = Field(
        "itself",
        alias="weight.by",
        description="drain: the weight is multiplied by how many pilots started here lately",
    )
    weight_window: Duration = Field(
        3600.0, ge=60, le=3600, alias="weight.window", description="how long a pilot counts as started lately"
    )
    jobs_per_pilot: Number = Field(Fraction(1), gt=0, description="jobs that one pilot runs, one after the other")
    first_job_after: Duration = Field(
        60.0, ge=0, le=1800, description="how long a pilot that starts needs at most until it has fetched its first job"
    )
    test_labels: Words = Field(
        ("test",), description="labels of the jobs that pilots of ordinary labels get while the site is in test"
    )
    labels: Words = Field((), description="job labels that count; empty: all")
    resource_types: Words = Field((), description="resource types that count; empty: all")
    split: Boolean = Field(
        False, description="yes: each of resource_types counts alone, as where cores, memory or walltime is a table"
    )
    cores: CountByType = Field(1, ge=1, description="cores of one pilot")
    memory: SizeByType | None = Field(None, description="memory of one pilot, whole")
    memory_per_core: SizeByType | None = Field(None, description="memory of one pilot per core, where memory is unset")
    walltime: DurationByType | None = Field(None, gt=0, description="wall time of one pilot")
    job_cores: CoresByType = Field(
        default_factory=dict, description="cores of one job by resource type, e.g. SCORE:1, MCORE:8"
    )
    executable: AbsolutePath | None = Field(None, description="the wrapper; empty: the shipped bootstrap")
    arguments: CommandLine = Field("", description="arguments of the wrapper, as a shell would read them")
    pilot_options: Literal["classic", "pilot3"] = Field(
        "pilot3", description="the names of the pilot's options that are appended to arguments: -o -v -A, or long ones"
    )
    country: str = Field("", description="country whose jobs the pilot asks for; demand is counted whole all the same")
    group: str = Field("", description="working group whose jobs the pilot asks for; demand is counted whole")
    allow_other_country: Boolean = Field(False, description="yes: beyond-pledge use, jobs of other countries too")
    releases: Releases = Field(
        default_factory=lambda: {"ptest": "RC", "rc_test": "RC"},
        description="release of the pilot (-i) by the queue's labels, where these agree; * for all others",
    )
    global_shares: Words = Field(
        (), description="global shares whose jobs count, of a [wms NAME] with by = share; empty: all"
    )
    proxy: Words = Field((), description="X.509 proxy for the pilot: credential sections in order, or a path")
    token: Words = Field((), description="token that authenticates us to a CE: credential sections, or a path")
    formerly: Words = Field((), description="names this queue had before: pilots submitted under them are its own")
    max_pending_age: Duration | None = Field(
        None, gt=0, description="pilots that wait longer are removed, a few per cycle; unset: none"
    )
    max_running_age: Duration | None = Field(
        None, gt=0, description="pilots that run longer are removed, at least walltime + 1h; unset: none"
    )
    submit_user: str = Field("", description="account the pilots run as, where the backend can choose")

    @property
    def wmsqueues(self) -> tuple[str, ...]:
        """Return the names in the WMS, at least one, which may be empty."""
        return tuple(dict.fromkeys(words(self.wmsqueue))) or ("",)

    @property
    def whole_memory(self) -> int | None:
        """Return the memory of one pilot in bytes, None where nothing is said of it."""
        if self.memory is not None or self.memory_per_core is None:
            return self.memory
        return self.memory_per_core * self.cores

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return the endpoints that are named, none for the source itself."""
        return tuple(dict.fromkeys(words(self.endpoint)))


@dataclass(frozen=True, slots=True)
class Section:
    """One `[kind name]` section of the main file with its validated options (the plug-in's own model)."""

    kind: str
    name: str
    options: Options
    plugin: str = ""


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """One queue, validated: what all queues have, what its backend adds, and what its rules read.

    `environment` holds the `env.NAME` options, `submit` the `submit.X` ones, case kept. `by_type` is set where
    the queue counts each resource type alone: the options of each type that differ from `options`. A queue
    with `resource_type` is the part of such a queue for this type, alike in all else.
    """

    name: str
    options: QueueOptions
    backend: Options
    rules: RuleOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    submit: Mapping[str, str] = field(default_factory=dict)
    by_type: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    resource_type: str = ""

    @property
    def parts(self) -> tuple["QueueConfig", ...]:
        """Return the queue for each resource type that it counts alone, or itself."""
        return tuple(
            replace(
                self,
                options=self.options.model_copy(update={**options, "resource_types": (name,)}),
                by_type={},
                resource_type=name,
            )
            for name, options in self.by_type.items()
        ) or (self,)

    @property
    def claim(self) -> str:
        """Return the name under which it claims jobs: a part has one of its own, which no queue can have."""
        return f"{self.name}:{self.resource_type}" if self.resource_type else self.name


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration: `sources`, `wms`, `monitors`, `credentials` and `held` by section name.

    `queues` holds the valid and enabled ones in the order of the files; `problems` what was wrong or is
    worth a warning with the rest, `out` the names of the queues that problems took out, `disabled` those
    of `enabled = no` (None: its section has mistakes). `origins` tells the `file:line` of every option that
    stands in a file, by section (of a queue: its name) and option, also where [DEFAULT] set it.
    `documents` are the digests of what the catalogues had.
    """

    path: Path
    factory: FactoryOptions
    sources: Mapping[str, Section]
    wms: Mapping[str, Section]
    monitors: Mapping[str, Section]
    credentials: Mapping[str, CredentialOptions]
    queues: Mapping[str, QueueConfig]
    out: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    disabled: Mapping[str, QueueConfig | None] = field(default_factory=dict)
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict)
    held: Mapping[str, HeldOptions] = field(default_factory=dict)
    catalogues: Mapping[str, CricOptions] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
