"""Batch systems by their own commands, struck by faults: the stand-ins' commands run in this process."""

import contextlib
import fcntl
import io
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar

from autopyfactory.batch import Batch
from autopyfactory.batch.commands_options import CommandOptions
from autopyfactory.batch.commands_words import Answer
from autopyfactory.batch.lsf import Lsf, LsfOptions, LsfQueueOptions
from autopyfactory.batch.sge import Sge, SgeOptions, SgeQueueOptions
from autopyfactory.batch.slurm import Slurm, SlurmOptions, SlurmQueueOptions
from autopyfactory.batch.torque import Torque, TorqueQueueOptions
from autopyfactory.command import Run, Silent
from autopyfactory.config.fields import Options
from tests.testbed.standin import lsf, torque
from tests.testbed.standin.engine import Folder
from tests.unit.batch import slurm_stand_in
from tests.unit.batch.faulty import Site
from tests.unit.batch.transcripts import answers


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
