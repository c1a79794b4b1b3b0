"""What stands in for HTCondor's bindings: one schedd that does as it is told."""

import enum
import warnings
from types import SimpleNamespace
from typing import Any


class Undefined(enum.IntEnum):
    """As the bindings' own: true, and an int."""

    UNDEFINED = 2


class HTCondorException(Exception):
    pass


HTCondorException.__module__ = "htcondor2_impl"


class FakeSchedd:
    """Answers as it is told and notes what it was asked."""

    _version = "$CondorVersion: 25.14.1 2026-09-24 BuildID: x $"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.jobs: list[dict[str, Any]] = []
        self.grouped: list[dict[str, Any]] = []
        self.history_ads: list[dict[str, Any]] = []
        self.trouble: dict[str, str] = {}
        self.done: list[tuple[str, Any]] = []

    def query(self, constraint: str, projection: list[str], limit: int = -1, opts: int = 0) -> list[dict[str, Any]]:
        self.asked.append((constraint, projection, opts))
        self._may_fail("query")
        return self.grouped if opts else self.jobs[: limit if limit > 0 else None]

    def submit(self, description: dict[str, str], count: int, spool: bool) -> Any:
        self._may_fail("submit")
        warnings.warn("the line 'bogus = 1' was unused", stacklevel=1)
        return SimpleNamespace(cluster=lambda: 7, first_proc=lambda: 0, num_procs=lambda: count)

    def spool(self, result: Any) -> None:
        self._may_fail("spool")
        self.done.append(("spool", result.cluster()))

    def retrieve(self, job: str) -> None:
        self._may_fail(f"retrieve {job}")
        self.done.append(("retrieve", job))

    def act(self, action: str, jobs: Any, reason: str) -> dict[str, int]:
        self._may_fail("act")
        self.done.append((action, jobs))
        return {"TotalSuccess": 4}

    def edit(self, *words: str) -> None:
        self.done.append(("edit", words))

    def history(self, constraint: str, projection: list[str], match: int) -> list[dict[str, Any]]:
        self.asked.append((constraint, projection, match))
        return self.history_ads[:match]

    def _may_fail(self, what: str) -> None:
        if what in self.trouble:
            raise HTCondorException(self.trouble[what])


def bindings_of(fake: FakeSchedd) -> SimpleNamespace:
    """Return what stands in for the module `htcondor2`, with one schedd, ap1."""
    grid = [{"Name": "condor ce1 ce1:9619", "JobLimit": 1000}, {"Name": "arc https://other", "JobLimit": 5}]
    collector = SimpleNamespace(
        locate=lambda kind, name: fake if name == "ap1" else None, query=lambda *words: list(grid)
    )
    return SimpleNamespace(
        Schedd=lambda location=fake: location,
        Collector=lambda pool=None: collector,
        DaemonType=SimpleNamespace(Schedd=1),
        AdType=SimpleNamespace(Grid=3),
        QueryOpt=SimpleNamespace(GroupBy=2),
        JobAction=SimpleNamespace(Remove="remove", Release="release"),
        Submit=dict,
        HTCondorException=HTCondorException,
        version=lambda: "$CondorVersion: 25.14.1 2026-09-24 BuildID: y $",
    )
