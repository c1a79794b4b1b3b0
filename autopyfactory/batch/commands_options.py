"""The options that all command-line batch systems share, and what can be wrong with them."""

import os
import pwd
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from autopyfactory.batch.commands_words import Answer
from autopyfactory.config.fields import AbsolutePath, CommandLine, Duration, Options, Rate
from autopyfactory.config.models import CredentialOptions, FactoryOptions, QueueOptions
from autopyfactory.config.problems import Fault

SHARED = frozenset(
    {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "afs", "panfs", "pvfs2", "orangefs", "wekafs"}
)
"""Types of file systems that nodes may see too; with `fuse.` before it anything may be one."""


class CommandOptions(Options):
    """`[slurm NAME]`, `[torque NAME]`, ... of autopyfactory.conf."""

    place: ClassVar[tuple[str, ...]] = ("bin_dir",)

    interval: Duration = Field(30.0, gt=0, description="time between two counts of the pilots")
    max_age: Duration = Field(300.0, gt=0, description="older counts of pilots are not believed")
    deadline: Duration = Field(20.0, gt=0, description="the most that one command, or one submission, may take")
    max_submit_rate: Rate | None = Field(None, gt=0, description="pilots a second, at most; unset: as fast as it takes")
    bin_dir: AbsolutePath | None = Field(None, description="folder of its commands; unset: they are on the PATH")


class CommandQueueOptions(Options):
    """What such a backend adds to a queue."""

    account: str = Field("", description="account or project that is charged")
    extra_arguments: CommandLine = Field("", description="further arguments of the submit command")


def judge(
    options: QueueOptions,
    factory: FactoryOptions,
    credentials: Mapping[str, CredentialOptions],
    mounts: Path = Path("/proc/mounts"),
) -> Iterator[str]:
    """Say what is wrong with the account of a queue's pilots, and warn of files that nodes cannot see."""
    user = options.submit_user
    if user and user not in factory.submit_users:
        yield f"submit_user: '{user}' is not allowed, add it to submit_users in [factory]"
    elif user and not _exists(user):
        yield f"submit_user: there is no account '{user}' on this host, create it or name another one"
    if kind := _own(factory.pilot_log_dir, mounts):
        where = f"pilot_log_dir {factory.pilot_log_dir} is on a file system of this host alone ({kind})"
        yield f"warning: {where}, other nodes cannot write the output of pilots there: put it on a shared one"
    for name in options.proxy:
        path = credentials[name].file if name in credentials else Path(name)
        if path.is_absolute() and (kind := _own(path, mounts)):
            where = f"{path} is on a file system of this host alone ({kind})"
            yield f"warning: proxy: {where}, other nodes cannot read it: put it on a shared one"


def hiding_lines(names: Iterable[str]) -> Iterator[Fault]:
    """Say that these `submit.NAME` of a queue would hide its pilots."""
    for name in names:
        yield Fault(f"submit.{name}", "would hide the pilots from their own factory, take it out")


def _own(path: Path, mounts: Path) -> str:
    """Return the type of a file system that surely only this host sees, else ""."""
    kind = file_system(path, mounts)
    return "" if kind in SHARED or kind.startswith("fuse.") else kind


def file_system(path: Path, mounts: Path) -> str:
    """Return the type of the file system of an absolute path, "" where that is not known; touches no mount."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        words = line.split()
        # The kernel writes blanks in names as octal numbers.
        place = Path(words[1].replace("\\040", " ")) if len(words) > 2 else None
        if place is not None and path.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), words[2]
    return kind


def absent(programs: Sequence[str], sources: Iterable[Options] = ()) -> str:
    """Say which programs are missing where a source looks for them; one source that has them all is enough."""
    said = []
    for folder in [getattr(options, "bin_dir", None) for options in sources] or [None]:
        missing = [program for program in programs if shutil.which(program, path=folder and str(folder)) is None]
        if not missing:
            return ""
        said.append(f"no {', '.join(missing)} {f'in {folder}' if folder else 'on the PATH'}")
    return "; ".join(dict.fromkeys(said))


def own_account() -> str:
    """Return the name of the account that this process runs as, "" where the host has no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def refused_by_sudo(answer: Answer, user: str, program: str) -> str:
    """Return why sudo did not run a program as a user, and what helps, or "" where the program has had its say.

    A refusal is sudo's last word; it also warns of host names, and goes on.
    """
    lines = [line for line in answer.stderr.splitlines() if line.strip() and "unable to resolve host" not in line]
    if not answer.rc or not lines or not lines[-1].startswith(("sudo:", "Sorry, user ")):
        return ""
    line = f"{own_account()} ALL=({user}) NOPASSWD: {program}"
    return f"sudo refuses, allow it by a line in /etc/sudoers.d: {line} ({answer.said()})"


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
