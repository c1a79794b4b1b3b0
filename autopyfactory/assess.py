"""What a cycle observed, turned into what the rules read, or into the reason why there can be no decision. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autopyfactory.batch.tally import Tally
from autopyfactory.board import claim_of
from autopyfactory.config.models import QueueConfig
from autopyfactory.credentials import Chosen
from autopyfactory.errors import FactoryError, SourceError, UnknownWmsqueue
from autopyfactory.model import JobCount, PilotCounts, Site, Snapshot, Trouble
from autopyfactory.observe import served
from autopyfactory.report import Blocked, CycleReport, Input, Stuck
from autopyfactory.sched.demand import Claim, Demand, job_cores, part
from autopyfactory.sched.gates import KNOWN
from autopyfactory.sched.rule import Need, QueueState


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why nothing may be submitted, whatever the sources say.

    `wanted`: an operator wants it so. `draining`: until the last pilot is gone. `cause` as in `Blocked`.
    """

    reason: str
    draining: bool = False
    wanted: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one cycle saw: each source's answer, or the error that came instead; None where nobody asked."""

    pilots: Snapshot[Tally] | FactoryError
    jobs: Snapshot[tuple[JobCount, ...]] | FactoryError | None = None
    site: Snapshot[Site] | FactoryError | None = None
    standstill: Standstill | None = None
    credentials: Chosen = field(default_factory=Chosen)


@dataclass(frozen=True, slots=True)
class Assessed:
    """What the rules read: of the whole queue, and of each resource type that it counts alone ("": it counts none)."""

    whole: QueueState
    parts: Mapping[str, QueueState]


def obstacle(observed: Observed, needed: frozenset[Need]) -> Blocked | None:
    """Return why there is no decision, None where there can be one.

    What the queue's own rules do not need cannot block it.
    """
    if Need.DEMAND in needed and not isinstance(observed.jobs, Snapshot):
        return unknown("demand", observed.jobs)
    if Need.SITE in needed:
        if not isinstance(observed.site, Snapshot):
            return unknown("site status", observed.site)
        status = observed.site.value.status
        if status not in KNOWN:
            known = ", ".join(sorted(KNOWN))
            return Blocked(f"site status '{status}' is none of {known}: blocked until it is", cause="status")
    # Last, so that an outage is known for one although a proxy has expired meanwhile.
    return Blocked(observed.credentials.lacking, cause="credential") if observed.credentials.lacking else None


def state_of(
    queue: QueueConfig, observed: Observed, mine: Claim, siblings: Sequence[Claim], *, pilots: PilotCounts, left: int
) -> QueueState:
    """Turn what was observed into what the rules of a queue, or of a part of it, read."""
    site = observed.site.value if isinstance(observed.site, Snapshot) else None
    demand = transferring = None
    if isinstance(observed.jobs, Snapshot):
        transferring = sum(cell.by_status.get("transferring", 0) for cell in observed.jobs.value if mine.counts(cell))
        demand = demand_of(queue, observed.jobs.value, site, mine, siblings)
    walltime = queue.options.walltime
    return QueueState(queue.name, queue.rules, pilots, demand, left, site, transferring=transferring, walltime=walltime)


def together(parts: Sequence[QueueState], pilots: PilotCounts) -> QueueState:
    """Return the state of a whole queue that has these parts and in all so many pilots.

    It is drained for a downtime when all parts are, so its walltime is the shortest.
    """
    if len(parts) == 1:
        return parts[0]
    demands = [part.demand for part in parts if part.demand]
    demand = Demand(
        sum(demand.activated for demand in demands),
        sum(demand.gross for demand in demands),
        sum(demand.surplus for demand in demands),
        next((demand.testing for demand in demands), ()),
    )
    left = sum(part.left for part in parts)
    transferring = sum(part.transferring or 0 for part in parts) if demands else None
    known = demand if demands else None
    walltime = min(part.walltime or 0.0 for part in parts)
    return replace(parts[0], pilots=pilots, demand=known, left=left, transferring=transferring, walltime=walltime)


def demand_of(
    queue: QueueConfig, cells: tuple[JobCount, ...], site: Site | None, mine: Claim, siblings: Sequence[Claim]
) -> Demand:
    """Return a queue's part of a wmsqueue's jobs, with the cores of a job as configuration and site say."""
    options = queue.options
    site_cores = site.cores if site else None
    cores_of = {
        cell.resource_type: job_cores(cell.resource_type, options.job_cores, site_cores, options.cores)
        for cell in cells
    }
    return part(served(cells, site), mine, siblings, share=options.share, cores_of=cores_of)


def unknown(what: str, error: FactoryError | None) -> Blocked:
    """Return the block of a queue that lacks what an error kept from it; None: nobody could be asked."""
    if error is None:
        return Blocked(f"{what} unknown: the queue names no wms", cause="wms")
    outage = isinstance(error, SourceError) and not error.stopped
    cause = "wmsqueue" if isinstance(error, UnknownWmsqueue) else what
    return Blocked(f"{what} unknown: {error}", outage=outage, cause=cause)


def activated(observed: Observed, queue: QueueConfig) -> int | None:
    """Return the jobs that a queue counts, whoever takes them; None where they are unknown."""
    if not isinstance(observed.jobs, Snapshot):
        return None
    claims = [claim_of(part) for part in queue.parts]
    cells = served(observed.jobs.value, observed.site.value if isinstance(observed.site, Snapshot) else None)
    return sum(cell.activated for cell in cells if any(claim.counts(cell) for claim in claims))


def note_on(pilots: PilotCounts | None, observed: Observed, queue: str) -> str:
    """Return why pilots of a queue are held, and what keeps them unsent."""
    if pilots is None or isinstance(observed.pilots, FactoryError):
        return ""
    found = observed.pilots.value
    # The reasons are of the listing before this count, which may have shown the last held pilots.
    held = [found.held[queue]] if pilots.held and queue in found.held else []
    full = [
        f"{endpoint} takes no more than {limit} pilots from this schedd, the rest stays unsent"
        for endpoint, limit in found.full.items()
        if pilots.unsent and (queue, endpoint) in found.waiting_at
    ]
    return "; ".join([*held, *full])


def words_for(observed: Observed, queue: QueueConfig) -> Mapping[str, int]:
    """Return a queue's pending pilots by their CE's own word, the commonest first."""
    if isinstance(observed.pilots, FactoryError):
        return {}
    names, words = (queue.name, *queue.options.formerly), observed.pilots.value.words
    return dict(sum((Counter(words.get(name, {})) for name in names), Counter[str]()).most_common())


def stuck_at(observed: Observed, queue: QueueConfig) -> tuple[Stuck, ...]:
    """Return which pilots of a queue wait at endpoints in trouble, those it no longer names included."""
    if isinstance(observed.pilots, FactoryError):
        return ()
    found, names = observed.pilots.value, (queue.name, *queue.options.formerly)
    counts: Counter[tuple[str, Trouble]] = Counter()
    for (owner, endpoint), count in found.waiting_at.items():
        if owner in names and count and (trouble := found.trouble(owner, endpoint)):
            counts[endpoint, trouble] += count
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], item[0][1].since))
    return tuple(Stuck(count, at, trouble.word, trouble.since) for (at, trouble), count in ordered)


def witnessed(report: CycleReport, observed: Observed, queue: QueueConfig, siblings: Sequence[str]) -> CycleReport:
    """Add to a report what was observed, for the record and for `plan`; of several wmsqueues the queue's own."""
    answers: dict[str, object] = {"pilots": observed.pilots, "demand": observed.jobs, "site": observed.site}
    heard = {what: answer for what, answer in answers.items() if isinstance(answer, Snapshot)}
    jobs = observed.jobs.value if isinstance(observed.jobs, Snapshot) else None
    if jobs is not None:
        jobs = tuple(cell for cell in jobs if not cell.wmsqueue or cell.wmsqueue in queue.options.wmsqueues)
    return replace(
        report,
        interval=queue.options.interval,
        note=note_on(report.pilots, observed, queue.name),
        inputs=tuple(Input(what, answer.source, answer.age(report.at)) for what, answer in heard.items()),
        jobs=jobs,
        site=observed.site.value if isinstance(observed.site, Snapshot) else None,
        siblings=tuple(siblings) if observed.jobs is not None else (),
        words=words_for(observed, queue),
        stuck=stuck_at(observed, queue),
    )
