"""Demand from an HTCondor pool: its idle jobs, one grouped query per schedd.

The bindings run in a child process that is killed at the deadline (`child`); what runs there stands
in `condor_jobs`. A schedd that does not answer makes the whole count unknown: a part of a pool is no demand.
"""

import shlex
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from autopyfactory.batch.condor_child import ScheddSaid, prepare
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.child import CallLost, KillableChild
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options, Words
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.wms.condor_jobs import COUNTED, Idle, Question, idle_jobs
from autopyfactory.wms.listed import Listed, ListedOptions, Table, cell_of


class CondorJobsOptions(ListedOptions):
    """`[wms NAME]` with `plugin = condor`."""

    collector: str = Field("", description="the pool, host:port; empty: the one of HTCondor's own configuration")
    schedds: Words = Field((), description="names of its schedds, or all; empty: the one of this host")
    constraint: str = Field("true", description="ClassAd expression that tells which jobs count, e.g. JobUniverse == 5")
    attribute: str = Field(
        "", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", description="attribute that names a job's wmsqueue; empty: all jobs"
    )
    config: Path | None = Field(None, description="CONDOR_CONFIG for this pool; empty: HTCondor's own search")
    token_dir: Path | None = Field(None, description="folder of the tokens that authenticate us to it")

    @field_validator("constraint")
    @classmethod
    def _is_one(cls, text: str) -> str:
        if not text.strip() or "\n" in text:
            raise ValueError("write one expression on one line, for example JobUniverse == 5")
        return text


class CondorJobs:
    """One pool, asked once per interval for all queues."""

    Options: ClassVar[type[Options]] = CondorJobsOptions

    def __init__(
        self, name: str, options: CondorJobsOptions, clock: Clock, *, child: KillableChild | None = None
    ) -> None:
        self._options = options
        self._question = Question(options.collector, options.schedds, options.constraint, options.attribute)
        self._listed = Listed(name, options, clock, self._poll)
        self._child = child or KillableChild(
            f"wms-{name}", prepare, str(options.config or ""), str(options.token_dir or "")
        )

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a wmsqueue by size; contract of `Wms`. Without `attribute` every wmsqueue has all jobs."""
        return self._listed.jobs(wmsqueue if self._options.attribute else "")

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return the configured status."""
        return self._listed.site(wmsqueue)

    def shows(self, wmsqueue: str) -> list[str]:
        """Return a condor_q for each schedd; in the answer JobStatus 1 is idle, 2 runs."""
        options = self._options
        settings = {"CONDOR_CONFIG": options.config, "_CONDOR_SEC_TOKEN_DIRECTORY": options.token_dir}
        env = [f"{name}={value}" for name, value in settings.items() if value]
        pool = ["-pool", options.collector] if options.collector and options.schedds else []
        mine = f" && {options.attribute} == {class_ad_string(wmsqueue)}" if options.attribute else ""
        what = ["-allusers", "-constraint", f"{COUNTED} && ({options.constraint}){mine}", "-af:j"]
        columns = ["JobStatus", "RequestCpus", *([options.attribute] if options.attribute else [])]
        whose = [["-global"]] if options.schedds == ("all",) else [["-name", name] for name in options.schedds] or [[]]
        return [
            shlex.join([*(["env", *env] if env else []), "condor_q", *pool, *one, *what, *columns]) for one in whose
        ]

    def close(self) -> None:
        """Kill the question under way."""
        self._listed.close()
        self._child.close()

    def _poll(self) -> Table:
        try:
            found = self._child.call(self._options.deadline, idle_jobs, self._question)
        except ScheddSaid as error:
            raise self._listed.unknown(error.reason) from None
        except CallLost as error:
            raise self._listed.unknown(error.reason, stopped=error.stopped) from None
        return table(found)


def table(found: tuple[Idle, ...]) -> Table:
    """Return the jobs by wmsqueue, those of one size in one cell."""
    counts: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for group in found:
        counts[group.wmsqueue][group.cores][0 if group.idle else 1] += group.count
    return {
        wmsqueue: tuple(cell_of(cores, *sizes[cores]) for cores in sorted(sizes)) for wmsqueue, sizes in counts.items()
    }
