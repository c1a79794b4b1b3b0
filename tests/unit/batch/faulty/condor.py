"""A schedd, and a CE behind one, struck by faults."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, cast

from autopyfactory.batch import Batch
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_child import GRID, Accepted, Ad, ScheddSaid, Survey
from autopyfactory.batch.condor_rows import CondorQueueOptions
from autopyfactory.child import KillableChild, NoAnswer
from tests.unit.batch.faulty import Site

CE = "ce1.example.org:9619"


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

    def post(self, deadline: float, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result({})
        return future

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
                held, running = {"JobStatus": 5, "HoldReasonCode": 0}, {"JobStatus": 2, "GridJobId": 1}
                job.update(held if refused else running)

    def _unsent(self) -> Mapping[str, int]:
        return Counter(str(job["APF_SUBMISSION"]) for job in self.jobs if "GridJobId" not in job)
