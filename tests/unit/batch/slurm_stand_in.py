"""A Slurm in memory that answers `Slurm`'s commands in the form of 22.05, and fails as a test wants it to."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autopyfactory.batch import Context, Order
from autopyfactory.batch.commands_words import Answer
from autopyfactory.batch.slurm import Slurm, SlurmOptions, SlurmQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.command import NotStarted, Silent
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.model import PilotReport, Shape
from autopyfactory.sched.options import RuleOptions

DOWN = "Unable to contact slurm controller (connect failure)"

COMMANDS = frozenset({"sbatch", "squeue", "scancel", "scontrol", "sacct", "grep"})


class HandClock(Clock):
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_800_000_000.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self.time


class StandIn:
    """A `Run` with a Slurm behind it: jobs by id; `fail` holds what the next submissions do instead."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.jobs: dict[int, dict[str, Any]] = {}
        self.calls: list[list[str]] = []
        self.scripts: list[str] = []
        self.fail: list[str] = []
        self.state = "up"
        self.takes = 0.01
        self.closed = False
        self._ids = itertools.count(1)

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        """Answer a command."""
        self.calls.append(list(argv))
        self.clock.time += self.takes
        if self.closed:
            raise NotStarted("closed", stopped=True)
        if self.state == "hung":
            self.clock.time += deadline
            raise Silent(f"{argv[0]}: no answer within {deadline:g} s")
        words = [word for word in argv if Path(word).name in COMMANDS]
        answer: Answer = getattr(self, f"_{Path(words[0]).name}")(list(argv), stdin)
        return answer

    def close(self) -> None:
        """Run nothing any more."""
        self.closed = True

    def of(self, command: str) -> list[list[str]]:
        """Return the calls of a command."""
        return [argv for argv in self.calls if any(Path(word).name == command for word in argv)]

    def set(self, state: str, *, code: int = 0, reason: str = "None", ids: Sequence[int] | None = None) -> None:
        """Bring jobs into a state."""
        for id_ in ids if ids is not None else list(self.jobs):
            self.jobs[id_] |= {"job_state": state, "exit_code": code, "state_reason": reason, "nodes": "n1"}

    def _sbatch(self, argv: list[str], stdin: str) -> Answer:
        self.scripts.append(stdin)
        fault = self.fail.pop(0) if self.fail else ""
        if fault == "hang":
            raise Silent("sbatch: no answer within 20 s")
        if fault.startswith("refuse ") or self.state == "down":
            text = fault.removeprefix("refuse ") or DOWN
            return Answer(1, "", f"sbatch: error: Batch job submission failed: {text}\n")
        options = dict(word.removeprefix("--").split("=", 1) for word in argv if word.startswith("--") and "=" in word)
        id_ = next(self._ids)
        self.jobs[id_] = {
            "job_id": id_,
            "job_state": "PENDING",
            "state_reason": "Priority",
            "exit_code": 0,
            "comment": options["comment"],
            "user_name": argv[3] if argv[0] == "sudo" else "apf",
            "nodes": "",
        }
        if fault == "take and time out":
            return Answer(
                1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
            )
        return Answer(0, f"{id_}\n")

    def _squeue(self, _argv: list[str], _stdin: str) -> Answer:
        errors = [{"description": "Failed while looking for jobs", "error_number": -1, "source": "slurm_load_jobs"}]
        down = self.state == "down"
        return Answer(0, json.dumps({"errors": errors * down, "jobs": [] if down else list(self.jobs.values())}))

    def _scancel(self, argv: list[str], _stdin: str) -> Answer:
        if self.state == "down":
            return Answer(1, "", f"scancel: error: slurm_kill_job2 error: {DOWN}\n")
        self.set("CANCELLED", ids=[int(word) for word in argv if word.isdigit()])
        return Answer(0)

    def _scontrol(self, argv: list[str], _stdin: str) -> Answer:
        self.set("PENDING", reason="Priority", ids=[int(word) for word in argv if word.isdigit()])
        return Answer(1, "", f"{DOWN}\n") if self.state == "down" else Answer(0)

    def _sacct(self, _argv: list[str], _stdin: str) -> Answer:
        return Answer(1, "", "Slurm accounting storage is disabled\n")

    def _grep(self, argv: list[str], _stdin: str) -> Answer:
        ids = argv[2].removeprefix("^JobId=(").removesuffix(") ").split("|")
        lines = [f"JobId={id_} UserId=u(1) Name=x JobState=FAILED Cluster=c ExitCode=7:0 \n" for id_ in ids]
        return Answer(0, "".join(lines))


class Bed:
    """A `Slurm` over a stand-in, with its orders."""

    def __init__(self, home: Path, *, options: SlurmOptions | None = None, position: int = 0) -> None:
        self.home = home
        self.clock = HandClock()
        self.slurm = StandIn(self.clock)
        self.options = options or SlurmOptions()
        self.position = position
        self.factory = FactoryOptions(
            id="F1", host="here", user="me", state_dir=home / "state", submit_users=("pilot",)
        )
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text("#!/bin/sh\necho pilot\n")
        self.batch = self.restart()

    def restart(self, *, looking: bool = False) -> Slurm:
        """Do what a new factory over the same state does, or a command beside it."""
        context = Context(self.factory, self.clock, self.position, looking)
        self.batch = Slurm("local", self.options, context, run=self.slurm)
        return self.batch

    def order(
        self,
        count: int = 1,
        *,
        name: str = "s1",
        queue: str = "Q",
        shape: Shape | None = None,
        submit: dict[str, str] | None = None,
        backend: SlurmQueueOptions | None = None,
        **options: Any,
    ) -> Order:
        """Return an order."""
        section = QueueOptions(backend="batch", type="slurm", **options)
        config = QueueConfig(queue, section, backend or SlurmQueueOptions(), RuleOptions(), {}, submit or {})
        return Order(
            id=name,
            queue=config,
            endpoint="here",
            shape=shape or Shape(),
            count=count,
            executable=self.wrapper,
            log_dir=self.home / "logs",
        )

    def poll(self, later: float = 30.0) -> PilotReport:
        """Let time pass and poll."""
        self.clock.time += later
        return self.batch.poll()

    def counts(self) -> dict[str, int]:
        """Poll and return the pilots by state."""
        found: dict[str, int] = {}
        for group in self.poll().groups:
            found[str(group.state)] = found.get(str(group.state), 0) + group.count
        return found
