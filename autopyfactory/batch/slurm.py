"""Slurm, by sbatch, squeue and scancel; sacct or the file of jobcomp/filetxt tell of jobs listed no more.

Formats and traps as observed on 22.05, and as documented for 23.02 and later, whose `squeue --json` writes
lists of states and objects where 22.05 has a word and a number.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from autopyfactory.batch.commands import CommandBatch
from autopyfactory.batch.commands_options import CommandOptions, CommandQueueOptions
from autopyfactory.batch.commands_words import (
    Answer,
    Commands,
    End,
    NewPilot,
    Seen,
    Tags,
    Unbelievable,
    mebibytes,
    remedied,
)
from autopyfactory.config.fields import AbsolutePath, Boolean, Options
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState

STATES = {
    "COMPLETING": PilotState.FINISHING,
    "STAGE_OUT": PilotState.FINISHING,
    "REQUEUE_HOLD": PilotState.HELD,
    "SPECIAL_EXIT": PilotState.HELD,
    "RESV_DEL_HOLD": PilotState.HELD,
    "STOPPED": PilotState.SUSPENDED,
    "SUSPENDED": PilotState.SUSPENDED,
    "CONFIGURING": PilotState.PENDING,
    "POWER_UP_NODE": PilotState.PENDING,
    "REQUEUED": PilotState.PENDING,
    "REQUEUE_FED": PilotState.PENDING,
    "PENDING": PilotState.PENDING,
    "RESIZING": PilotState.RUNNING,
    "SIGNALING": PilotState.RUNNING,
    "RUNNING": PilotState.RUNNING,
}
"""The factory's word for each state of Slurm that is no end; of several at once the first one here counts."""

FAULTS = {
    "COMPLETED": "",
    "FAILED": "",
    "CANCELLED": "removed",
    "TIMEOUT": "ran longer than its walltime",
    "DEADLINE": "its deadline passed",
    "OUT_OF_MEMORY": "used more memory than it asked for",
    "PREEMPTED": "had to make room for other jobs",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "LAUNCH_FAILED": "its node could not start it, or it was killed",
    "REVOKED": "another cluster of the federation took it",
}
"""What each end of Slurm is as a pilot's fault."""

HOLDING = frozenset(
    {
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "launch_failed_requeued_held",
        "BadConstraints",
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
    }
)
"""Reasons of PENDING that do not go away by themselves."""

REMEDIES = {
    "Invalid partition name": "correct batchqueue, 'sinfo -s' shows the partitions",
    "Invalid account": "correct account, or let Slurm's admin add the user to it with sacctmgr",
    "violates accounting/QOS policy": "a limit of the account or QOS is reached, 'sacctmgr show assoc' shows them",
    "Requested time limit is invalid": "lower walltime, or let Slurm's admin raise MaxTime of the partition",
    "Requested node configuration is not available": "no node of the partition has so many cores or so much memory",
    "More processors requested than permitted": "lower cores, or take another partition",
    "Memory required by task is not available": "lower memory, or take another partition",
    "group not permitted to use this partition": "Slurm's admin has to add the group to AllowGroups",
    "Access/permission denied": "Slurm's admin has to allow this user on this submit host",
    "Invalid user id": "the user has to exist on the host of slurmctld too",
    "Unable to contact slurm controller": "slurmctld is down or cannot be reached",
    "Protocol authentication error": "munge has to run here with the cluster's key",
    "Munge encode failed": "munged has to run on this host",
}
"""What an admin has to change, by what sbatch says."""

UNCERTAIN = (
    "timed out",
    "send failure",
    "receive failure",
    "shutdown failure",
    "Zero Bytes were transmitted",
    "Unexpected message received",
    "Connection reset",
    "Broken pipe",
)
"""Words of a failed sbatch whose job the controller may have taken all the same."""

OURS = ("comment", "array", "wrap", "clusters")
"""Options of sbatch that would hide the pilots from their own factory."""

_JOBCOMP = re.compile(r"^JobId=(\d+) .*?\bJobState=(\S+) .*\bExitCode=(\d+):(\d+)", re.MULTILINE)
_SACCT = re.compile(r"^(\d+)\|([A-Z_]+)[^|\n]*\|(\d+):(\d+)", re.MULTILINE)


class SlurmOptions(CommandOptions):
    """`[slurm NAME]` of autopyfactory.conf."""

    sacct: Boolean = Field(False, description="slurmdbd keeps accounts: ask sacct for ends that squeue shows no more")
    jobcomp: AbsolutePath | None = Field(None, description="the file of jobcomp/filetxt, for the same without slurmdbd")


class SlurmQueueOptions(CommandQueueOptions):
    """What Slurm adds to a queue: `submit.X = value` becomes `--X=value` of sbatch, `_` written for `-`."""


class Slurm(CommandBatch):
    """One Slurm cluster."""

    source_kind: ClassVar[str] = "slurm"
    programs: ClassVar[tuple[str, ...]] = ("sbatch", "squeue", "scancel")
    releasing: ClassVar[tuple[str, ...]] = ("scontrol", "release")
    SourceOptions: ClassVar[type[Options]] = SlurmOptions
    QueueOptions: ClassVar[type[Options]] = SlurmQueueOptions

    @staticmethod
    def hiding(arguments: Sequence[str]) -> str:
        """Return the first further argument that would hide the pilots, also cut short as getopt allows."""
        for argument in arguments:
            name = argument.partition("=")[0].removeprefix("--")
            if argument.startswith("--") and len(name) > 1 and any(ours.startswith(name) for ours in OURS):
                return argument
        return next((argument for argument in arguments if re.match(r"-[aM]", argument)), "")

    @staticmethod
    def option(name: str) -> str:
        """Return the option of sbatch that `submit.NAME` becomes."""
        return f"--{name.replace('_', '-')}"

    def commands(self, options: CommandOptions) -> Commands:
        """Return what Slurm's commands are like."""
        return SlurmCommands(
            sacct=isinstance(options, SlurmOptions) and options.sacct,
            jobcomp=options.jobcomp if isinstance(options, SlurmOptions) else None,
        )


@dataclass(frozen=True, slots=True)
class SlurmCommands(Commands):
    """Slurm's argv builders and parsers."""

    sacct: bool = False
    jobcomp: Path | None = None

    def submit(self, pilot: NewPilot) -> list[str]:
        """Return the sbatch of one pilot. Raises Refused for options that would hide it."""
        queue, shape = pilot.order.queue, pilot.order.shape
        own = [f"{Slurm.option(name)}={value}" for name, value in queue.submit.items()]
        backend = queue.backend
        values: dict[str, object] = {"partition": queue.options.batchqueue}
        if isinstance(backend, CommandQueueOptions):
            own += shlex.split(backend.extra_arguments)
            values["account"] = backend.account
        if hiding := Slurm.hiding(own):
            raise Refused(f"{hiding} would hide the pilots from their own factory, take it out")
        values |= {
            # Slurm counts minutes and mebibytes; rounded up, a pilot gets at least what it asks for.
            "time": None if shape.walltime_s is None else -(-shape.walltime_s // 60),
            "mem": None if shape.memory_mb is None else f"{mebibytes(shape.memory_mb)}M",
        }
        return [
            *("sbatch", "--parsable", "--no-requeue", "--export=NONE", "--chdir=/tmp", "--nodes=1", "--ntasks=1"),
            f"--cpus-per-task={shape.cores}",
            f"--job-name=apf-{queue.name}",
            f"--comment={pilot.tags.text()}",
            f"--output={_path(pilot.output)}",
            f"--error={_path(pilot.error)}",
            *(f"--{name}={value}" for name, value in values.items() if value),
            *own,
        ]

    def submitted(self, answer: Answer) -> str:
        """Return the job's id. Raises Refused with a remedy, or Ambiguous."""
        # With --clusters the name of the cluster follows.
        match = re.search(r"^(\d+)(;\S*)?$", answer.stdout.strip(), re.MULTILINE)
        if answer.rc == 0 and match:
            return match[1]
        said = answer.said().replace("sbatch: error: ", "")
        if answer.rc <= 0 or any(word in said for word in UNCERTAIN):
            raise Ambiguous(f"sbatch: {said}")
        raise Refused(f"sbatch: {remedied(said, REMEDIES)}")

    def status(self) -> list[str]:
        """Return the squeue of all jobs, those of hidden partitions and finished ones too."""
        return ["squeue", "--all", "--states=all", "--json"]

    def listed(self, answer: Answer) -> list[Seen]:
        """Return the jobs of the answer. Raises Unbelievable."""
        jobs = jobs_of(answer)
        try:
            return [_seen(job) for job in jobs]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unbelievable(f"squeue writes a form that is not known here: {error!r}") from None

    def history(self, ids: Sequence[str]) -> list[str] | None:
        """Return the command that tells the ends of jobs squeue has forgotten, where the section names a way."""
        if self.sacct:
            return ["sacct", "-X", "-n", "-P", "-j", ",".join(ids), "-o", "JobID,State,ExitCode"]
        if self.jobcomp:
            return ["grep", "-E", f"^JobId=({'|'.join(ids)}) ", str(self.jobcomp)]
        return None

    def told(self, answer: Answer) -> dict[str, End]:
        """Return the ends; of several jobs of one id (a controller that lost its state) the last one counts."""
        if answer.rc and answer.stderr.strip():
            raise Unbelievable(answer.said())
        found = (_SACCT if self.sacct else _JOBCOMP).findall(answer.stdout)
        return {id_: _end(state, -int(signal) or int(code)) for id_, state, code, signal in found if state in FAULTS}

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Return the scancel of some jobs."""
        return ["scancel", *ids]

    def removed(self, answer: Answer, ids: Sequence[str]) -> int:
        """Return how many jobs scancel took; it is silent about those it does not know."""
        complaints = [line for line in answer.stderr.splitlines() if line.strip() and "Invalid job id" not in line]
        if answer.rc and complaints:
            raise Unbelievable(f"scancel: {remedied(answer.said(), REMEDIES)}")
        return len(ids)


def jobs_of(answer: Answer) -> list[Mapping[str, Any]]:
    """Return the jobs of `squeue --json` as it writes them. Raises Unbelievable.

    With the controller down squeue says rc 0 and an empty list, beside `errors`.
    """
    try:
        paper = json.loads(answer.stdout)
    except ValueError:
        raise Unbelievable(f"squeue: {answer.said()}") from None
    if not isinstance(paper, dict) or not isinstance(paper.get("jobs"), list) or answer.rc:
        raise Unbelievable(f"squeue: {answer.said()}")
    if errors := paper.get("errors"):
        # 22.05 describes any failure like this, and says what it was in the log of slurmctld alone.
        raise Unbelievable(f"squeue: no answer of slurmctld: {_complaint(errors)} (it is down, or its log tells why)")
    jobs: list[Mapping[str, Any]] = paper["jobs"]
    return jobs


def states_of(job: Mapping[str, Any]) -> list[str]:
    """Return the words for a job's state, of which older versions write one alone. Raises KeyError."""
    state = job["job_state"]
    return state if isinstance(state, list) else [state]


def tags_of(job: Mapping[str, Any]) -> Tags | None:
    """Return the tags in a job's comment, which some versions write as one of several; None where it is no pilot."""
    comment = job.get("comment") or ""
    return Tags.read(comment.get("job", "") if isinstance(comment, dict) else comment)


def _seen(job: Mapping[str, Any]) -> Seen:
    words = states_of(job)
    reason = str(job.get("state_reason") or "")
    state: PilotState | End = next((STATES[word] for word in STATES if word in words), PilotState.UNKNOWN)
    end = next((word for word in words if word in FAULTS), "")
    if state is PilotState.UNKNOWN and end:
        state = _end("LAUNCH_FAILED" if reason == "JobLaunchFailure" else end, _exit_code(job.get("exit_code")))
    elif state is PilotState.PENDING and reason in HOLDING:
        state = PilotState.HELD
    # Slurm lists also what sbatch refused: such a job was never a pilot.
    refused = end == "FAILED" and reason in HOLDING
    word = "+".join(map(str, words)) + (f" ({reason})" if reason not in {"", "None"} else "")
    tags = None if refused else tags_of(job)
    node = str(job.get("nodes") or "")
    return Seen(str(int(job["job_id"])), tags, state, word, str(job.get("user_name") or ""), node)


def _end(state: str, code: int | None) -> End:
    fault = FAULTS[state]
    # A removed or failed job's code may be 0 where it has none.
    return End(None if fault and not code else code, fault)


def _exit_code(value: Any) -> int | None:
    """Return an exit code, negative for a signal, from a raw wait status or from the object of 23.02 and later."""
    if isinstance(value, dict) and "return_code" in value:
        signal = value.get("signal") or {}
        number = _number(signal.get("id", signal.get("signal_id")))
        return -number if number else _number(value["return_code"])
    status = _number(value)
    if status is None:
        return None
    return -(status & 0x7F) if status & 0x7F else status >> 8


def _number(value: Any) -> int | None:
    if isinstance(value, dict):
        return int(value["number"]) if value.get("set", True) and "number" in value else None
    return None if value is None else int(value)


def _complaint(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) and errors else errors
    if not isinstance(first, dict):
        return str(first)[:200]
    return ", ".join(str(first[key]) for key in ("description", "error", "source") if first.get(key))[:200]


def _path(path: Path) -> str:
    """Write a path so that Slurm expands nothing in it."""
    return str(path).replace("%", "%%")
