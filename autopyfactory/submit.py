"""From a decision to pilots: what is written down first, the submissions one after the other, what came of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from autopyfactory.assess import Assessed, Standstill
from autopyfactory.batch import Order
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.clock import Clock
from autopyfactory.config.models import QueueConfig
from autopyfactory.credentials import Chosen
from autopyfactory.errors import NO_ANSWER, Ambiguous, Refused
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.memory import Memory
from autopyfactory.model import Submitted
from autopyfactory.report import CycleReport, Decision, Step


@dataclass(frozen=True, slots=True)
class Planned:
    """A submission that stands in the ledger and is not yet made: `count` pilots of one part of the queue."""

    part: QueueConfig
    id: str
    count: int


class Submissions:
    """The submissions of one queue. Arguments as those of `Cycle`."""

    def __init__(
        self,
        queue: QueueConfig,
        source: PilotSource,
        board: Board,
        ledger: Ledger,
        clock: Clock,
        make_order: Callable[[QueueConfig, str, int, float], Order],
        standstill: Callable[[str], Standstill | None],
    ) -> None:
        self._queue = queue
        self._source = source
        self._board = board
        self._ledger = ledger
        self._clock = clock
        self._make_order = make_order
        self._standstill = standstill

    def open(self, decision: Decision, state: Assessed) -> list[Planned]:
        """Write down what is to be submitted, all of it or nothing. Raises OSError."""
        plan: list[Planned] = []
        in_flight = state.whole.pilots.in_flight
        try:
            for part in self._queue.parts:
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

    def make(
        self, plan: Sequence[Planned], report: CycleReport, chosen: Chosen, memory: Memory, stopping: Event
    ) -> CycleReport:
        """Make the submissions one after the other; after a failure the rest is left to the next cycle."""
        left = list(plan)
        try:
            while left and not report.error:
                report = self._submit(left.pop(0), report, chosen, memory, stopping)
        finally:
            for planned in left:
                self._close(planned, Outcome.SETTLED, 0, missing=planned.count)
        return report

    def _submit(
        self, planned: Planned, report: CycleReport, chosen: Chosen, memory: Memory, stopping: Event
    ) -> CycleReport:
        outcome, error, slow = Outcome.SETTLED, "", False
        cids: tuple[str, ...] = ()
        endpoints = memory.endpoints
        # Known here and not asked again: while this call hangs, another endpoint may be chosen.
        endpoint = endpoints.chosen
        pause = self._queue.rules.max_held_probe
        granted, wait = self._source.pace.turn(planned.count)
        report = self._lowered(report, planned, granted)
        try:
            if not granted or stopping.wait(wait) or (wait and self._standstill(self._queue.name)):
                return report
            order = self._make_order(planned.part, planned.id, granted, report.at)
            order = replace(order, endpoint=endpoint or order.endpoint, proxy=chosen.proxy, token=chosen.token)
            done = self._source.batch.submit(order)
            outcome, cids = (Outcome.ACCEPTED if done.cids else Outcome.SETTLED), done.cids
            endpoints.accepted(endpoint)
        except Refused as refusal:
            outcome, cids = (Outcome.ACCEPTED if refusal.cids else Outcome.SETTLED), refusal.cids
            error = f"refused: {refusal.reason}"
            slow = not refusal.stopped and not endpoints.refused(endpoint, self._clock.now(), pause)
        except Ambiguous as unclear:
            outcome = Outcome.AMBIGUOUS
            error = f"{NO_ANSWER}: {unclear.reason}"
            slow = not unclear.stopped
            if slow:
                # Others are asked first, or one that hangs would have every cycle.
                endpoints.refused(endpoint, self._clock.now(), pause)
        except BaseException:
            # A bug: the pilots may exist all the same, so they count until a poll has told.
            outcome = Outcome.AMBIGUOUS
            raise
        finally:
            came = granted if outcome is Outcome.AMBIGUOUS else len(cids)
            self._close(planned, outcome, came, missing=planned.count - came if error or not came else 0)
            if came or error:
                memory.last_submission = self._clock.now()
                endpoints.sent(endpoint, memory.last_submission, came)
        if slow:
            memory.ramp = 1
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
