"""One cycle of one queue: observe, assess, decide, submit, report.

Observing asks the shared sources, which ask the outside world when it is time. A queue that counts each
resource type alone consists of one part per type; any other is its own only part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from autopyfactory.assess import (
    Assessed,
    Observed,
    Standstill,
    activated,
    obstacle,
    state_of,
    together,
    unknown,
    witnessed,
)
from autopyfactory.batch import Order
from autopyfactory.batch.source import PilotSource
from autopyfactory.batch.tally import Tally
from autopyfactory.board import Board, claim_of
from autopyfactory.clock import Clock
from autopyfactory.config.models import QueueConfig
from autopyfactory.credentials import Chosen
from autopyfactory.endpoints import Choice
from autopyfactory.errors import Ambiguous, FactoryError, Refused, SourceError
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.memory import Memory
from autopyfactory.model import (
    Blocked,
    CycleReport,
    Decision,
    Downtime,
    PilotCounts,
    Snapshot,
    Step,
    Submitted,
    Wanted,
)
from autopyfactory.observe import answer, ask_jobs, ask_site
from autopyfactory.retire import retire
from autopyfactory.sched import asked, chain, decide, needs, slowed
from autopyfactory.sched.endings import Endings
from autopyfactory.sched.gates import downtime_of
from autopyfactory.sched.rule import Need, QueueState
from autopyfactory.sched.types import decide_by_type
from autopyfactory.wms import Wms


@dataclass(frozen=True, slots=True)
class Planned:
    """A submission that stands in the ledger and is not yet made: `count` pilots of one part of the queue."""

    part: QueueConfig
    id: str
    count: int


class Cycle:
    """The cycle of one queue, with all that it works with. Used by one thread at a time.

    `standstill` tells what stands against any submission (an operator, a full disk). `make_order` turns
    (queue or its part, submission id, count, time) into an order. `endpoints` are those that the queue names;
    each submission goes to one of them. `credentials` chooses what the queue's submissions take now.
    `downtimes` returns those announced to us, `endings` tells how the queue's last pilots at an endpoint ended.
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
        make_order: Callable[[QueueConfig, str, int, float], Order],
        standstill: Callable[[str], Standstill | None] = lambda queue: None,
        credentials: Callable[[], Chosen] = Chosen,
        dry_run: bool = False,
        endpoint: str = "",
        endpoints: Sequence[str] = (),
        downtimes: Callable[[], tuple[Downtime, ...]] = tuple,
        endings: Callable[[str], Endings] = lambda endpoint: Endings(),
    ) -> None:
        self.queue = queue
        self._source = source
        self._wms = wms
        self._board = board
        self._ledger = ledger
        self._clock = clock
        self._make_order = make_order
        self._standstill = standstill
        self._credentials = credentials
        self._dry_run = dry_run
        self._endpoint = endpoint
        self._endpoints = tuple(endpoints)
        self._downtimes = downtimes
        self._endings = endings
        self._chain = chain(queue.options.rules, queue.rules)
        self._needs = needs(self._chain)
        self._parts = queue.parts
        self.memory = Memory()

    def run(self, stopping: Event) -> CycleReport:
        """Do one cycle and return all that it saw and did. Expected failures are part of the report."""
        try:
            observed = self._observe()
            with self._board.turn:
                report, plan = self._decide(observed)
                claims = [claim for part in self._parts for claim in self._board.siblings(part.claim)]
                report = witnessed(report, observed, self.queue, self._board.names_of(claims, self.queue.name))
            return self._submit_all(plan, self._retire(report), observed.credentials, stopping)
        except Exception:
            # A bug: the siblings must not wait for what this queue cannot submit.
            with self._board.turn:
                for part in self._parts:
                    self._board.blocked(part.claim)
            raise

    def _retire(self, report: CycleReport) -> CycleReport:
        """Remove what the rule `retire` tells; what cannot be removed now stays for the next cycle."""
        steps = report.decision.steps if report.decision else ()
        surplus = next((int(step.inputs["retire"]) for step in steps if step.rule == "retire"), 0)
        if not surplus or self._dry_run or self.queue.by_type:
            return report
        try:
            after = self.queue.rules.retire_after
            return replace(report, retired=retire(self._source.batch, self.queue.name, surplus, report.at, after))
        except SourceError as error:
            return replace(report, error=f"cannot retire pilots: {error}")

    def _observe(self) -> Observed:
        own, wms = self.queue.options.wmsqueues, self._wms
        with self._board.turn:
            reach = self._board.reach(self.queue)
        pilots = answer(self._source.snapshot)
        jobs = site = None
        if wms is not None and Need.DEMAND in self._needs:
            jobs = ask_jobs(wms, own, reach)
        if wms is not None and self._needs:
            site = ask_site(wms, own, reach)
        return Observed(pilots, jobs, site, self._standstill(self.queue.name), self._credentials())

    def _decide(self, observed: Observed) -> tuple[CycleReport, list[Planned]]:
        """Return the report so far and the submissions to make."""
        queue, now = self.queue, self._clock.now()
        self.memory.cycle += 1
        state = self._assess(observed, now)
        if isinstance(state, Blocked):
            return self._blocked(state, observed, now), []
        whole = state.whole
        split = bool(queue.by_type)
        decision = decide_by_type(self._chain, whole, state.parts) if split else decide(self._chain, whole)
        self._note(decision, state)
        self.memory.climb(decision, slowed=slowed(whole))
        report = self._report(now, whole.pilots, whole.demand.activated if whole.demand else None)
        demand = whole.demand
        wanted = Wanted(demand.gross, whole.left, demand.surplus) if demand else None
        report = replace(report, decision=decision, wanted=wanted)
        if not decision.count or self._dry_run:
            return report, []
        try:
            return report, self._open(decision, state)
        except OSError as error:
            blocked = Blocked(f"cannot write down what is submitted: {error}", cause="disk")
            for part in self._parts:
                self._board.blocked(part.claim, state.parts[part.resource_type].pilots.waiting)
            return replace(report, decision=None, blocked=blocked), []

    def _blocked(self, state: Blocked, observed: Observed, now: float) -> CycleReport:
        pilots = None if isinstance(observed.pilots, FactoryError) else self._counts(observed.pilots)
        for part in self._parts:
            waiting = None
            if not isinstance(observed.pilots, FactoryError):
                mine = self._counts(observed.pilots, part)
                waiting = mine.waiting + self._left(observed, mine, part)
            self._board.blocked(part.claim, waiting)
        if state.outage:
            self.memory.ramp = 1
        if observed.standstill and observed.standstill.draining and pilots and not pilots.in_flight:
            state = replace(state, reason=f"{state.reason}; no pilot is left")
        return replace(self._report(now, pilots, activated(observed, self.queue)), blocked=state)

    def _note(self, decision: Decision, state: Assessed) -> None:
        """Tell the siblings what this queue takes; they divide what it leaves."""
        wish = next((step.before - step.after for step in decision.steps if step.rule == "max_per_factory"), 0)
        for part in self._parts:
            mine, count = state.parts[part.resource_type], decision.of(part.resource_type)
            able = count > 0 or (asked(decision, part.resource_type) == 0 and downtime_of(mine) is None)
            able = able and Need.DEMAND in self._needs
            self._board.decided(part.claim, mine.pilots.waiting + mine.left + count, wish, able=able)

    def _open(self, decision: Decision, state: Assessed) -> list[Planned]:
        """Write down what is to be submitted, all of it or nothing. Raises OSError."""
        plan: list[Planned] = []
        in_flight = state.whole.pilots.in_flight
        try:
            for part in self._parts:
                kind = part.resource_type
                if count := decision.of(kind):
                    waiting = state.parts[kind].pilots.waiting
                    name = self._ledger.open(
                        part.name, self._source.name, count, waiting=waiting, in_flight=in_flight, resource_type=kind
                    )
                    plan.append(Planned(part, name, count))
                    in_flight += count
        except OSError:
            for planned in plan:
                self._ledger.close(planned.id, Outcome.SETTLED, 0)
            raise
        return plan

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

    def _assess(self, observed: Observed, now: float) -> Assessed | Blocked:
        name = self.queue.name
        if observed.standstill:
            standstill = observed.standstill
            return Blocked(standstill.reason, wanted=standstill.wanted, cause=standstill.cause)
        if isinstance(observed.pilots, FactoryError):
            return unknown("pilots", observed.pilots)
        if doubt := self._source.doubt(name, observed.pilots):
            return Blocked(doubt, outage=True, cause="hidden")
        if hindrance := obstacle(observed, self._needs):
            return hindrance
        states = {part.resource_type: self._state(part, observed, observed.pilots) for part in self._parts}
        whole = together(list(states.values()), self._counts(observed.pilots))
        choice = self._choose_endpoint(observed.pilots, now)
        whole = replace(
            whole,
            ramp=self.memory.ramp,
            quiet=now - self.memory.last_submission,
            cycle=self.memory.cycle,
            now=now,
            downtimes=(*self._downtimes(), *(whole.site.downtimes if whole.site else ())),
            budget=self._board.budget(name),
            trouble=choice.trouble,
            trial=choice.trial,
            held=choice.held,
            endings=self._endings(choice.endpoint or self._endpoint),
        )
        parts = {
            kind: replace(whole, pilots=part.pilots, demand=part.demand, left=part.left, walltime=part.walltime)
            for kind, part in states.items()
        }
        return Assessed(whole, parts)

    def _state(self, part: QueueConfig, observed: Observed, snapshot: Snapshot[Tally]) -> QueueState:
        pilots = self._counts(snapshot, part)
        left = self._left(observed, pilots, part)
        if part.options.weight_by == "drain":
            since = self._clock.now() - part.options.weight_window
            here = pilots.waiting - pilots.awaited
            begun = self._source.left(part.name, since, here, part.resource_type) - pilots.held
            self._board.drained(part.claim, max(0, begun))
        mine = claim_of(part, pilots.waiting + left)
        mine = replace(mine, weight=self._board.weight(mine))
        return state_of(part, observed, mine, self._board.siblings(part.claim), pilots=pilots, left=left)

    def _choose_endpoint(self, pilots: Snapshot[Tally], now: float) -> Choice:
        rules, names = self.queue.rules, self._source.names(self.queue.name)
        holes = frozenset(place for place in self._endpoints if self._endings(place).hole(rules))
        self.memory.beware(holes)
        return self.memory.endpoints.choose(self._endpoints, names, pilots, now, max_held=rules.max_held, avoid=holes)

    def _left(self, observed: Observed, pilots: PilotCounts, part: QueueConfig) -> int:
        if not isinstance(observed.jobs, Snapshot):
            return 0
        since, kind = observed.jobs.speaks_of, part.resource_type
        here = self._source.left(part.name, since, pilots.waiting - pilots.awaited, kind)
        return here + self._board.left(part.name, self._source, since, kind)

    def _counts(self, snapshot: Snapshot[Tally], part: QueueConfig | None = None) -> PilotCounts:
        """Return the pilots of the whole queue, or those that answer the demand of a part."""
        name, kind = self.queue.name, part.resource_type if part else ""
        awaited = self._board.awaited(name, self._source, kind)
        elsewhere = self._board.elsewhere(name, self._source)
        return replace(
            self._source.counts(name, snapshot, kind), awaited=awaited, elsewhere=max(0, elsewhere - awaited)
        )

    def _submit_all(self, plan: Sequence[Planned], report: CycleReport, chosen: Chosen, stopping: Event) -> CycleReport:
        """Make the submissions one after the other; after a failure the rest is left to the next cycle."""
        left = list(plan)
        try:
            while left and not report.error:
                report = self._submit(left.pop(0), report, chosen, stopping)
        finally:
            for planned in left:
                self._close(planned, Outcome.SETTLED, 0, missing=planned.count)
        return report

    def _submit(self, planned: Planned, report: CycleReport, chosen: Chosen, stopping: Event) -> CycleReport:
        outcome, error, others = Outcome.SETTLED, "", False
        cids: tuple[str, ...] = ()
        granted, wait = self._source.turn(planned.count)
        report = self._lowered(report, planned, granted)
        try:
            if not granted or stopping.wait(wait) or (wait and self._standstill(self.queue.name)):
                return report
            order = self._make_order(planned.part, planned.id, granted, report.at)
            endpoint = self.memory.endpoints.chosen or order.endpoint
            order = replace(order, endpoint=endpoint, proxy=chosen.proxy, token=chosen.token)
            done = self._source.batch.submit(order)
            outcome, cids = (Outcome.ACCEPTED if done.cids else Outcome.SETTLED), done.cids
            self.memory.endpoints.accepted()
        except Refused as refusal:
            outcome, cids = (Outcome.ACCEPTED if refusal.cids else Outcome.SETTLED), refusal.cids
            error = f"refused: {refusal.reason}"
            others = self.memory.endpoints.refused(self._clock.now(), self.queue.rules.max_held_probe)
        except Ambiguous as unclear:
            outcome = Outcome.AMBIGUOUS
            error = f"no answer: {unclear.reason}"
            # Others are asked first, or one that hangs would have every cycle.
            self.memory.endpoints.refused(self._clock.now(), self.queue.rules.max_held_probe)
        except BaseException:
            # A bug: the pilots may exist all the same, so they count until a poll has told.
            outcome = Outcome.AMBIGUOUS
            raise
        finally:
            came = granted if outcome is Outcome.AMBIGUOUS else len(cids)
            self._close(planned, outcome, came, missing=planned.count - came if error or not came else 0)
            if came or error:
                self.memory.last_submission = self._clock.now()
                self.memory.endpoints.sent(self.memory.last_submission, came)
        if error and not others:
            self.memory.ramp = 1
        news = (Submitted(planned.id, cids, planned.part.resource_type),) if cids else ()
        return replace(report, submitted=(*report.submitted, *news), error=error)

    def _lowered(self, report: CycleReport, planned: Planned, granted: int) -> CycleReport:
        """Add the step of `max_submit_rate` where it lowered the number; it acts only when the schedd's turn comes."""
        decision, kind = report.decision, planned.part.resource_type
        if decision is None or granted == planned.count:
            return report
        why = f"{self._source.name} is busy with other queues' submissions"
        step = Step("max_submit_rate", planned.count, granted, why, resource_type=kind)
        count = decision.count - planned.count + granted
        by_type = {**decision.by_type, kind: granted} if kind else {}
        return replace(report, decision=Decision(count, (*decision.steps, step), by_type))

    def _close(self, planned: Planned, outcome: Outcome, came: int, *, missing: int) -> None:
        """Write down what came of a submission; the siblings were told that all of it comes."""
        self._ledger.close(planned.id, outcome, came)
        if missing:
            with self._board.turn:
                self._board.refused(planned.part.claim, missing)
