"""Demand from a Slurm cluster: its pending jobs, by one squeue for all queues.

A wmsqueue is a partition. squeue's own filters are not used: 22.05 ignores some of them beside --json and says rc 0,
and with its controller down it says rc 0 and an empty list (`batch.slurm` knows these traps).
"""

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from autopyfactory.batch.commands_words import Unbelievable
from autopyfactory.batch.slurm import HOLDING, jobs_of, states_of, tags_of
from autopyfactory.clock import Clock
from autopyfactory.command import NotStarted, Run, Runner, Silent
from autopyfactory.config.fields import AbsolutePath, Options, Words
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.wms.listed import Listed, ListedOptions, Table, cell_of
from autopyfactory.wms.paths import Expression, compiled

_NOT_YET = HOLDING | {"Dependency", "DependencyNeverSatisfied", "BeginTime", "JobArrayTaskLimit"}
"""Reasons of PENDING for which no pilot could help."""


_SPAN = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")


class SlurmJobsOptions(ListedOptions):
    """`[wms NAME]` with `plugin = slurm`."""

    users: Words = Field((), description="accounts whose jobs count; empty: all")
    expression: Expression = Field(
        "", description="JMESPath condition on a job as squeue --json writes it, e.g. account == 'atlas'; empty: all"
    )
    bin_dir: AbsolutePath | None = Field(None, description="folder of squeue; unset: it is on the PATH")


class SlurmJobs:
    """One cluster, asked once per interval for all queues."""

    Options: ClassVar[type[Options]] = SlurmJobsOptions

    def __init__(self, name: str, options: SlurmJobsOptions, clock: Clock, *, run: Run | None = None) -> None:
        self._options = options
        self._run = run or Runner()
        self._listed = Listed(name, options, clock, self._poll)

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a partition by size; contract of `Wms`."""
        return self._listed.jobs(wmsqueue)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return the configured status."""
        return self._listed.site(wmsqueue)

    def shows(self, wmsqueue: str) -> list[str]:
        """Return the squeue of the partition; without --json its filters can be trusted."""
        users = ["--user", ",".join(self._options.users)] if self._options.users else []
        states = ["--states", "PENDING,RUNNING"]
        return [shlex.join([self._squeue(), "--all", "--array", "--partition", wmsqueue, *states, *users])]

    def close(self) -> None:
        """Kill the question under way."""
        self._listed.close()
        self._run.close()

    def _poll(self) -> Table:
        try:
            answer = self._run([self._squeue(), "--all", "--array", "--json"], self._options.deadline)
        except (NotStarted, Silent) as error:
            raise self._listed.unknown(error.reason, stopped=error.stopped) from None
        try:
            return table(jobs_of(answer), self._counts())
        except Unbelievable as error:
            raise self._listed.unknown(str(error)) from None

    def _squeue(self) -> str:
        return str(self._options.bin_dir / "squeue") if self._options.bin_dir else "squeue"

    def _counts(self) -> Callable[[Mapping[str, Any]], bool]:
        users, condition = self._options.users, compiled(self._options.expression)

        def counts(job: Mapping[str, Any]) -> bool:
            return (not users or job.get("user_name") in users) and (condition is None or bool(condition(job)))

        return counts


def table(jobs: Iterable[Mapping[str, Any]], counts: Callable[[Mapping[str, Any]], bool]) -> Table:
    """Return the jobs by partition; of several partitions that a job names, it waits in the first.

    Jobs that are pilots of a factory are left out. Raises Unbelievable.
    """
    found: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    try:
        for job in jobs:
            place = _place(job)
            if place is not None and counts(job):
                found[str(job["partition"]).partition(",")[0]][_cores(job)][place] += _tasks(job)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unbelievable(f"squeue writes a form that is not known here: {error!r}") from None
    return {name: tuple(cell_of(cores, *sizes[cores]) for cores in sorted(sizes)) for name, sizes in found.items()}


def _place(job: Mapping[str, Any]) -> int | None:
    """Return 0 for a job that waits for a place, 1 for one that runs, None for any other and for pilots."""
    words = states_of(job)
    if tags_of(job) is not None:
        return None
    if "PENDING" in words:
        return None if str(job.get("state_reason") or "") in _NOT_YET else 0
    return 1 if "RUNNING" in words else None


def _tasks(job: Mapping[str, Any]) -> int:
    """Return how many tasks of an array wait in one entry; what of a long list is cut off is not counted."""
    total = 0
    for piece in str(job.get("array_task_string") or "").partition("%")[0].split(","):
        if span := _SPAN.fullmatch(piece.strip()):
            first, last, step = (int(word) if word else None for word in span.groups())
            total += len(range(first or 0, (last if last is not None else first or 0) + 1, step or 1))
    return max(1, total)


def _cores(job: Mapping[str, Any]) -> int:
    value = job.get("cpus", 1)
    number = value.get("number", 1) if isinstance(value, Mapping) else value
    return max(1, int(number or 1))
