"""Makers: the rules that compute a number of pilots, in the order of the queue's `rules`.

Formulas: A activated jobs that are this queue's part, in pilots; P pilots that wait; L pilots that left
pending after the time the figures speak of; n the number so far.
"""

import math

from autopyfactory.sched.rule import Ask, Kind, Need, Outcome, QueueState, Rule


def _ready(ask: Ask, state: QueueState) -> Outcome:
    """Compute n = max(0, A - offset - P - L - what siblings' surplus pilots will take)."""
    demand = state.demand
    if demand is None:
        raise LookupError("the rule ready needs demand")
    waiting, offset = state.pilots.waiting, state.options.ready_offset
    result = Ask(max(0, demand.gross - offset), waiting + state.left + demand.surplus)
    parts = [f"{demand.activated} activated"]
    if demand.testing:
        parts.append(f"the site is in test and gives ordinary pilots jobs of label {' or '.join(demand.testing)} only")
    if demand.gross != demand.activated:
        parts.append(f"{demand.gross} pilots are this queue's part")
    if offset:
        parts.append(f"{offset} left to others")
    parts.append(f"{waiting} waiting")
    if state.left:
        parts.append(f"{state.left} started or gone since the figures were made")
    if demand.surplus:
        parts.append(f"{demand.surplus} answered by siblings' pilots")
    inputs = {"activated": demand.activated, "offset": offset, "pending": waiting}
    return Outcome(result, ", ".join(parts), inputs)


def _fixed(ask: Ask, state: QueueState) -> Outcome | None:
    """Set n to the option, whatever the demand and the number so far."""
    if state.options.fixed is None:
        return None
    return Outcome(Ask(state.options.fixed), f"always {state.options.fixed} per cycle")


def _scale(ask: Ask, state: QueueState) -> Outcome:
    """Multiply what is wanted by the factor, rounded up, before waiting pilots are subtracted.

    Applied to the difference instead, every factor would end at P = A (the classic did that).
    """
    factor = state.options.scale
    scaled = Ask(math.ceil(ask.gross * factor), ask.deduct)
    return Outcome(scaled, f"{ask.gross} wanted x {factor}, minus {ask.deduct}", {"factor": str(factor)})


def _min_per_cycle(ask: Ask, state: QueueState) -> Outcome | None:
    """Raise n to the option: an absolute number, from which nothing that waits is deducted."""
    minimum = state.options.min_per_cycle
    if minimum is None:
        return None
    if ask.count >= minimum:
        return Outcome(ask, f"at least {minimum} per cycle", {"minpercycle": minimum})
    return Outcome(Ask(minimum), f"at least {minimum} per cycle", {"minpercycle": minimum})


MAKERS = (
    Rule("ready", Kind.MAKER, _ready, frozenset({Need.DEMAND})),
    Rule("fixed", Kind.MAKER, _fixed, option="fixed"),
    Rule("scale", Kind.MAKER, _scale, option="scale"),
    Rule("min_per_cycle", Kind.MAKER, _min_per_cycle, option="min_per_cycle"),
)
