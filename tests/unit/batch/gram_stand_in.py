"""GRAM CEs in memory that answer globusrun's calls in the forms of GRAM 5, and fail as a test wants it to."""

import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopyfactory.batch import Context, Order
from autopyfactory.batch.commands_words import Answer
from autopyfactory.batch.globus import Globus
from autopyfactory.batch.globus_options import GlobusOptions
from autopyfactory.batch.globus_rsl import GlobusQueueOptions
from autopyfactory.command import NotStarted, Silent
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.model import PilotReport, Shape
from autopyfactory.sched.options import RuleOptions
from tests.unit.batch.slurm_stand_in import HandClock
from tests.unit.batch.transcripts import answers

SAID = answers("gram-globusrun.txt")
STUCK = "GRAM Job failed because the jobmanager does not accept any new requests (shutting down) (error code 94)\n"
COMMIT = SAID["globusrun -F -q -r localhost:2119/jobmanager-fork TWO-PHASE"].stderr


@dataclass(slots=True)
class Job:
    """A job of a CE. `known`: the CE has not forgotten it."""

    number: str
    host: str
    port: int
    rsl: str
    state: str = "PENDING"
    known: bool = True

    @property
    def contact(self) -> str:
        return f"https://{self.host}:{self.port}/{self.number}/7/"


class StandIn:
    """A `Run` with CEs behind it. `fail` holds what the next submissions do, `down` what is wrong, by host."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.calls: list[list[str]] = []
        self.proxies: Counter[str] = Counter()
        self.fail: list[str] = []
        self.down: dict[str, str] = {}
        self.takes = 0.01
        self.closed = False
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        """Answer a call; a slow one takes its time on the clock."""
        with self._lock:
            if self.closed:
                raise NotStarted("closed", stopped=True)
            self.clock.time += self.takes
            words = list(argv)
            at = words.index("env")
            out = words[at - 1] if at else ""
            self.proxies[words[at + 1]] += 1
            self.calls.append(words[at + 3 :])
            return self._answer(words[at + 3 :], out, deadline)

    def close(self) -> None:
        """Run nothing any more."""
        self.closed = True

    def of(self, option: str) -> list[list[str]]:
        """Return the calls with an option."""
        return [words for words in self.calls if option in words]

    def set(self, state: str, *, host: str = "") -> None:
        """Bring the jobs of a host into a state; one that is DONE is forgotten by and by."""
        for job in self.jobs.values():
            if host in {"", job.host}:
                job.state = state

    def forget(self) -> None:
        """Forget what has ended, as GRAM does after a while."""
        for job in self.jobs.values():
            job.known = job.known and job.state not in {"DONE", "FAILED"}

    def new_managers(self) -> None:
        """Kill the job managers: nothing listens at the old contacts until somebody takes a job up again."""
        for job in self.jobs.values():
            job.port = -abs(job.port)

    def _answer(self, words: list[str], out: str, deadline: float) -> Answer:
        if words[0] in {"-status", "-k"}:
            host = words[1].split("/")[2].partition(":")[0]
        else:
            host = words[words.index("-r") + 1].partition(":")[0].partition("/")[0]
        wrong = self.down.get(host, "")
        if wrong == "hung":
            self.clock.time += deadline
            raise Silent(f"env: no answer within {deadline:g} s")
        if words[0] == "-status":
            return self._status(words[1])
        if words[0] == "-k":
            return self._kill(words[1])
        if wrong:
            return SAID[f"globusrun -F -q RSL {wrong}"]
        return self._submit(words, out, host) if out else self._restart(words[-1])

    def _at(self, contact: str) -> Job | None:
        return next((job for job in self.jobs.values() if job.contact == contact and job.known), None)

    def _status(self, contact: str) -> Answer:
        job = self._at(contact)
        if job is not None and job.state == "SOMEBODY-ELSE":
            return SAID["globusrun -status SOMEBODY-ELSE"]
        if job is not None and job.state == "STUCK":
            return Answer(94, "", STUCK)
        return Answer(0, f"{job.state if job else 'DONE'}\n")

    def _kill(self, contact: str) -> Answer:
        job = self._at(contact)
        if job is None:
            return SAID["globusrun -k CONNECTION-REFUSED"]
        job.state = "FAILED"
        return Answer(0)

    def _restart(self, rsl: str) -> Answer:
        number = rsl.split("/")[3]
        job = next((job for job in self.jobs.values() if job.number == number and job.known), None)
        if job is None:
            return SAID["globusrun -F -q RESTART GONE"]
        if job.port < 0:
            job.port = abs(job.port) + 1
        contact, job.known = job.contact, job.state not in {"DONE", "FAILED"}
        return Answer(110, f"{contact}\n", COMMIT)

    def _submit(self, words: list[str], out: str, host: str) -> Answer:
        fault = self.fail.pop(0) if self.fail else ""
        if fault == "hang":
            raise Silent("sh: no answer within 45 s")
        if fault and not fault.startswith("but "):
            return SAID[f"globusrun -F -q RSL {fault}"]
        rsl = Path(words[words.index("-f") + 1]).read_text()
        job = Job(str(next(self._numbers)), host, 40000, rsl)
        self.jobs[job.number] = job
        if fault == "but the disk is full":
            return Answer(110, "", COMMIT)
        Path(out).write_text(f"{job.contact}\n")
        if fault == "but hang":
            raise Silent("sh: no answer within 45 s")
        return Answer(110, "", COMMIT)


class Bed:
    """A `Globus` over a stand-in, with its orders."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.home = home
        self.clock = HandClock()
        self.gram = StandIn(self.clock)
        # One call after the other: the clock of a test knows no two at the same time.
        self.options = GlobusOptions.model_validate({"at_once": 1} | options)
        self.factory = FactoryOptions(id="F1", host="here", user="me", state_dir=home / "state")
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text("#!/bin/sh\necho pilot\n")
        self.proxy = home / "proxy"
        self.proxy.touch()
        self.batch = self.restart()

    @property
    def slips(self) -> list[Path]:
        return sorted((self.home / "state/globus/local/slips").glob("*"))

    def restart(self, *, looking: bool = False) -> Globus:
        """Do what a new factory over the same state does, or a command that looks on beside it."""
        self.batch = Globus("local", self.options, Context(self.factory, self.clock, looking=looking), run=self.gram)
        return self.batch

    def order(
        self,
        count: int = 1,
        *,
        name: str = "s1",
        queue: str = "Q",
        endpoint: str = "gk1/jobmanager-pbs",
        proxy: Path | None = None,
        backend: GlobusQueueOptions | None = None,
    ) -> Order:
        """Return an order."""
        section = QueueOptions(backend="globus", type="gt5", endpoint=endpoint)
        return Order(
            id=name,
            queue=QueueConfig(queue, section, backend or GlobusQueueOptions(), RuleOptions()),
            endpoint=endpoint,
            shape=Shape(),
            count=count,
            executable=self.wrapper,
            log_dir=self.home / "logs",
            log_url="http://logs/x",
            proxy=proxy or self.proxy,
        )

    def poll(self, later: float = 60.0) -> PilotReport:
        """Let time pass and poll."""
        self.clock.time += later
        return self.batch.poll()

    def counts(self, later: float = 60.0) -> dict[str, int]:
        """Poll and return the pilots by state."""
        found: Counter[str] = Counter()
        for group in self.poll(later).groups:
            found[str(group.state)] += group.count
        return dict(found)
