"""Torque, by qsub, qstat and qdel.

Formats and traps as observed on 2.5.13, and on the commands of the same names that Debian's
slurm-wlm-torque puts over Slurm. Those show neither variables nor exit codes: use type = slurm there.
"""

import re
import shlex
from collections.abc import Sequence
from typing import ClassVar

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
from autopyfactory.config.fields import Options
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState

STATES = {
    "Q": PilotState.PENDING,
    "W": PilotState.PENDING,
    "T": PilotState.PENDING,
    "H": PilotState.HELD,
    "R": PilotState.RUNNING,
    "S": PilotState.SUSPENDED,
    "E": PilotState.FINISHING,
}
"""The factory's word for each state of Torque that is no end."""

ENDED = frozenset({"C", "F"})
"""C of Torque, F of PBS."""

FAULTS = {
    -1: "Torque could not start it",
    -2: "Torque could not start it",
    -3: "Torque could not start it, and tries again",
    -4: "its node was started anew",
    -5: "its node was started anew",
    -6: "its node was started anew",
    -7: "its restart failed",
    -8: "its node could not execute the script",
    -9: "its node could not make the output files",
    -10: "exceeded its walltime or memory",
    -11: "ran longer than its walltime",
    -12: "used more CPU time than it asked for",
}
"""What a negative exit_status says (JOB_EXEC_* of Torque; up to 2.5 -10 stands for every limit)."""

REMEDIES = {
    "Bad UID for job execution": (
        "Torque's admin has to allow this host, qmgr -c 'set server submit_hosts += HOST', and the user has to"
        " exist on the server too; root may not submit"
    ),
    "Unknown queue": "correct batchqueue, 'qstat -q' shows the queues",
    "No default queue": "name a batchqueue",
    "Queue is not enabled": "Torque's admin has to enable the queue, qenable QUEUE",
    "Unauthorized Request": "Torque's admin has to add the user or group to acl_users or acl_groups of the queue",
    "Access from host not allowed": "Torque's admin has to add this host to acl_hosts of the server or queue",
    "Maximum number of jobs already in queue": "max_queuable or max_user_queuable of the queue is reached",
    "exceeds queue resource limits": "lower walltime, memory or cores, 'qstat -Qf' shows what the queue takes",
    "violates queue and/or server resource limits": "lower walltime, memory or cores, 'qstat -Qf' shows the limits",
    "cannot locate feasible nodes": "no node has so many cores",
    "Unknown resource type": "correct submit.X of the queue, each is a resource of qsub -l",
    "Illegal attribute or resource value": "correct submit.X or extra_arguments of the queue",
    "Server shutting down": "pbs_server is being stopped",
    "cannot connect to server": "pbs_server is down or cannot be reached",
    "Invalid credential": "trqauthd or pbs_iff has to run on this host, pbs_iff setuid root",
}
"""What an admin has to change, by what qsub says."""

UNCERTAIN = ("End of File", "Premature end of message", "timed out", "time-out", "Protocol", "Connection reset")
"""Words of a failed qsub whose job the server may have taken all the same."""

OURS = frozenset({"-v", "-t", "-J", "-I", "-z"})
"""Options of qsub that would hide the pilots or their ids from their own factory."""

GONE = ("Unknown Job Id", "Request invalid for state of job", "Invalid job id")
"""What qdel says of jobs that have ended already."""

VARIABLE = "APF_TAGS"
"""The variable of a job that carries its tags."""

_SIGNALLED = 256
_REMOVED = _SIGNALLED + 15
_NAME_LENGTH = 15
_ID = re.compile(r"^(\d+(?:\.\S+)?)\s*$", re.MULTILINE)
_HEAD = re.compile(r"^Job Id:[ \t]*(\S+)[ \t]*$", re.MULTILINE)
_STATE = re.compile(r"^\s+job_state = (\S+)", re.MULTILINE)
_EXIT = re.compile(r"^\s+(?:exit_status|Exit_status) = (-?\d+)", re.MULTILINE)
_OWNER = re.compile(r"^\s+Job_Owner = ([^@\s]+)", re.MULTILINE)
_NODE = re.compile(r"^\s+exec_host = ([^/+\s]+)", re.MULTILINE)
_TAGS = re.compile(rf"[\s,]{VARIABLE}=([^,\s]+)")
_SERVER = re.compile(r"^\s+server = ", re.MULTILINE)
_START = re.compile(r"^\s+(?:start_time|stime) = ", re.MULTILINE)


class TorqueQueueOptions(CommandQueueOptions):
    """What Torque adds to a queue: `submit.X = value` is the resource `-l X=value` of qsub."""


class Torque(CommandBatch):
    """One Torque server."""

    source_kind: ClassVar[str] = "torque"
    programs: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel")
    releasing: ClassVar[tuple[str, ...]] = ("qrls",)
    QueueOptions: ClassVar[type[Options]] = TorqueQueueOptions

    @staticmethod
    def hiding(arguments: Sequence[str]) -> str:
        """Return the first further argument that would hide the pilots from their own factory."""
        return next((argument for argument in arguments if argument[:2] in OURS), "")

    def commands(self, options: CommandOptions) -> Commands:
        """Return what Torque's commands are like."""
        return TorqueCommands()


class TorqueCommands(Commands):
    """Torque's argv builders and parsers; of ended jobs the listing alone tells, for keep_completed seconds."""

    @property
    def needs_file(self) -> bool:
        """Tell that the script is a file: Debian's wrappers over Slurm take none on stdin."""
        return True

    def submit(self, pilot: NewPilot) -> list[str]:
        """Return the qsub of one pilot. Raises Refused for options that would hide it."""
        queue, shape = pilot.order.queue, pilot.order.shape
        resources: dict[str, object] = {"nodes": f"1:ppn={shape.cores}"}
        if shape.walltime_s is not None:
            minutes, seconds = divmod(shape.walltime_s, 60)
            resources["walltime"] = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        if shape.memory_mb is not None:
            resources["mem"] = f"{mebibytes(shape.memory_mb)}mb"
        resources |= queue.submit
        own: list[str] = []
        if isinstance(queue.backend, CommandQueueOptions):
            own += ["-A", queue.backend.account] if queue.backend.account else []
            own += shlex.split(queue.backend.extra_arguments)
        if hiding := Torque.hiding(own):
            raise Refused(f"{hiding} would hide the pilots from their own factory, take it out")
        return [
            *("qsub", "-N", f"apf-{queue.name}"[:_NAME_LENGTH], "-r", "n", "-m", "n", "-W", "umask=022"),
            *(["-q", queue.options.batchqueue] if queue.options.batchqueue else []),
            *("-o", str(pilot.output), "-e", str(pilot.error)),
            *("-l", ",".join(f"{name}={value}" for name, value in resources.items())),
            *("-v", f"{VARIABLE}={pilot.tags.text()}"),
            *own,
            *([str(pilot.file)] if pilot.file else []),
        ]

    def submitted(self, answer: Answer) -> str:
        """Return the job's id. Raises Refused with a remedy, or Ambiguous."""
        match = _ID.search(answer.stdout)
        if answer.rc == 0 and match:
            return match[1]
        said = _complaint("qsub", answer)
        if answer.rc <= 0 or any(word in said for word in UNCERTAIN):
            raise Ambiguous(said)
        raise Refused(remedied(said, REMEDIES))

    def status(self) -> list[str]:
        """Return the qstat of all jobs; the short table shows no tags and cuts names."""
        return ["qstat", "-f"]

    def listed(self, answer: Answer) -> list[Seen]:
        """Return the jobs of the answer. Raises Unbelievable.

        Nothing at all with rc 0 is how qstat says that there are no jobs.
        """
        _, *parts = _HEAD.split(_unfolded(answer.stdout))
        if answer.rc or (not parts and (answer.stdout + answer.stderr).strip()):
            raise Unbelievable(remedied(_complaint("qstat", answer), REMEDIES))
        return [_seen(id_, block) for id_, block in zip(parts[::2], parts[1::2], strict=True)]

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Return the qdel of some jobs."""
        return ["qdel", *ids]

    def removed(self, answer: Answer, ids: Sequence[str]) -> int:
        """Return how many jobs qdel took; those that have ended already are no failure."""
        lines = (answer.stderr + answer.stdout).splitlines()
        complaints = [line for line in lines if line.strip() and not any(gone in line for gone in GONE)]
        if answer.rc and (complaints or not lines):
            raise Unbelievable(_complaint("qdel", Answer(answer.rc, "", "\n".join(complaints))))
        return len(ids)


def _unfolded(text: str) -> str:
    """Join folded lines: they begin with a TAB, which Debian's wrappers write before every key."""
    if re.search(r"^Job Id:\t", text, re.MULTILINE):
        return re.sub(r"\n\t(?!\w[\w.]* = )", "", text)
    return text.replace("\n\t", "")


def _seen(id_: str, block: str) -> Seen:
    """Read what `qstat -f` says of one job. Values of other people may hold anything, line ends too."""
    found = _STATE.search(block)
    if found is None:
        raise Unbelievable(f"qstat: the answer is cut short at job {id_}")
    word = found[1]
    tags, owner = _TAGS.search(block), _OWNER.search(block)
    state: PilotState | End = _end(block) if word in ENDED else STATES.get(word, PilotState.UNKNOWN)
    node = _NODE.search(block)
    user = owner[1] if owner else ""
    return Seen(id_, Tags.read(tags[1]) if tags else None, state, word, user, node[1] if node else "")


def _end(block: str) -> End:
    found = _EXIT.search(block)
    if found is None:
        # Debian's wrappers, who name no server, never tell.
        never = _SERVER.search(block) and not _START.search(block)
        return End(fault="removed before it started" if never else "")
    status = int(found[1])
    if status < 0:
        return End(fault=FAULTS.get(status, f"Torque ended it, exit_status {status}"))
    if status >= _SIGNALLED:
        return End(_SIGNALLED - status, "removed" if status == _REMOVED else "")
    return End(status)


def _complaint(command: str, answer: Answer) -> str:
    """Return what a command complains of, with its name once."""
    said = answer.said()
    return said if said.startswith(f"{command}: ") else f"{command}: {said}"
