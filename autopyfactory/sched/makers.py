"""Makers: the rules that compute a number of pilots, in the order of the queue's `rules`.

Formulas: A activated jobs that are this queue's part, in pilots; P pilots that wait; L pilots that left
pending after the time the figures speak of less `first_job_after`; S siblings' pilots that will take jobs of this
queue's part; n the number so far.
"""

import math

from autopyfactory.sched.demand import Demand
from autopyfactory.sched.rule import Ask, Kind, Need, QueueState, Rule, Ruling

_BLOCKED = "blocked while the WMS's figures or the site's status are unknown"
_NO_WMS = "needs no WMS"


def _demand(state: QueueState, rule: str) -> Demand:
    if state.demand is None:
        raise LookupError(f"the rule {rule} needs demand")
    return state.demand


def _answered(state: QueueState, demand: Demand) -> int:
    """Return L + S: the activated jobs of the figures that need no further pilot, whoever waits."""
    return state.left + demand.surplus


def _told(demand: Demand, state: QueueState, offset: int = 0) -> str:
    parts = [f"{demand.activated} activated"]
    if demand.testing:
        parts.append(f"the site is in test and gives ordinary pilots jobs of label {' or '.join(demand.testing)} only")
    if demand.gross != demand.activated:
        parts.append(f"{demand.gross} {'pilot is' if demand.gross == 1 else 'pilots are'} this queue's part")
    if offset:
        parts.append(f"{offset} left to others")
    parts.append(f"{state.pilots.waiting} waiting")
    if state.left:
        parts.append(f"{state.left} started or gone too lately for the figures")
    if demand.surplus:
        parts.append(f"{demand.surplus} answered by siblings' pilots")
    return ", ".join(parts)


def _ready(ask: Ask, state: QueueState) -> Ruling:
    """Compute n = max(0, A - offset - P - L - S)."""
    demand, waiting, offset = _demand(state, "ready"), state.pilots.waiting, state.options.ready_offset
    result = Ask(max(0, demand.gross - offset), waiting + _answered(state, demand))
    inputs = {"activated": demand.activated, "offset": offset, "pending": waiting}
    return Ruling(result, _told(demand, state, offset), inputs)


def _weighted(ask: Ask, state: QueueState) -> Ruling:
    """Compute n from A and P with a factor each; L and S are jobs that are not there any more."""
    demand, waiting, options = _demand(state, "weighted"), state.pilots.waiting, state.options
    gross = math.floor(max(0, demand.gross - _answered(state, demand)) * options.weighted_activated)
    deduct = math.floor(waiting * options.weighted_pending)
    inputs = {
        "activated": demand.activated,
        "weightedactivated": gross,
        "pending": waiting,
        "weightedpending": deduct,
    }
    return Ruling(Ask(gross, deduct), f"{_told(demand, state)}, by weight {gross} and {deduct}", inputs)


def _fixed(ask: Ask, state: QueueState) -> Ruling | None:
    """Set n to the option, whatever the demand and the number so far."""
    if state.options.fixed is None:
        return None
    return Ruling(Ask(state.options.fixed), f"always {state.options.fixed} per cycle")


def _scale(ask: Ask, state: QueueState) -> Ruling:
    """Multiply what is wanted by the factor, rounded up, before waiting pilots are subtracted.

    Applied to the difference instead, every factor would end at P = A (the classic did that).
    """
    factor = state.options.scale
    scaled = Ask(math.ceil(ask.gross * factor), ask.deduct)
    return Ruling(scaled, f"{ask.gross} wanted x {factor}, minus {ask.deduct}", {"factor": str(factor)})


def _fill(ask: Ask, state: QueueState) -> Ruling:
    """Raise n to what `ready` would compute."""
    demand, waiting = _demand(state, "fill"), state.pilots.waiting
    filled = Ask(demand.gross, waiting + _answered(state, demand))
    inputs = {"activated": demand.activated, "pending": waiting, "running": state.pilots.running}
    return Ruling(max(ask, filled, key=lambda one: one.count), f"at least for {_told(demand, state)}", inputs)


def _min_per_cycle(ask: Ask, state: QueueState) -> Ruling | None:
    """Raise n to the option: an absolute number, from which nothing that waits is deducted."""
    minimum = state.options.min_per_cycle
    if minimum is None:
        return None
    raised = ask if ask.count >= minimum else Ask(minimum)
    return Ruling(raised, f"at least {minimum} per cycle", {"minpercycle": minimum})


def _min_pending(ask: Ask, state: QueueState) -> Ruling | None:
    """Raise n so that the option's number waits."""
    minimum, waiting = state.options.min_pending, state.pilots.waiting
    if minimum is None:
        return None
    raised = ask if ask.count >= minimum - waiting else Ask(minimum, waiting)
    why = f"at least {minimum} waiting, {waiting} are"
    return Ruling(raised, why, {"minpending": minimum, "pending": waiting})


def _keep_running(ask: Ask, state: QueueState) -> Ruling:
    """Fill up to the option, or to what is wanted so far; held pilots count for nothing."""
    pilots = state.pilots
    keep = ask.gross if state.options.keep_running is None else state.options.keep_running
    there = pilots.in_flight - pilots.held
    inputs = {"keep": keep, "running": pilots.running, "pending": pilots.waiting}
    return Ruling(Ask(keep, there), f"keep {keep}, {there} are there", inputs)


def _keep_pending(ask: Ask, state: QueueState) -> Ruling | None:
    """Send the option's number at a time while fewer wait, or while more jobs than pilots wait, up to the boost.

    The decision of AutoPyFactory 1, with L and S taken off the jobs.
    """
    demand, options, waiting = _demand(state, "keep_pending"), state.options, state.pilots.waiting
    batch = options.keep_pending
    if batch is None:
        return None
    jobs = max(0, demand.gross - _answered(state, demand))
    most = math.floor(batch * options.keep_pending_depth_boost)
    inputs = {"activated": demand.activated, "pending": waiting, "keep": batch, "most": most}
    if jobs:
        goes = waiting < batch or waiting < min(jobs, most)
        why = f"{_told(demand, state)}; {batch} at a time while fewer than {batch}, or than jobs and {most}, wait"
        return Ruling(Ask(batch if goes else 0), why, inputs)
    every = options.keep_pending_idle_every
    goes = waiting < batch and state.cycle % every == 0
    why = f"{_told(demand, state)}: without jobs one pilot in {every} cycles while fewer than {batch} wait"
    return Ruling(Ask(1 if goes else 0), why, inputs)


def _probe(ask: Ask, state: QueueState) -> Ruling:
    """Send one pilot per interval while nothing else asks for any."""
    every = state.options.probe
    due = ask.count == 0 and state.probe_due(every)
    return Ruling(Ask(1) if due else ask, f"one pilot every {every:.0f} s, when none is asked for and none waits")


MAKERS = (
    Rule(
        "ready",
        Kind.MAKER,
        _ready,
        frozenset({Need.DEMAND}),
        formula="n = max(0, A - `ready.offset` - P - L - S)",
        example="A = 40, P = 15, 5 pilots started since the figures were made: n = 20",
        unknown=_BLOCKED,
    ),
    Rule(
        "weighted",
        Kind.MAKER,
        _weighted,
        frozenset({Need.DEMAND}),
        formula="n = max(0, floor(max(0, A - L - S) x `weighted.activated`) - floor(P x `weighted.pending`))",
        example="`weighted.activated = 0.5`, `weighted.pending = 2`, A = 40, P = 6: n = 20 - 12 = 8",
        unknown=_BLOCKED,
    ),
    Rule(
        "fixed",
        Kind.MAKER,
        _fixed,
        option="fixed",
        formula="n = the option, whatever the demand and the number so far",
        example="`fixed = 3`: n = 3 in every cycle",
        unknown=_NO_WMS,
    ),
    Rule(
        "scale",
        Kind.MAKER,
        _scale,
        option="scale",
        formula="n = max(0, ceil(wanted x the option) - answered); after `ready` ceil(A x option) - P - L - S",
        example="`scale = 0.25` after `ready`, A = 40, P = 4: n = 10 - 4 = 6",
        unknown="as the rule before it",
    ),
    Rule(
        "fill",
        Kind.MAKER,
        _fill,
        frozenset({Need.DEMAND}),
        formula="n = max(n, A - P - L - S)",
        example="`rules = fixed, fill`, `fixed = 2`: 2 in every cycle, and for 40 jobs with 15 pilots waiting 25",
        unknown=_BLOCKED,
    ),
    Rule(
        "min_per_cycle",
        Kind.MAKER,
        _min_per_cycle,
        option="min_per_cycle",
        formula="n = max(n, the option)",
        example="`min_per_cycle = 1` after `ready`: 1 also when nothing is activated, whatever waits",
        unknown="as the rule before it",
    ),
    Rule(
        "min_pending",
        Kind.MAKER,
        _min_pending,
        option="min_pending",
        formula="n = max(n, the option - P)",
        example="`min_pending = 5` after `ready`, nothing activated, P = 2: n = 3",
        unknown=_NO_WMS,
    ),
    Rule(
        "keep_running",
        Kind.MAKER,
        _keep_running,
        option="keep_running",
        formula="n = max(0, the option - (in flight - held)); unset: what the rules before want stands for it",
        example="`keep_running = 100`, 60 run, 10 wait, 3 are held: n = 30",
        unknown=f"{_NO_WMS}; pilots in a state that nobody knows count as there",
    ),
    Rule(
        "keep_pending",
        Kind.MAKER,
        _keep_pending,
        frozenset({Need.DEMAND}),
        option="keep_pending",
        formula=(
            "J = max(0, A - L - S), N = the option. With J > 0: n = N when P < N or P < min(J, floor(N x"
            " `keep_pending.depth_boost`)), else 0. With J = 0: n = 1 when P < N and the number of the cycle, from 0,"
            " is a multiple of `keep_pending.idle_every`, else 0"
        ),
        example="`keep_pending = 10`, J = 50: 10 with P = 0, 10 more with P = 10, none with P = 20",
        unknown=_BLOCKED,
    ),
    Rule(
        "probe",
        Kind.MAKER,
        _probe,
        option="probe",
        formula="n = 1 when n = 0, P = 0 and the last submission is at least the option ago",
        example="`rules = ready, probe`, `probe = 2h`: a queue without jobs gets a pilot every 2 hours",
        unknown=_NO_WMS,
    ),
)
