"""LSF, by bsub, bjobs and bkill.

Forms of two kinds: the JSON of `bjobs -o ... -json`, as documented for 10.1, and with `tables = yes` the
tables of older ones, as observed on OpenLava 4.0, which tell exit codes in `bjobs -l` only.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from autopyfactory.config.fields import Boolean, Options
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState

STATES = {
    "PEND": PilotState.PENDING,
    "WAIT": PilotState.PENDING,
    "PROV": PilotState.PENDING,
    "PSUSP": PilotState.HELD,
    "RUN": PilotState.RUNNING,
    "USUSP": PilotState.SUSPENDED,
    "SSUSP": PilotState.SUSPENDED,
}
"""The factory's word for each state that is no end; UNKWN and ZOMBI (its node does not answer) stay unknown."""

ENDED = frozenset({"DONE", "EXIT"})

FAULTS = {
    "TERM_OWNER": "removed",
    "TERM_FORCE_OWNER": "removed",
    "TERM_ADMIN": "removed",
    "TERM_FORCE_ADMIN": "removed",
    "TERM_RUNLIMIT": "ran longer than its walltime",
    "TERM_MEMLIMIT": "used more memory than it asked for",
    "TERM_SWAP": "used more memory than it asked for",
    "TERM_CPULIMIT": "used more CPU time than it asked for",
    "TERM_PROCESSLIMIT": "had more processes than allowed",
    "TERM_THREADLIMIT": "had more threads than allowed",
    "TERM_DEADLINE": "its deadline passed",
    "TERM_WINDOW": "the queue's run window closed",
    "TERM_PREEMPT": "had to make room for other jobs",
    "TERM_LOAD": "its node had too much load",
    "TERM_ZOMBIE": "its node failed",
    "TERM_CWD_NOTEXIST": "its node could not start it",
    "TERM_REQUEUE_OWNER": "requeued",
    "TERM_REQUEUE_ADMIN": "requeued",
}
"""What LSF's reason of an EXIT is as a pilot's fault; an exit code says all there is where none is here."""

REMEDIES = {
    "No such queue": "correct batchqueue, 'bqueues' shows the queues",
    "User cannot use the queue": "LSF's admin has to add the user to USERS of the queue in lsb.queues",
    "Queue has been closed": "LSF's admin has to open the queue, badmin qopen QUEUE",
    "Cannot exceed queue's hard limit": "lower walltime or memory, 'bqueues -l' shows the queue's limits",
    "Too many processors requested": "lower cores, or take another queue",
    "Bad resource requirement syntax": "correct -R in extra_arguments",
    "Resource requirement string": "correct -R in extra_arguments",
    "User permission denied": "LSF's admin has to allow the user on this submit host, root may not submit",
    "Host is not used by LSF": "LSF's admin has to add this host to the cluster, as a client",
    "Request from a non-LSF host rejected": "LSF's admin has to add this host to the cluster, as a client",
    "job limit": "a limit of jobs of the user or queue is reached, 'busers' and 'bqueues' show it",
    "Pending job threshold reached": "the user or cluster has too many pending jobs, lower max_pending",
    "Cannot connect to LSF": "LSF is down or cannot be reached",
    "LSF is down": "LSF is down or cannot be reached",
    "daemon not responding": "LSF is down or cannot be reached",
}
"""What an admin has to change, by what bsub says."""

UNCERTAIN = ("Communication time out", "Failed in receiving", "Connection reset", "Internal library error")
"""Words of a failed bsub whose job LSF may have taken all the same."""

HIDING = frozenset({"-J", "-I", "-Ip", "-Is", "-IS", "-ISp", "-ISs", "-K"})
"""Options of bsub that would hide the pilots, or wait for their end."""

GONE = ("Job has already finished", "No matching job found")
"""What bkill says of jobs that have ended already."""

FIELDS = "jobid stat user exit_code exit_reason exec_host job_name"
"""What bjobs is asked for; each is the key of a record, in capitals."""

_NONE = re.compile(r"No (?:unfinished )?job found")
_SUBMITTED = re.compile(r"^Job <(\d+)> is submitted to (?:default )?queue <", re.MULTILINE)
_FOLD = re.compile(r"\n {21}")
_STATUS = re.compile(r"^Job (?:Id )?<([^>]+)>.*?, Status <(\w+)>", re.DOTALL)
_CODE = re.compile(r"Exited with exit code (\d+)")
_SIGNAL = re.compile(r"Exited by signal (\d+)")
_REASON = re.compile(r"\bTERM_\w+")


class LsfOptions(CommandOptions):
    """`[lsf NAME]` of autopyfactory.conf."""

    tables: Boolean = Field(
        False, description="read the tables of bjobs: for OpenLava and LSF before 10.1, which have no -json"
    )


class LsfQueueOptions(CommandQueueOptions):
    """What LSF adds to a queue: `submit.X = value` becomes `-X value` of bsub; `account` is its project."""


class Lsf(CommandBatch):
    """One LSF cluster."""

    source_kind: ClassVar[str] = "lsf"
    programs: ClassVar[tuple[str, ...]] = ("bsub", "bjobs", "bkill")
    releasing: ClassVar[tuple[str, ...]] = ("bresume",)
    SourceOptions: ClassVar[type[Options]] = LsfOptions
    QueueOptions: ClassVar[type[Options]] = LsfQueueOptions

    @staticmethod
    def hiding(arguments: Sequence[str]) -> str:
        """Return the first further argument that would hide the pilots from their own factory."""
        return next((argument for argument in arguments if argument in HIDING), "")

    @staticmethod
    def option(name: str) -> str:
        """Return the option of bsub that `submit.NAME` becomes."""
        return f"-{name}"

    def commands(self, options: CommandOptions) -> Commands:
        """Return what LSF's commands are like."""
        return LsfCommands(tables=isinstance(options, LsfOptions) and options.tables)


@dataclass(frozen=True, slots=True)
class LsfCommands(Commands):
    """LSF's argv builders and parsers."""

    tables: bool = False

    def submit(self, pilot: NewPilot) -> list[str]:
        """Return the bsub of one pilot. Raises Refused for options that would hide it."""
        queue, shape = pilot.order.queue, pilot.order.shape
        own = [word for name, value in queue.submit.items() for word in (Lsf.option(name), str(value)) if word]
        project = ""
        if isinstance(queue.backend, CommandQueueOptions):
            project = queue.backend.account
            own += shlex.split(queue.backend.extra_arguments)
        if hiding := Lsf.hiding(own):
            raise Refused(f"{hiding} would hide the pilots from their own factory, take it out")
        needs = ["span[hosts=1]"] if shape.cores > 1 else []
        if shape.memory_mb is not None:
            needs.append(f"rusage[mem={mebibytes(shape.memory_mb)}]")
        return [
            *("bsub", "-J", pilot.tags.text(), "-n", str(shape.cores)),
            *(["-q", queue.options.batchqueue] if queue.options.batchqueue else []),
            *("-o", str(pilot.output), "-e", str(pilot.error)),
            *([] if shape.walltime_s is None else ["-W", str(-(-shape.walltime_s // 60))]),
            *(["-R", " ".join(needs)] if needs else []),
            *(["-P", project] if project else []),
            # Without it the factory's whole environment travels; OpenLava has no such option.
            *([] if self.tables else ["-rn", "-env", "PATH=/usr/local/bin:/usr/bin:/bin"]),
            *own,
        ]

    def submitted(self, answer: Answer) -> str:
        """Return the job's id. Raises Refused with a remedy, or Ambiguous."""
        match = _SUBMITTED.search(answer.stdout)
        if answer.rc == 0 and match:
            return match[1]
        said = answer.said()
        if answer.rc <= 0 or any(word in said for word in UNCERTAIN):
            raise Ambiguous(f"bsub: {said}")
        raise Refused(f"bsub: {remedied(said, REMEDIES)}")

    def status(self) -> list[str]:
        """Return the bjobs of all jobs; the table does not list ended ones, `history` tells of them."""
        return ["bjobs", "-u", "all", *(["-w"] if self.tables else ["-a", "-o", FIELDS, "-json"])]

    def listed(self, answer: Answer) -> list[Seen]:
        """Return the jobs of the answer. Raises Unbelievable. Its exit code depends on LSF's configuration."""
        if not answer.stdout.strip() and _NONE.search(answer.stderr):
            return []
        if "invalid option" in answer.stderr or "Illegal option" in answer.stderr:
            raise Unbelievable(f"bjobs: {answer.said()} (an old bjobs: set tables = yes in its section)")
        try:
            return list(_rows(answer)) if self.tables else _records(answer)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Unbelievable(f"bjobs writes a form that is not known here: {error!r}") from None

    def history(self, ids: Sequence[str]) -> list[str] | None:
        """Return the command that tells the ends of jobs that are not in the table."""
        return ["bjobs", "-l", *ids] if self.tables else None

    def told(self, answer: Answer) -> dict[str, End]:
        """Return the ends that `bjobs -l` tells; it folds at column 80, inside words."""
        blocks = re.split(r"^(?=Job (?:Id )?<)", _FOLD.sub("", answer.stdout), flags=re.MULTILINE)
        ends = {}
        for block in blocks:
            found = _STATUS.match(block)
            if found and found[2] in ENDED:
                ends[found[1]] = _told_end(found[2], block)
        if not ends and "is not found" not in answer.stderr and not any(map(_STATUS.match, blocks)):
            raise Unbelievable(f"bjobs -l: {answer.said()}")
        return ends

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Return the bkill of some jobs."""
        return ["bkill", *ids]

    def removed(self, answer: Answer, ids: Sequence[str]) -> int:
        """Return how many jobs bkill took; those that have ended already are no failure."""
        complaints = [line for line in answer.stderr.splitlines() if line.strip()]
        complaints = [line for line in complaints if not any(gone in line for gone in GONE)]
        if answer.rc and (complaints or not (answer.stdout + answer.stderr).strip()):
            raise Unbelievable(f"bkill: {'; '.join(complaints)[:400] or answer.said()}")
        return len(ids)


def _records(answer: Answer) -> list[Seen]:
    """Read the JSON; records with ERROR are of ids that are not known."""
    try:
        paper = json.loads(answer.stdout)
    except ValueError:
        raise Unbelievable(f"bjobs: {remedied(answer.said(), REMEDIES)}") from None
    records = paper["RECORDS"]
    if int(paper.get("JOBS", len(records))) != len(records):
        raise Unbelievable(f"bjobs: {len(records)} records where {paper['JOBS']} are announced")
    return [_seen(record) for record in records if "ERROR" not in record]


def _seen(record: Mapping[str, Any]) -> Seen:
    word = str(record["STAT"])
    state: PilotState | End = STATES.get(word, PilotState.UNKNOWN)
    if word in ENDED:
        code = str(record.get("EXIT_CODE") or "")
        state = _end(word, int(code) if code.isdecimal() else None, str(record.get("EXIT_REASON") or ""))
    user = str(record.get("USER") or "")
    # A parallel job is on `4*host1:2*host2`.
    node = re.split(r"[:\s]", str(record.get("EXEC_HOST") or ""))[0].rpartition("*")[2]
    return Seen(str(record["JOBID"]), Tags.read(str(record["JOB_NAME"])), state, word, user, node)


def _rows(answer: Answer) -> Iterator[Seen]:
    """Read the table of `bjobs -w`: JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME and three words of a time.

    Columns shift, so words count; foreign names may have blanks.
    """
    head, *rows = answer.stdout.splitlines() or [""]
    if head.split()[:3] != ["JOBID", "USER", "STAT"]:
        raise Unbelievable(f"bjobs: {remedied(answer.said(), REMEDIES)}")
    for row in rows:
        words = row.split()
        if not words or row[0] == " ":
            continue
        if not row[0].isdecimal() or len(words) < 9:
            raise Unbelievable(f"bjobs: a row that is not known here: {row[:100]}")
        id_, user, word = words[:3]
        state: PilotState | End = End() if word in ENDED else STATES.get(word, PilotState.UNKNOWN)
        yield Seen(id_, Tags.read(words[-4]), state, word, user)


def _told_end(word: str, block: str) -> End:
    code, signal, reason = _CODE.search(block), _SIGNAL.search(block), _REASON.search(block)
    number = int(code[1]) if code else -int(signal[1]) if signal else None
    return _end(word, number, reason[0] if reason else "")


def _end(word: str, code: int | None, reason: str) -> End:
    """Return an end; DONE has no exit code of its own, and that of a removed job means nothing."""
    if word == "DONE":
        return End(0)
    found = _REASON.search(reason)
    fault = FAULTS.get(found[0], "") if found else ""
    return End(None if fault and not code else code, fault)
