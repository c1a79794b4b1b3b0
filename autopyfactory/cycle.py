"""One cycle of one queue: observe, assess, decide, submit, report.

Observing asks the shared sources, which ask the outside world when it is time. A queue that counts each
resource type alone consists of one part per type; any other is its own only part.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from autopyfactory.errors import FactoryError, SourceError
from autopyfactory.ledger import Ledger
from autopyfactory.memory import Memory
from autopyfactory.model import Downtime, PilotCounts, Snapshot
from autopyfactory.observe import answer, ask_jobs, ask_site
from autopyfactory.report import Blocked, CycleReport, Decision, Wanted
from autopyfactory.retire import retire
from autopyfactory.sched import asked, chain, decide, denied, needs, slowed, surplus
from autopyfactory.sched.endings import Endings
from autopyfactory.sched.gates import downtime_of
from autopyfactory.sched.rule import Need, QueueState
from autopyfactory.sched.types import decide_by_type
from autopyfactory.submit import Planned, Submissions
from autopyfactory.wms import Wms

OLD_FIGURES = 600.0
"""Seconds: while a queue has no figures of its own, a sibling may soon have some that are as old as this."""


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
        self._clock = clock
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
        self._submissions = Submissions(queue, source, board, ledger, clock, make_order, standstill)
        self.memory = Memory()

    def run(self, stopping: Event) -> CycleReport:
        """Do one cycle and return all that it saw and did. Expected failures are part of the report."""
        try:
            observed = self._observe()
            with self._board.turn:
                report, plan = self._decide(observed)
                claims = [claim for part in self._parts for claim in self._board.siblings(part.claim)]
                report = witnessed(report, observed, self.queue, self._board.names_of(claims, self.queue.name))
            report = self._retire(report)
            return self._submissions.make(plan, report, observed.credentials, self.memory, stopping)
        except Exception:
            # A bug: the siblings must not wait for what this queue cannot submit.
            with self._board.turn:
                for part in self._parts:
                    self._board.blocked(part.claim)
            raise

    def _retire(self, report: CycleReport) -> CycleReport:
        """Remove what the rule `retire` tells; what cannot be removed now stays for the next cycle."""
        many = surplus(report.decision) if report.decision else 0
        if not many or self._dry_run or self.queue.by_type:
            return report
        try:
            after = self.queue.rules.retire_after
            return replace(report, retired=retire(self._source.batch, self.queue.name, many, report.at, after))
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
        if not any(asked(decision, part.resource_type) for part in self._parts):
            self.memory.endpoints.unasked()
        self.memory.climb(decision, slowed=slowed(whole))
        report = self._report(now, whole.pilots, whole.demand.activated if whole.demand else None)
        demand = whole.demand
        wanted = Wanted(demand.gross, whole.left, demand.surplus) if demand else None
        report = replace(report, decision=decision, wanted=wanted)
        if not decision.count or self._dry_run:
            return report, []
        try:
            return report, self._submissions.open(decision, state)
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
        wish = denied(decision)
        for part in self._parts:
            mine, count = state.parts[part.resource_type], decision.of(part.resource_type)
            able = count > 0 or (asked(decision, part.resource_type) == 0 and downtime_of(mine) is None)
            able = able and Need.DEMAND in self._needs
            self._board.decided(part.claim, mine.pilots.waiting + mine.left + count, wish, able=able)

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
            wms=options.wms,
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
        self.memory.note_holes(holes)
        return self.memory.endpoints.choose(
            self._endpoints, names, pilots, now, max_held=rules.max_held, probe=rules.max_held_probe, avoid=holes
        )

    def _left(self, observed: Observed, pilots: PilotCounts, part: QueueConfig) -> int:
        if observed.jobs is None:
            return 0
        kind = part.resource_type
        speaks_of = observed.jobs.speaks_of if isinstance(observed.jobs, Snapshot) else self._clock.now() - OLD_FIGURES
        # Until a pilot that has started fetches its job, that job is still activated.
        since = speaks_of - part.options.first_job_after
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
