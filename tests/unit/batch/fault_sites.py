"""Every backend over a stand-in that can be struck by the same faults, with the stand-in's own count of the living.

A fault lasts until it is mended: `down`, `hung` (what is submitted is taken all the same), `refused`, `half` of a
submission accepted, all jobs `vanished` at once, a `strange` word for the state of all jobs.
"""

import contextlib
import fcntl
import io
import itertools
import json
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from autopyfactory.batch import ALL_STATES, Batch, Context, Order, remove
from autopyfactory.batch.commands_options import CommandOptions
from autopyfactory.batch.commands_run import Run, Silent
from autopyfactory.batch.commands_words import Answer
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_child import GRID, Accepted, Ad, ScheddSaid, Survey
from autopyfactory.batch.condor_process import KillableChild, NoAnswer
from autopyfactory.batch.condor_rows import CondorQueueOptions
from autopyfactory.batch.fork import ForkHost, ForkOptions, ForkQueueOptions
from autopyfactory.batch.globus import Globus
from autopyfactory.batch.globus_options import GlobusOptions
from autopyfactory.batch.globus_rsl import GlobusQueueOptions
from autopyfactory.batch.lsf import Lsf, LsfOptions, LsfQueueOptions
from autopyfactory.batch.order import shape_of
from autopyfactory.batch.sge import Sge, SgeOptions, SgeQueueOptions
from autopyfactory.batch.slurm import Slurm, SlurmOptions, SlurmQueueOptions
from autopyfactory.batch.torque import Torque, TorqueQueueOptions
from autopyfactory.clock import utc
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.credentials import Chosen
from autopyfactory.sched.options import RuleOptions
from tests.testbed.forkhost import until
from tests.testbed.standin import lsf, torque
from tests.testbed.standin.engine import Folder
from tests.unit.batch import gram_stand_in, slurm_stand_in
from tests.unit.batch.slurm_stand_in import HandClock
from tests.unit.batch.transcripts import answers

CE = "ce1.example.org:9619"


class Site(ABC):
    """One backend with its stand-in. `rules` are those of the queue Q, `endpoints` what it names."""

    options: ClassVar[Mapping[str, object]]
    backend: ClassVar[Options]
    endpoints: ClassVar[tuple[str, ...]] = ()
    credentials = Chosen()
    interval, max_age, deadline = 30.0, 300.0, 20.0

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = HandClock()
        self.context = Context(FactoryOptions(id="F1", host="here", user="me", state_dir=home / "state"), self.clock)
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text("#!/bin/sh\nexec sleep 600\n")
        self.wrapper.chmod(0o755)
        self.batch = self.start()

    @abstractmethod
    def start(self) -> Batch:
        """Return the adapter, over the stand-in."""

    @abstractmethod
    def living(self) -> int:
        """Return how many pilots there really are."""

    @abstractmethod
    def strike(self, fault: str) -> None:
        """Let a fault begin."""

    @abstractmethod
    def mend(self) -> None:
        """Let it end."""

    def end(self) -> None:
        """Leave nothing behind."""
        self.batch.close()

    def queue(self, rules: RuleOptions) -> QueueConfig:
        """Return the queue Q."""
        named = {"endpoint": ", ".join(self.endpoints)} if self.endpoints else {}
        options = QueueOptions.model_validate({**self.options, **named, "wms": "", "rules": ["fixed"]})
        return QueueConfig("Q", options, self.backend, rules)

    def order(self, queue: QueueConfig, name: str, count: int, at: float) -> Order:
        """Return an order of the queue."""
        place = self.home / "logs" / f"{utc(at):%H%M}"
        endpoint = self.endpoints[0] if self.endpoints else "here"
        return Order(name, queue, endpoint, shape_of(queue), count, self.wrapper, place)


class SlowSlurm(slurm_stand_in.StandIn):
    """A Slurm whose controller takes what it is asked for while it hangs."""

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        if self.state == "hung" and Path(argv[0]).name == "sbatch":
            self._sbatch(list(argv), stdin)
        return super().__call__(argv, deadline, stdin)


class SlurmSite(Site):
    options: ClassVar[Mapping[str, object]] = {"backend": "batch", "type": "slurm"}
    backend: ClassVar[Options] = SlurmQueueOptions()

    def start(self) -> Batch:
        self.slurm = SlowSlurm(self.clock)
        return Slurm("local", SlurmOptions(), self.context, run=self.slurm)

    def living(self) -> int:
        return len(self.slurm.jobs)

    def strike(self, fault: str) -> None:
        refusal = "refuse Invalid account or account/partition combination specified"
        match fault:
            case "down" | "hung":
                self.slurm.state = fault
            case "refused":
                self.slurm.fail = [refusal] * 100
            case "half":
                self.slurm.fail = ["", refusal] * 50
            case "vanished":
                self.slurm.jobs.clear()
            case "strange":
                self.slurm.set("TELEPORTED")

    def mend(self) -> None:
        self.slurm.state, self.slurm.fail = "up", []
        self.slurm.set("RUNNING")


class PretendedRun:
    """The stand-in commands of the test bed, run in this process, which is their server too."""

    def __init__(self, home: Path, commands: Mapping[str, Callable[[list[str]], int]]) -> None:
        self.folder = Folder(home)
        (home / "bin").mkdir(parents=True)
        self._commands = commands
        self._alive: IO[str] | None = None
        self.silent = ""
        self.takes = True
        self.up()

    def up(self) -> None:
        """Serve."""
        if self._alive is None:
            self._alive = (self.folder.path / "alive").open("w")
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            self._alive.write(str(os.getpid()))
            self._alive.flush()

    def down(self) -> None:
        """Serve no more."""
        if self._alive is not None:
            self._alive.close()
            self._alive = None

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        """Answer a command, or say nothing for the whole deadline."""
        command = Path(argv[0]).name
        if self.silent and not (self.takes and command in {"qsub", "bsub"}):
            raise Silent(self.silent.format(command=command, deadline=deadline))
        out, err, before = io.StringIO(), io.StringIO(), (sys.argv, sys.stdin)
        sys.argv, sys.stdin = [str(self.folder.path / "bin" / command)], io.StringIO(stdin)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                rc = self._commands[command](list(argv[1:]))
        finally:
            sys.argv, sys.stdin = before
        if self.silent:
            raise Silent(self.silent.format(command=command, deadline=deadline))
        return Answer(rc, out.getvalue(), err.getvalue())

    def close(self) -> None:
        """Do nothing: no call outlasts another."""


HUNG = "{command}: no answer within {deadline:g} s"


class TorqueSite(Site):
    options: ClassVar[Mapping[str, object]] = {"backend": "batch", "type": "torque", "batchqueue": "grid"}
    backend: ClassVar[Options] = TorqueQueueOptions()
    commands: ClassVar[Mapping[str, Callable[[list[str]], int]]] = {"qsub": torque.qsub, "qstat": torque.qstat}
    refusal: ClassVar[str] = "Bad UID for job execution MSG=ruserok failed validating me/me from here"

    def start(self) -> Batch:
        self.run = PretendedRun(self.home / "system", self.commands)
        return self.system(self.run)

    def system(self, run: Run) -> Batch:
        return Torque("local", CommandOptions(), self.context, run=run)

    def living(self) -> int:
        with self.run.folder.state() as state:
            return len(state.jobs)

    def strike(self, fault: str) -> None:
        if fault == "down":
            self.run.down()
        if fault == "hung":
            self.run.silent = HUNG
        with self.run.folder.state() as state:
            if fault in {"refused", "half"}:
                state.conf |= {"refuse": self.refusal, "limit": 1 if fault == "half" else None}
            if fault == "vanished":
                state.jobs.clear()
            for job in state.jobs.values():
                job["word"] = "Z" if fault == "strange" else ""

    def mend(self) -> None:
        self.run.up()
        self.run.silent, self.run.takes = "", True
        with self.run.folder.state() as state:
            state.conf |= {"refuse": "", "limit": None}
            for job in state.jobs.values():
                job["word"] = ""

    def end(self) -> None:
        super().end()
        self.run.down()


class LsfSite(TorqueSite):
    options: ClassVar[Mapping[str, object]] = {"backend": "batch", "type": "lsf", "batchqueue": "grid"}
    backend = LsfQueueOptions()
    commands: ClassVar[Mapping[str, Callable[[list[str]], int]]] = {"bsub": lsf.bsub, "bjobs": lsf.bjobs}
    refusal = "User permission denied. Job not submitted."

    def system(self, run: Run) -> Batch:
        with self.run.folder.state() as state:
            state.conf["json"] = True
        return Lsf("local", LsfOptions(), self.context, run=run)

    def strike(self, fault: str) -> None:
        super().strike(fault)
        if fault == "down":
            # Its commands wait for ever for a master that is gone.
            self.run.silent = f"{HUNG}; it said: LSF is down. Please wait ..."
            self.run.takes = False


class SgeSite(Site):
    """Grid Engine as a `Run` of its own."""

    options: ClassVar[Mapping[str, object]] = {"backend": "batch", "type": "sge"}
    backend = SgeQueueOptions()
    down: ClassVar[Answer] = answers("sge-qstat.txt")["qstat"]

    def start(self) -> Batch:
        self.jobs: dict[int, list[str]] = {}
        self.fault = ""
        self._numbers = itertools.count(1)
        return Sge("local", SgeOptions(), self.context, run=self)

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        command = Path(argv[0]).name
        answer = self._answer(command, argv)
        if self.fault == "hung":
            raise Silent(HUNG.format(command=command, deadline=deadline))
        return answer

    def _answer(self, command: str, argv: Sequence[str]) -> Answer:
        if self.fault == "down":
            return self.down
        if command == "qstat":
            row = "<job_list><JB_job_number>{}</JB_job_number><JB_name>{}</JB_name><state>{}</state></job_list>"
            rows = "".join(row.format(number, *job) for number, job in self.jobs.items())
            return Answer(0, f"<job_info><queue_info>{rows}</queue_info><job_info/></job_info>")
        if command == "qacct":
            return Answer(1, "", f"error: job id {argv[-1]} not found\n")
        number = next(self._numbers)
        if self.fault == "refused" or (self.fault == "half" and number % 2 == 0):
            return Answer(1, "", 'Unable to run job: denied: host "here" is no submit host.\nExiting.\n')
        self.jobs[number] = [argv[argv.index("-N") + 1], "qw"]
        return Answer(0, f"{number}\n")

    def close(self) -> None:
        """Do nothing: no call outlasts another."""

    def living(self) -> int:
        return len(self.jobs)

    def strike(self, fault: str) -> None:
        self.fault = fault
        if fault == "vanished":
            self.jobs.clear()
        for job in self.jobs.values():
            job[1] = "?" if fault == "strange" else job[1]

    def mend(self) -> None:
        self.fault = ""
        for job in self.jobs.values():
            job[1] = "r"


class CondorSite(Site):
    """A schedd as the child process of its adapter: jobs by submission, with what their ads say beyond our tags."""

    options: ClassVar[Mapping[str, object]] = {"backend": "condor", "type": "vanilla"}
    backend = CondorQueueOptions()
    universe: ClassVar[int] = 5
    silent_after: ClassVar[float] = 1800.0

    def start(self) -> Batch:
        self.jobs: list[Ad] = []
        self.fault = ""
        self._clusters = itertools.count(1)
        options = ScheddOptions(silent_after=self.silent_after)
        return CondorSchedd("local", options, self.context, child=cast(KillableChild, self))

    def call(self, deadline: float, function: Callable[..., Any], *args: Any) -> Any:
        self.clock.time += 0.01
        if self.fault == "down":
            raise ScheddSaid("Failed to fetch ads from schedd, errmsg=AUTHENTICATE:1003:Failed to authenticate")
        answer = getattr(self, f"_{function.__name__}")(*args)
        if self.fault == "hung":
            self.clock.time += deadline
            raise NoAnswer(f"no answer within {deadline:g} s")
        return answer

    def close(self) -> None:
        """Do nothing: no call outlasts another."""

    def living(self) -> int:
        return len(self.jobs)

    def strike(self, fault: str) -> None:
        self.fault = fault
        if fault == "vanished":
            self.jobs.clear()
        for job in self.jobs:
            job["JobStatus"] = 9 if fault == "strange" else 1

    def mend(self) -> None:
        self.fault = ""
        for job in self.jobs:
            job["JobStatus"] = 2
            job.pop("GridResourceUnavailableTime", None)

    def _survey(self, *_: object) -> Survey:
        return Survey(tuple(job | {"JobCount": 1} for job in self.jobs), "25.14.1", "25.14.1", unsent=self._unsent())

    def _unsent(self) -> Mapping[str, int]:
        return {}

    def _submit(self, _target: object, description: Mapping[str, str], count: int, _spool: bool) -> Accepted:
        cluster = next(self._clusters)
        if self.fault == "refused":
            raise ScheddSaid("the schedd takes no more jobs: MAX_JOBS_PER_OWNER")
        taken = -(-count // 2) if self.fault == "half" else count
        tags: Ad = {name[1:]: text.strip('"') for name, text in description.items() if name.startswith("+APF_")}
        jobs = ({"JobStatus": 1, "JobUniverse": self.universe} for _ in range(taken))
        self.jobs += (tags | job for job in jobs)
        return Accepted(cluster, 0, taken)

    def _listed(self, *_: object) -> tuple[Ad, ...]:
        return ()

    def _records(self, *_: object) -> tuple[Ad, ...]:
        return ()


class CeSite(CondorSite):
    """A CE behind a schedd that works: what is down, hangs or refuses is the CE."""

    options: ClassVar[Mapping[str, object]] = {"backend": "condor", "type": "grid", "subtype": "condor"}
    endpoints = (CE,)
    universe = GRID
    silent_after = 240.0

    def call(self, deadline: float, function: Callable[..., Any], *args: Any) -> Any:
        fault, self.fault = self.fault, ""
        try:
            return super().call(deadline, function, *args)
        finally:
            self.fault = fault
            self._manage()

    def strike(self, fault: str) -> None:
        super().strike(fault)
        self._manage()

    def _manage(self) -> None:
        """Do with the jobs what the gridmanager does."""
        for number, job in enumerate(self.jobs):
            if self.fault == "down":
                job.setdefault("GridResourceUnavailableTime", int(self.clock.time))
            elif self.fault != "hung" and job["JobStatus"] == 1:
                refused = self.fault == "refused" or (self.fault == "half" and number % 4 == 0)
                told: Ad = {"JobStatus": 5, "HoldReasonCode": 0} if refused else {"JobStatus": 2, "GridJobId": "there 1.0"}
                job.update(told)

    def _unsent(self) -> Mapping[str, int]:
        return Counter(str(job["APF_SUBMISSION"]) for job in self.jobs if "GridJobId" not in job)


class GlobusSite(Site):
    options: ClassVar[Mapping[str, object]] = {"backend": "globus", "type": "gt5", "proxy": "/p"}
    backend = GlobusQueueOptions()
    endpoints = ("gk1/jobmanager-pbs",)
    interval, max_age, deadline = 60.0, 600.0, 45.0

    def start(self) -> Batch:
        self.gram = gram_stand_in.StandIn(self.clock)
        self.credentials = Chosen(proxy=self.home / "proxy")
        (self.home / "proxy").touch()
        return Globus("local", GlobusOptions(at_once=1), self.context, run=self.gram)

    def living(self) -> int:
        return len(self.gram.jobs)

    def strike(self, fault: str) -> None:
        match fault:
            case "down" | "hung":
                self.gram.down["gk1"] = {"down": "CONNECTION-REFUSED"}.get(fault, fault)
            case "refused":
                self.gram.fail = ["UNMAPPED"] * 100
            case "half":
                self.gram.fail = ["", "UNMAPPED"] * 50
            case "vanished":
                self.gram.jobs.clear()
            case "strange":
                self.gram.set("UNKNOWN JOB STATE 512")

    def mend(self) -> None:
        self.gram.down, self.gram.fail = {}, []
        self.gram.set("ACTIVE")


class ForkSite(Site):
    """This host: one pilot runs, the others wait; its server is a folder."""

    options: ClassVar[Mapping[str, object]] = {"backend": "fork"}
    backend = ForkQueueOptions(allow_same_user=True)
    interval, max_age, deadline = 5.0, 60.0, 10.0

    def start(self) -> Batch:
        return ForkHost("local", ForkOptions(slots=1), self.context)

    @property
    def folder(self) -> Path:
        return self.home / "state/fork/local"

    def living(self) -> int:
        folder = self.folder if self.folder.is_dir() else self.folder.with_name("away")
        return sum(len(_cids(paper)) for paper in folder.glob("*.json")) - len(list(folder.glob("*.end")))

    def strike(self, fault: str) -> None:
        if fault == "down":
            self.folder.rename(self.folder.with_name("away"))
            self.folder.touch()
        elif fault == "refused":
            (self.home / "logs").rename(self.home / "logs-before")
            (self.home / "logs").touch()
        elif fault == "vanished":
            until(lambda: bool(list(self.folder.glob("*.claim"))))
            for claim in self.folder.glob("*.claim"):
                os.kill(int(json.loads(claim.read_text())["process"].split()[1]), signal.SIGKILL)

    def mend(self) -> None:
        for place in (self.folder, self.home / "logs"):
            if place.is_file():
                place.unlink()
        for away, place in (("state/fork/away", self.folder), ("logs-before", self.home / "logs")):
            if (self.home / away).exists():
                (self.home / away).rename(place)

    def end(self) -> None:
        remove(self.batch, "Q", ALL_STATES)
        super().end()


def _cids(paper: Path) -> range:
    return range(int(json.loads(paper.read_text())["count"]))


SITES: Mapping[str, type[Site]] = {
    "condor vanilla": CondorSite,
    "condor grid": CeSite,
    "fork": ForkSite,
    "slurm": SlurmSite,
    "torque": TorqueSite,
    "lsf": LsfSite,
    "sge": SgeSite,
    "globus": GlobusSite,
}
