"""What runs in the child process of `wms.condor`: the only place of it that touches HTCondor's bindings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from autopyfactory.batch.condor_child import Ad, ScheddSaid, ad_of, plain

IDLE, RUNNING = 1, 2
COUNTED = f"(JobStatus == {IDLE} || JobStatus == {RUNNING}) && APF_FACTORY =?= undefined"
"""The jobs that count in every pool: those that wait or run and are no pilots."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which jobs of which schedds, and the attribute that names their wmsqueue; schedds (): the one of this host."""

    collector: str
    schedds: tuple[str, ...]
    constraint: str
    attribute: str


@dataclass(frozen=True, slots=True)
class Idle:
    """Some jobs of a pool that are alike; not `idle`: they run."""

    wmsqueue: str
    cores: int
    idle: bool
    count: int


@plain
def idle_jobs(question: Question) -> tuple[Idle, ...]:
    """Return the idle and running jobs of a pool, without pilots of any factory. Raises ScheddSaid."""
    constraint = f"{COUNTED} && ({question.constraint})"
    keys = _keys(question, constraint)
    groups = [group for schedd in _schedds(question) for group in _asked(schedd, constraint, keys)]
    return tuple(_idle(group, question.attribute) for group in groups)


def _keys(question: Question, constraint: str) -> list[str]:
    """Return what to group by: every attribute of the constraint, for a grouped query sees no other."""
    ads = import_module("classad2")
    try:
        named = ads.ClassAd().externalRefs(ads.ExprTree(constraint))
    except (ValueError, SyntaxError, ads.ClassAdException) as error:
        raise ScheddSaid(f"the constraint is no ClassAd expression: {error}") from None
    bare = [name.split(".")[-1] for name in named]
    wanted = ["JobStatus", "RequestCpus", *([question.attribute] if question.attribute else []), *bare]
    return list({name.lower(): name for name in reversed(wanted)}.values())


def _schedds(question: Question) -> Iterator[Any]:
    bindings = import_module("htcondor2")
    if not question.schedds:
        yield bindings.Schedd()
        return
    collector = bindings.Collector(question.collector) if question.collector else bindings.Collector()
    if question.schedds == ("all",):
        found = collector.locateAll(bindings.DaemonType.Schedd)
        if not found:
            raise ScheddSaid("the collector knows no schedd")
        yield from (bindings.Schedd(location) for location in found)
        return
    for name in question.schedds:
        location = collector.locate(bindings.DaemonType.Schedd, name)
        if location is None:
            raise ScheddSaid(f"the collector knows no schedd '{name}'")
        yield bindings.Schedd(location)


def _asked(schedd: Any, constraint: str, keys: list[str]) -> Iterable[Ad]:
    """Return groups with their JobCount; an empty answer is checked, for a grouped query may be wrongly so."""
    bindings = import_module("htcondor2")
    groups = schedd.query(constraint, keys, opts=bindings.QueryOpt.GroupBy)
    if groups:
        return [ad_of(group, [*keys, "JobCount"]) for group in groups]
    if not schedd.query(constraint, ["ClusterId"], limit=1):
        return []
    return [ad_of(job, keys) | {"JobCount": 1} for job in schedd.query(constraint, keys)]


def _idle(group: Ad, attribute: str) -> Idle:
    by_name = {name.lower(): value for name, value in group.items()}
    cores = by_name.get("requestcpus", 1)
    return Idle(
        str(by_name.get(attribute.lower(), "")) if attribute else "",
        max(1, int(cores)) if isinstance(cores, int | float) else 1,
        by_name.get("jobstatus") == IDLE,
        int(by_name["jobcount"]),
    )
