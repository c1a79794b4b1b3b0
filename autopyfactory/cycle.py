"""One cycle of one queue: observe, assess, decide, submit, report.

Observing asks the shared sources, which ask the outside world when it is time. `assess` is pure: it turns
what was observed into the state that the rules read, or into the reason why there can be no decision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TypeVar

from autopyfactory.batch import Order
from autopyfactory.batch.source import PilotSource, Tally, least_loaded
from autopyfactory.board import Board, claim_of
from autopyfactory.clock import Clock, utc
from autopyfactory.config.models import QueueConfig
from autopyfactory.errors import Ambiguous, FactoryError, Refused, SourceError
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.model import (
    Blocked,
    CycleReport,
    Decision,
    JobCount,
    PilotCounts,
    Site,
    Snapshot,
    Step,
    Submitted,
)
from autopyfactory.sched import RULES, chain, decide, needs, slowed
from autopyfactory.sched.demand import Claim, Demand, job_cores, part
from autopyfactory.sched.gates import KNOWN
from autopyfactory.sched.record import Record
from autopyfactory.sched.rule import Kind, Need, QueueState
from autopyfactory.wms import Wms

T = TypeVar("T")

RAMP_END = 1024
"""A ramp that has doubled beyond this limits nothing any more."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why nothing may be submitted, whatever the sources say.

    `wanted`: an operator wants it so. `draining`: until the last pilot is gone.
    """

    reason: str
    draining: bool = False
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What one cycle saw: each source's answer, or the error that came instead; None where nobody asked."""

    pilots: Snapshot[Tally] | FactoryError
    jobs: Snapshot[tuple[JobCount, ...]] | FactoryError | None = None
    site: Snapshot[Site] | FactoryError | None = None
    standstill: Standstill | None = None


@dataclass(slots=True)
class Memory:
    """What a queue remembers from one cycle to the next."""

    ramp: int | None = None
    last_submission: float = field(default=float("-inf"))
    endpoint: str = ""
    """Where the next pilots go; "" where the queue names no endpoint."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """The last submission, by endpoint."""
    holes: frozenset[str] = frozenset()
    """The endpoints that swallow pilots."""
    cycle: int = -1
    """The number of the present cycle, from 0."""


class Cycle:
    """The cycle of one queue, with all that it works with. Used by one thread at a time.

    `standstill` tells what stands against any submission (an operator, a full disk). `make_order` turns
    (submission id, count, time) into an order. `endpoints` are those that the queue names; each submission
    goes to one of them. `record` tells how the queue's last pilots at an endpoint ended.
    """

    def __init__(
        self,
        queue: QueueConfig,
        source: PilotSource,
        wms: Wms | None,
        board: Board,
        ledger: Ledger,
        clock: Clock,
        *,
        make_order: Callable[[str, int, float], Order],
        standstill: Callable[[str], Standstill | None] = lambda queue: None,
        dry_run: bool = False,
        endpoint: str = "",
        endpoints: Sequence[str] = (),
        record: Callable[[str], Record] = lambda endpoint: Record(),
    ) -> None:
        self.queue = queue
        self._source = source
        self._wms = wms
        self._board = board
        self._ledger = ledger
        self._clock = clock
        self._make_order = make_order
        self._standstill = standstill
        self._dry_run = dry_run
        self._endpoint = endpoint
        self._endpoints = tuple(endpoints)
        self._record = record
        self._chain = chain(queue.options.rules, queue.rules)
        self._needs = needs(self._chain)
        self.memory = Memory()

    def run(self, stopping: Event) -> CycleReport:
        """Do one cycle and return all that it saw and did. Expected failures are part of the report."""
        try:
            observed = self._observe()
            with self._board.turn:
                report, submission = self._decide(observed)
            if not submission or report.decision is None:
                return report
            return self._submit(submission, report, report.decision.count, stopping)
        except Exception:
            # A bug: the siblings must not wait for what this queue cannot submit.
            with self._board.turn:
                self._board.blocked(self.queue.name)
            raise

    def _observe(self) -> Observed:
        name, wms = self.queue.options.wmsqueue, self._wms
        pilots = _answer(self._source.snapshot)
        jobs = site = None
        if wms is not None and Need.DEMAND in self._needs:
            jobs = _answer(lambda: wms.jobs(name))
        if wms is not None and self._needs:
            site = _answer(lambda: wms.site(name))
        return Observed(pilots, jobs, site, self._standstill(self.queue.name))

    def _decide(self, observed: Observed) -> tuple[CycleReport, str]:
        """Return the report so far and the id of the submission to make, "" for none."""
        queue, now = self.queue, self._clock.now()
        self.memory.cycle += 1
        state = self._assess(observed, now)
        if isinstance(state, Blocked):
            pilots = self._known_pilots(observed)
            self._board.blocked(queue.name, pilots.waiting + self._left(observed, pilots) if pilots else None)
            if state.outage:
                self.memory.ramp = 1
            if observed.standstill and observed.standstill.draining and pilots and not pilots.in_flight:
                state = replace(state, reason=f"{state.reason}; no pilot is left")
            report = self._report(now, pilots, _activated(observed, queue))
            return replace(report, blocked=state), ""
        decision = decide(self._chain, state)
        wish = next((step.before - step.after for step in decision.steps if step.rule == "max_per_factory"), 0)
        waiting = state.pilots.waiting + state.left
        self._board.decided(queue.name, waiting + decision.count, wish, able=self._able(decision))
        self._climb(decision)
        if slowed(state):
            self.memory.ramp = 1
        activated = state.demand.activated if state.demand else None
        report = replace(self._report(now, state.pilots, activated), decision=decision)
        if not decision.count or self._dry_run:
            return report, ""
        try:
            submission = self._ledger.open(
                queue.name,
                self._source.name,
                decision.count,
                waiting=state.pilots.waiting,
                in_flight=state.pilots.in_flight,
            )
        except OSError as error:
            blocked = Blocked(f"cannot write down what is submitted: {error}")
            self._board.blocked(queue.name, waiting)
            return replace(report, decision=None, blocked=blocked), ""
        return report, submission

    def _report(self, at: float, pilots: PilotCounts | None, activated: int | None) -> CycleReport:
        options = self.queue.options
        return CycleReport(
            self.queue.name,
            at,
            pilots=pilots,
            activated=activated,
            dry_run=self._dry_run,
            wmsqueue=options.wmsqueue,
            batchqueue=options.batchqueue,
            endpoint=self._endpoint,
        )

    def _assess(self, observed: Observed, now: float) -> QueueState | Blocked:
        if isinstance(observed.pilots, FactoryError) or observed.standstill:
            return assess(self.queue, observed, self._needs)
        doubt = self._source.doubt(self.queue.name, observed.pilots)
        if doubt:
            return Blocked(doubt, outage=True)
        pilots = self._counts(observed.pilots)
        left = self._left(observed, pilots)
        state = assess(
            self.queue, observed, self._needs, pilots=pilots, left=left, siblings=self._board.siblings(self.queue.name)
        )
        if isinstance(state, Blocked):
            return state
        trouble, record = self._choose_endpoint(observed.pilots)
        return replace(
            state,
            ramp=self.memory.ramp,
            quiet=now - self.memory.last_submission,
            cycle=self.memory.cycle,
            budget=self._board.budget(self.queue.name),
            trouble=trouble,
            record=record,
        )

    def _choose_endpoint(self, pilots: Snapshot[Tally]) -> tuple[str, Record]:
        """Choose where the next pilots go and return what is wrong there, or "", and how the last ones there ended."""
        sent = self.memory.sent if self.memory.last_submission >= pilots.began else {}
        records = {place: self._record(place) for place in self._endpoints or (self._endpoint,)}
        holes = frozenset(place for place, record in records.items() if record.hole(self.queue.rules))
        if self.memory.holes - holes:
            self.memory.ramp = 1
        self.memory.holes = holes
        chosen = least_loaded(self._endpoints, self.queue.name, pilots.value, sent, holes)
        self.memory.endpoint = chosen
        trouble = pilots.value.troubles.get(chosen)
        text = f"{chosen} is {trouble.word} since {utc(trouble.since):%H:%M:%S}" if trouble else ""
        return text, records[chosen or self._endpoint]

    def _left(self, observed: Observed, pilots: PilotCounts) -> int:
        if not isinstance(observed.jobs, Snapshot):
            return 0
        return self._source.left(self.queue.name, observed.jobs.speaks_of, pilots.waiting)

    def _able(self, decision: Decision) -> bool:
        """Tell whether this queue takes its part of the demand; siblings divide what it leaves."""
        asked = max((step.before for step in decision.steps if RULES[step.rule].kind is Kind.LIMIT), default=0)
        return Need.DEMAND in self._needs and (decision.count > 0 or asked == 0)

    def _known_pilots(self, observed: Observed) -> PilotCounts | None:
        if isinstance(observed.pilots, FactoryError):
            return None
        return self._counts(observed.pilots)

    def _counts(self, snapshot: Snapshot[Tally]) -> PilotCounts:
        counts = self._source.counts(self.queue.name, snapshot)
        return replace(counts, elsewhere=self._board.elsewhere(self.queue.name, self._source))

    def _climb(self, decision: Decision) -> None:
        """Double the ramp after what it let through; it is over when it lowered nothing, or has grown enough."""
        if self.memory.ramp is None:
            return
        step = next((step for step in decision.steps if step.rule == "ramp"), None)
        free = step is not None and 0 < step.before == step.after
        if free or self.memory.ramp >= RAMP_END:
            self.memory.ramp = None
        elif decision.count:
            self.memory.ramp *= 2

    def _submit(self, submission: str, report: CycleReport, count: int, stopping: Event) -> CycleReport:
        outcome, error = Outcome.SETTLED, ""
        cids: tuple[str, ...] = ()
        granted, wait = self._source.turn(count)
        report = self._lowered(report, granted)
        try:
            if not granted or stopping.wait(wait) or (wait and self._standstill(self.queue.name)):
                return report
            order = self._make_order(submission, granted, report.at)
            endpoint = self.memory.endpoint or order.endpoint
            done = self._source.batch.submit(replace(order, endpoint=endpoint))
            outcome, cids = (Outcome.ACCEPTED if done.cids else Outcome.SETTLED), done.cids
        except Refused as refusal:
            outcome, cids = (Outcome.ACCEPTED if refusal.cids else Outcome.SETTLED), refusal.cids
            error = f"refused: {refusal.reason}"
        except Ambiguous as unclear:
            outcome = Outcome.AMBIGUOUS
            error = f"no answer: {unclear.reason}"
        except BaseException:
            # A bug: the pilots may exist all the same, so they count until a poll has told.
            outcome = Outcome.AMBIGUOUS
            raise
        finally:
            came = granted if outcome is Outcome.AMBIGUOUS else len(cids)
            self._close(submission, outcome, came, missing=count - came if error or not came else 0)
            if came or error:
                self.memory.last_submission = self._clock.now()
                self.memory.sent = {self.memory.endpoint: came}
        if error:
            self.memory.ramp = 1
        return replace(report, submitted=(Submitted(submission, cids),) if cids else (), error=error)

    def _lowered(self, report: CycleReport, granted: int) -> CycleReport:
        """Add the step of `max_submit_rate` where it lowered the number; it acts only when the schedd's turn comes."""
        decision = report.decision
        if decision is None or granted == decision.count:
            return report
        why = f"{self._source.name} is busy with other queues' submissions"
        step = Step("max_submit_rate", decision.count, granted, why)
        return replace(report, decision=Decision(granted, (*decision.steps, step)))

    def _close(self, submission: str, outcome: Outcome, came: int, *, missing: int) -> None:
        """Write down what came of a submission; the siblings were told that all of it comes."""
        self._ledger.close(submission, outcome, came)
        if missing:
            with self._board.turn:
                self._board.refused(self.queue.name, missing)


def assess(
    queue: QueueConfig,
    observed: Observed,
    needed: frozenset[Need],
    *,
    pilots: PilotCounts | None = None,
    left: int = 0,
    siblings: Sequence[Claim] = (),
) -> QueueState | Blocked:
    """Turn what was observed into what the rules read, or into the reason why there is no decision.

    What the queue's own rules do not need cannot block it.
    """
    obstacle = _obstacle(observed, needed)
    if obstacle is not None:
        return obstacle
    counts = pilots or PilotCounts()
    site = observed.site.value if isinstance(observed.site, Snapshot) else None
    demand = transferring = None
    if isinstance(observed.jobs, Snapshot):
        mine = claim_of(queue, counts.waiting + left)
        transferring = sum(cell.by_status.get("transferring", 0) for cell in observed.jobs.value if mine.counts(cell))
        demand = demand_of(queue, observed.jobs.value, site, mine, siblings)
    return QueueState(queue.name, queue.rules, counts, demand, left, site, transferring=transferring)


def _obstacle(observed: Observed, needed: frozenset[Need]) -> Blocked | None:
    if observed.standstill:
        return Blocked(observed.standstill.reason, wanted=observed.standstill.wanted)
    if isinstance(observed.pilots, FactoryError):
        return _unknown("pilots", observed.pilots)
    if Need.DEMAND in needed and not isinstance(observed.jobs, Snapshot):
        return _unknown("demand", observed.jobs)
    if Need.SITE in needed:
        if not isinstance(observed.site, Snapshot):
            return _unknown("site status", observed.site)
        status = observed.site.value.status
        if status not in KNOWN:
            return Blocked(f"site status '{status}' is none of {', '.join(sorted(KNOWN))}: blocked until it is")
    return None


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
    return part(cells, mine, siblings, share=options.share, cores_of=cores_of)


def _answer(ask: Callable[[], Snapshot[T]]) -> Snapshot[T] | FactoryError:
    try:
        return ask()
    except FactoryError as error:
        return error


def _unknown(what: str, error: FactoryError | None) -> Blocked:
    if error is None:
        return Blocked(f"{what} unknown: the queue names no wms")
    return Blocked(f"{what} unknown: {error}", outage=isinstance(error, SourceError) and not error.stopped)


def _activated(observed: Observed, queue: QueueConfig) -> int | None:
    if not isinstance(observed.jobs, Snapshot):
        return None
    claim = claim_of(queue)
    return sum(cell.activated for cell in observed.jobs.value if claim.counts(cell))
