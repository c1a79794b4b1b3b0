"""Which CEs of a document become queues, with which options, and why the others do not.

The choice is that of earlier pilot factories: grid queues of active sites, CE queues that are active and in
production. Each kept CE queue becomes one section `<panda_resource>-<host of the CE>`, a second one there with
its batch queue behind it; the queues of one PanDA queue are siblings, so no factor shares the demand among them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain, count
from math import inf
from re import sub
from typing import NamedTuple
from urllib.parse import urlsplit

from autopyfactory.cric.document import CeQueue, Document, PandaQueue
from autopyfactory.cric.options import CricOptions

OURS = frozenset({"apf", "autopyfactory", ""})
"""Pilot managers whose queues are meant for a factory like this one."""

_NO_QUEUE = frozenset({"", "default"})
_PLUS = "jdl.plusattr."


class Flavour(NamedTuple):
    """What a kind of CE becomes: the row it goes through, and the port where the document names none."""

    row: Mapping[str, str]
    port: int


FLAVOURS = {
    "htcondor-ce": Flavour({"backend": "condor", "type": "grid", "subtype": "condor"}, 9619),
    "arc-ce": Flavour({"backend": "condor", "type": "grid", "subtype": "arc"}, 443),
    "cream-ce": Flavour({"backend": "condor", "type": "grid", "subtype": "cream"}, 8443),
    "globus": Flavour({"backend": "globus", "type": "gt5"}, 2119),
    "osg-ce": Flavour({"backend": "globus", "type": "gt5"}, 2119),
}
"""By `ce_flavour` in lower case."""


@dataclass(frozen=True, slots=True)
class Section:
    """One queue's section as it would stand in a file; `origin` is the PanDA queue."""

    name: str
    options: Mapping[str, str]
    origin: str


class Key(NamedTuple):
    """What tells a CE queue from all others of a document."""

    origin: str
    kind: str
    endpoint: str
    batchqueue: str


@dataclass(frozen=True, slots=True)
class Harvest:
    """What a document became: sections by name, and for names that became none, or are doubtful, the reason."""

    sections: Mapping[str, Section] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


def harvest(document: Document, options: CricOptions) -> Harvest:
    """Make the sections of a document; each PanDA queue and each CE queue that is left out has its reason."""
    found: dict[str, Section] = {}
    names = _names(document)
    left_out: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    for name, queue in document.items():
        reason = "its entry is no object" if queue is None else _unwanted(name, queue, options)
        if queue is None or reason:
            left_out.append((name, reason))
            continue
        made = {section.name: section for section in _sections(name, queue, names, left_out)}
        found |= made
        if made:
            warnings += [(name, doubt) for doubt in _doubts(queue, options)]
    return Harvest(found, tuple(left_out), tuple(warnings))


def _unwanted(name: str, queue: PandaQueue, options: CricOptions) -> str:
    """Return why a PanDA queue is left out, "" when it is meant."""
    filters = (
        ("vo_name", queue.vo_name, options.vo, "vo"),
        ("type", queue.type, options.activity, "activity"),
        ("pilot_manager", queue.pilot_manager, options.pilot_manager, "pilot_manager"),
    )
    if options.queues and not _matches(name, options.queues):
        return "no name or pattern of queues matches it"
    if _matches(name, options.skip):
        return "skip names it"
    for what, value, wanted, option in filters:
        if wanted and value.lower() not in {word.lower() for word in wanted}:
            return f"{what} is '{value}', {option} wants {', '.join(wanted)}"
    clouds = {cloud.strip().lower() for cloud in queue.cloud.split(",")}
    if options.cloud and not clouds & {word.lower() for word in options.cloud}:
        return f"cloud is '{queue.cloud}', cloud wants {', '.join(options.cloud)}"
    if options.site and not {queue.panda_site.lower(), queue.atlas_site.lower()} & {w.lower() for w in options.site}:
        return f"its site is '{queue.panda_site or queue.atlas_site}', site wants {', '.join(options.site)}"
    return _idle(queue)


def _idle(queue: PandaQueue) -> str:
    if queue.resource_type and queue.resource_type.lower() != "grid":
        return f"resource_type is '{queue.resource_type}', not GRID"
    for what, value in (("state", queue.state), ("site_state", queue.site_state)):
        if value and value.lower() != "active":
            return f"{what} is '{value}', not ACTIVE"
    return "" if queue.queues else "no CE queue is named"


def _doubts(queue: PandaQueue, options: CricOptions) -> Iterator[str]:
    if queue.pilot_manager.lower() not in OURS and not options.pilot_manager:
        doubt = f"its pilot_manager is '{queue.pilot_manager}': two factories may feed it"
        yield f"{doubt}, the filter pilot_manager leaves it out"
    if queue.workflow.lower().startswith("push"):
        doubt = f"it works by push ('{queue.workflow}'): pilots that fetch their jobs may find none"
        yield f"{doubt}, the filter skip leaves it out"


def _sections(
    name: str, queue: PandaQueue, names: Mapping[Key, str], left_out: list[tuple[str, str]]
) -> Iterator[Section]:
    seen: set[Key] = set()
    for ce in queue.queues:
        if ce is None:
            left_out.append((f"{name} at a CE without a name", "its entry is no object"))
            continue
        host = _host(ce.ce_endpoint)
        about = f"{name} at {host or ce.ce_name or 'a CE without a name'}"
        no_host = f"ce_endpoint '{ce.ce_endpoint}' is no host and port" if ce.ce_endpoint else "no ce_endpoint"
        reason = "" if host else no_host
        reason = reason or _out_of_service(ce)
        key = _key(name, ce)
        if reason or key in seen:
            left_out.append((about, reason or "stands twice in the document"))
            continue
        seen.add(key)
        yield Section(names[key], _options(_resource(name, queue), queue, ce), name)


def _out_of_service(ce: CeQueue) -> str:
    if ce.ce_flavour.lower() not in FLAVOURS:
        return f"nothing here submits to a CE of flavour '{ce.ce_flavour}'"
    if ce.ce_state.lower() != "active":
        return f"ce_state is '{ce.ce_state}', not ACTIVE"
    if ce.ce_status.lower() not in {"production", ""}:
        return f"ce_status is '{ce.ce_status}', not Production"
    if ce.ce_queue_status.lower() not in {"production", "active", ""}:
        return f"ce_queue_status is '{ce.ce_queue_status}', not Production"
    return ""


def _options(resource: str, queue: PandaQueue, ce: CeQueue) -> dict[str, str]:
    """Return the options of the section; of what the document does not say there is none."""
    cores = queue.corecount or 1
    memory = queue.maxrss or queue.maxmemory or queue.memory
    if memory and queue.maxrss and "per_core_attr" in queue.catchall:
        memory *= cores
    flavour = FLAVOURS[ce.ce_flavour.lower()]
    found = {
        "wmsqueue": resource,
        **flavour.row,
        "endpoint": _endpoint(ce, flavour.port),
        "batchqueue": _batchqueue(ce),
        "lrms": ce.ce_jobmanager if flavour.row.get("subtype") == "cream" else "",
        "cores": str(cores),
        "memory": f"{memory}MB" if memory else "",
        "walltime": f"{queue.maxtime}s" if queue.maxtime else "",
        "transferring_limit": str(queue.transferringlimit or ""),
    }
    if flavour.row["backend"] == "condor":
        found |= {f"submit.+{word}": value for name, value in queue.params.items() if (word := _plus(name)) and value}
    return {option: value.replace("%", "%%") for option, value in found.items() if value}


def _plus(name: str) -> str:
    return name.removeprefix(_PLUS) if name.startswith(_PLUS) else ""


def _resource(name: str, queue: PandaQueue) -> str:
    return queue.panda_resource or queue.nickname or name


def _batchqueue(ce: CeQueue) -> str:
    return "" if ce.ce_queue_name.lower() in _NO_QUEUE else ce.ce_queue_name


def _endpoint(ce: CeQueue, port: int) -> str:
    """Return host and port, with the job manager of a GRAM gatekeeper."""
    flavour = ce.ce_flavour.lower()
    said = _parts(ce.ce_endpoint)[1]
    if flavour in {"globus", "osg-ce"}:
        manager = ce.ce_jobmanager or "fork"
        return f"{_host(ce.ce_endpoint)}:{said or port}/jobmanager-{manager.removeprefix('jobmanager-')}"
    if flavour == "arc-ce" and said in {0, 2811}:
        said = port  # 2811 was the GridFTP door of older ARC CEs; their REST one is at 443
    return f"{_host(ce.ce_endpoint)}:{said or port}"


def _host(endpoint: str) -> str:
    return _parts(endpoint)[0]


def _parts(endpoint: str) -> tuple[str, int]:
    """Return host and port of `[scheme://]host[:port][/path]`, "" and 0 for what is none."""
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
        return parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0


def _name(text: str) -> str:
    """Return a text as the name of a section."""
    return sub(r"[^A-Za-z0-9_.@/+-]", "_", text).lstrip("_.@/+-")[:128]


def _key(origin: str, ce: CeQueue) -> Key:
    flavour = FLAVOURS.get(ce.ce_flavour.lower(), Flavour({"subtype": ce.ce_flavour.lower()}, 0))
    return Key(origin, flavour.row.get("subtype", ""), _endpoint(ce, flavour.port), _batchqueue(ce))


def _names(document: Document) -> dict[Key, str]:
    """Return the section's name of every CE queue that is listed, those out of service and left out included.

    A queue that is renamed loses sight of its pilots, so what becomes of its neighbours must not rename it: of the
    CE queues of one resource at one host the oldest has the short name, the others their batch queue behind it.
    """
    groups: dict[str, dict[Key, CeQueue]] = {}
    listed = ((origin, queue, ce) for origin, queue in document.items() if queue for ce in queue.queues if ce)
    for origin, queue, ce in listed:
        if host := _host(ce.ce_endpoint):
            group = groups.setdefault(_name(f"{_resource(origin, queue)}-{host}"), {})
            group.setdefault(_key(origin, ce), ce)
    found: dict[Key, str] = {}
    used = set(groups)
    for short, group in groups.items():
        oldest, *others = sorted(group, key=lambda key: group[key].ce_queue_id or inf)
        found[oldest] = short
        for key in others:
            found[key] = _free(_name(f"{short}-{key.batchqueue or 'default'}"), used)
            used.add(found[key])
    return found


def _free(name: str, used: set[str]) -> str:
    return next(one for one in chain([name], (f"{name}-{number}" for number in count(2))) if one not in used)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
