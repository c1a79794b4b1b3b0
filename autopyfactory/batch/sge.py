"""Grid Engine, by qsub, qstat and qdel; qacct or its accounting file tells how pilots ended.

Formats and traps as observed on 8.1.9 of Debian; states and failures as its sge_status(5) lists them.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from pydantic import Field

from autopyfactory.batch.commands import AT_ONCE, CommandBatch
from autopyfactory.batch.commands_options import CommandOptions, CommandQueueOptions
from autopyfactory.batch.commands_words import Answer, Commands, End, NewPilot, Seen, Tags, Unbelievable, remedied
from autopyfactory.batch.sge_accounting import blocks, lines
from autopyfactory.config.fields import AbsolutePath, Options
from autopyfactory.config.models import CredentialOptions, FactoryOptions
from autopyfactory.config.models import QueueOptions as QueueOptionsOfAll
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState

STATES = {
    "d": PilotState.FINISHING,
    "E": PilotState.HELD,
    "s": PilotState.SUSPENDED,
    "S": PilotState.SUSPENDED,
    "T": PilotState.SUSPENDED,
    "r": PilotState.RUNNING,
    "t": PilotState.RUNNING,
    "h": PilotState.HELD,
    "q": PilotState.PENDING,
    "w": PilotState.PENDING,
}
"""The factory's word for each letter of a state; a state has several, and the first one here counts."""

RESTARTED = "R"
"""The letter of a job that was started before; it says nothing else."""

REMEDIES = {
    "is not a submit host": "Grid Engine's admin has to add this host, qconf -as HOST",
    "is no submit host": "Grid Engine's admin has to add this host, qconf -as HOST",
    "neither submit nor admin host": "Grid Engine's admin has to add this host, qconf -as HOST",
    "unknown queue": "correct batchqueue, 'qconf -sql' shows the queues",
    "requested parallel environment": "correct parallel_environment, 'qconf -spl' shows them",
    "requested project": "correct account, 'qconf -sprjl' shows the projects",
    "no project assigned": "the cluster wants a project: set account, 'qconf -sprjl' shows them",
    "jobs are allowed per user": "max_u_jobs is reached: lower max_pilots, or let it be raised, qconf -mconf",
    "jobs are allowed per cluster": "max_jobs is reached, Grid Engine's admin may raise it, qconf -mconf",
    "is not allowed to submit jobs": "Grid Engine's admin has to change user_lists or xuser_lists, qconf -mconf",
    "is lower than minimum user id": "Grid Engine's admin has to lower min_uid, qconf -mconf, or take another account",
    "is lower than minimum group id": "Grid Engine's admin has to lower min_gid, qconf -mconf, or take another account",
    "unknown resource": "correct submit.X or memory_resource, 'qconf -sc' shows the resources",
    "no suitable queues": "no queue takes so many cores, so much memory or time, or this user",
    "rejected due to": "a quota is reached, 'qquota' shows it",
    "job name too long": "shorten the names of factory, host and queue",
    "unable to contact qmaster": "sge_qmaster is down or cannot be reached",
    "unable to send message to qmaster": "sge_qmaster is down or cannot be reached",
    "access denied": "host names do not agree, Grid Engine's admin has to write them into host_aliases",
}
"""What an admin has to change, by what qsub says."""

UNCERTAIN = ("answer list", "failed receiving", "receive timeout", "read error", "Error reading")
"""Words of a failed qsub whose job the master may have taken all the same."""

HIDING = frozenset({"-N", "-t", "-b", "-C", "-@", "-clear", "-sync", "-verify", "-help"})
"""Options of qsub that would hide the pilots or their ids, wait for their end, or submit nothing."""

TAKEN = re.compile(r"has registered the job |has deleted job |is already in deletion|does not exist")
"""What qdel says of jobs that go, or are gone."""

_BETWEEN = "+"
"""What stands for the colon of `Tags.text`, which no name may have here."""

_WORK = "/tmp"  # noqa: S108  # a home may not be there; the script goes on into TMPDIR
_TERSE = re.compile(r"^(\d+)\s*$", re.MULTILINE)
_IN_WORDS = re.compile(r"^Your job (\d+) \(", re.MULTILINE)
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_SPECIAL = re.compile(r"[:,$]")


class SgeOptions(CommandOptions):
    """`[sge NAME]` of autopyfactory.conf."""

    accounting: AbsolutePath | None = Field(
        None, description="the accounting file: one look for all pilots that ended, instead of one qacct for each"
    )


class SgeQueueOptions(CommandQueueOptions):
    """What Grid Engine adds to a queue: `submit.X = value` is the resource `-l X=value`; `account` is its project."""

    parallel_environment: str = Field(
        "", description="parallel environment of pilots with several cores, one that keeps them on one node"
    )
    memory_resource: str = Field(
        "h_vmem", description="resource, counted per slot, that memory is asked for by; empty: it is not asked for"
    )


class Sge(CommandBatch):
    """One cell of Grid Engine."""

    source_kind: ClassVar[str] = "sge"
    programs: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel", "qacct")
    releasing: ClassVar[tuple[str, ...]] = ("qmod", "-cj")
    SourceOptions: ClassVar[type[Options]] = SgeOptions
    QueueOptions: ClassVar[type[Options]] = SgeQueueOptions

    @classmethod
    def check(
        cls,
        options: QueueOptionsOfAll,
        backend: Options,
        factory: FactoryOptions,
        credentials: Mapping[str, CredentialOptions],
    ) -> list[str]:
        """Return what is wrong with a queue, several cores without a parallel environment among it."""
        problems = super().check(options, backend, factory, credentials)
        if options.cores > 1 and isinstance(backend, SgeQueueOptions) and not backend.parallel_environment:
            problems.append(_no_environment(options.cores))
        if _SPECIAL.search(str(factory.pilot_log_dir)):
            where = f"pilot_log_dir {factory.pilot_log_dir}"
            problems.append(f"{where}: to Grid Engine : , $ mean something else in a path, name another folder")
        return problems

    @staticmethod
    def hiding(arguments: Sequence[str]) -> str:
        """Return the first further argument that would hide the pilots from their own factory."""
        return next((argument for argument in arguments if argument in HIDING), "")

    def commands(self, options: CommandOptions) -> Commands:
        """Return what Grid Engine's commands are like."""
        self.asked_at_once = AT_ONCE if isinstance(options, SgeOptions) and options.accounting else 1
        return SgeCommands(options.accounting if isinstance(options, SgeOptions) else None)


@dataclass(frozen=True, slots=True)
class SgeCommands(Commands):
    """Grid Engine's argv builders and parsers."""

    accounting: Path | None = None

    def submit(self, pilot: NewPilot) -> list[str]:
        """Return the qsub of one pilot. Raises Refused for what would hide it, and for cores that have no home."""
        queue, shape, backend = pilot.order.queue, pilot.order.shape, pilot.order.queue.backend
        more = backend if isinstance(backend, SgeQueueOptions) else SgeQueueOptions()
        own = shlex.split(more.extra_arguments)
        if hiding := Sge.hiding(own):
            raise Refused(f"{hiding} would hide the pilots from their own factory, take it out")
        if shape.cores > 1 and not more.parallel_environment:
            raise Refused(_no_environment(shape.cores))
        resources: dict[str, object] = {}
        if shape.walltime_s is not None:
            resources["h_rt"] = shape.walltime_s
        if shape.memory_mb is not None and more.memory_resource:
            # A small m is a million bytes; of one slot, rounded up.
            resources[more.memory_resource] = f"{-(-shape.memory_mb // shape.cores)}m"
        resources |= queue.submit
        return [
            # What a site's sge_request may say otherwise, and lines of the wrapper that look like options.
            *("qsub", "-terse", "-b", "n", "-C", "", "-S", "/bin/sh", "-wd", _WORK, "-r", "n", "-j", "n", "-m", "n"),
            *("-N", pilot.tags.text().replace(":", _BETWEEN)),
            *("-o", str(pilot.output), "-e", str(pilot.error)),
            *(["-q", queue.options.batchqueue] if queue.options.batchqueue else []),
            *(["-pe", more.parallel_environment, str(shape.cores)] if shape.cores > 1 else []),
            *(["-l", ",".join(f"{name}={value}" for name, value in resources.items())] if resources else []),
            *(["-P", more.account] if more.account else []),
            *own,
        ]

    def submitted(self, answer: Answer) -> str:
        """Return the job's id. Raises Refused with a remedy, or Ambiguous.

        With a warning qsub says "Unable to run job", rc 1, and in the next line that it has been submitted.
        """
        told = _IN_WORDS.search(f"{answer.stdout}\n{answer.stderr}")
        match = told or (_TERSE.search(answer.stdout) if answer.rc == 0 else None)
        if match:
            return match[1]
        said = answer.said().replace("Unable to run job: ", "").removesuffix("; Exiting.")
        if answer.rc <= 0 or any(word in said for word in UNCERTAIN):
            raise Ambiguous(f"qsub: {said}")
        raise Refused(f"qsub: {remedied(said, REMEDIES)}")

    def status(self) -> list[str]:
        """Return the qstat of all jobs; its table cuts names, and so the tags, to ten letters."""
        return ["qstat", "-u", "*", "-s", "a", "-xml"]

    def listed(self, answer: Answer) -> list[Seen]:
        """Return the jobs of the answer. Raises Unbelievable, for an answer that is cut short too."""
        try:
            # Names of other people may hold what no XML may.
            text = _NO_XML.sub("?", answer.stdout)
            paper = ElementTree.fromstring(text) if answer.rc == 0 else None  # noqa: S314  # from the master itself
        except ElementTree.ParseError:
            paper = None
        if paper is None or paper.find("queue_info") is None or paper.find("job_info") is None:
            raise Unbelievable(f"qstat: {remedied(answer.said(), REMEDIES)}")
        return [_seen(job) for job in paper.iter("job_list")]

    def history(self, ids: Sequence[str]) -> list[str] | None:
        """Return the command that tells the ends of jobs; qacct takes one id."""
        if self.accounting:
            before = "[^:]*:" * 4
            return ["grep", "-E", f"^{before}APF3[^:]*:({'|'.join(ids)}):", str(self.accounting)]
        return ["qacct", "-j", ids[0]]

    def told(self, answer: Answer) -> dict[str, End]:
        """Return the ends; of several records of an id (a job that was started twice) the last one counts.

        A record of another name is of another job: ids begin again at 1 some day. Raises Unbelievable.
        """
        if answer.rc and answer.stderr.strip() and not re.search(r"job id \d+ not found", answer.stderr):
            raise Unbelievable(answer.said())
        records = list(lines(answer.stdout) if self.accounting else blocks(answer.stdout))
        if answer.stdout.strip() and not records:
            raise Unbelievable(f"an accounting record of a form that is not known here: {answer.stdout[:100]!r}")
        return {one.id: one.end() for one in records if _tags(one.name)}

    def remove(self, ids: Sequence[str]) -> list[str]:
        """Return the qdel of some jobs."""
        return ["qdel", *ids]

    def removed(self, answer: Answer, ids: Sequence[str]) -> int:
        """Return how many jobs qdel took; those that have ended already are no failure."""
        lines = [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
        complaints = [line for line in lines if not TAKEN.search(line)]
        if complaints or not lines:
            raise Unbelievable(f"qdel: {Answer(answer.rc, '', chr(10).join(complaints)).said()}")
        return len(ids)


def _seen(job: ElementTree.Element) -> Seen:
    word, id_ = (job.findtext("state") or "").strip(), job.findtext("JB_job_number")
    if id_ is None:
        raise Unbelievable("qstat writes a form that is not known here: a job without JB_job_number")
    known = word and set(word) <= {*STATES, RESTARTED}
    state = next((STATES[letter] for letter in STATES if letter in word), PilotState.UNKNOWN)
    shown = f"{word} ('qstat -j ID' tells the error)" if "E" in word else word
    tags = _tags(job.findtext("JB_name") or "")
    return Seen(id_.strip(), tags, state if known else PilotState.UNKNOWN, shown, job.findtext("JB_owner") or "")


def _tags(name: str) -> Tags | None:
    return Tags.read(name.replace(_BETWEEN, ":"))


def _no_environment(cores: int) -> str:
    return f"parallel_environment: {cores} cores need one, 'qconf -spl' shows those there are"
