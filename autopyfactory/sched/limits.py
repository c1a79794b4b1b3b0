"""Limits: the rules that only lower a number, in the order in which they act.

n is the number so far. `endpoint` comes first, so that a CE that does not work is always the reason that is
shown, and `max_per_factory` last, so that a queue is dealt only what it can use.
"""

from autopyfactory.sched.rule import Ask, Kind, Outcome, QueueState, Rule


def _at_most(ask: Ask, most: int, why: str, **inputs: int | str) -> Outcome:
    return Outcome(Ask(min(ask.count, max(0, most))), why, inputs)


def _ramp(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to the ramp: 1 after an outage, doubled each cycle."""
    if state.ramp is None:
        return None
    return _at_most(ask, state.ramp, f"coming back from an outage, at most {state.ramp} now")


def _max_per_cycle(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to the option."""
    most = state.options.max_per_cycle
    if most is None:
        return None
    return _at_most(ask, most, f"at most {most} per cycle", maxpercycle=most)


def _max_pending(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to max(0, maximum - P); with `exempt_empty` not when P is 0, as the classic did."""
    most = state.options.max_pending
    waiting = state.pilots.waiting
    if most is None or (waiting == 0 and state.options.max_pending_exempt_empty):
        return None
    return _at_most(ask, most - waiting, f"{waiting} of at most {most} waiting", pending=waiting, maxpending=most)


def _max_held(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to one probe at a time while more pilots are held than the option allows."""
    held, most = state.pilots.held if state.held is None else state.held, state.options.max_held
    if held <= most:
        return None
    pace = f"one probe every {state.options.max_held_probe:.0f} s, when none waits"
    why = f"{held} pilots are held, more than {most}: {pace}; release or remove them"
    return _at_most(ask, 1 if state.probe_due else 0, why, held=held, maxheld=most)


def _endpoint(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to one probe at a time while the endpoint does not work; pilots that wait there are probes enough."""
    if state.trial:
        return _at_most(ask, 1, state.trial)
    if not state.trouble:
        return None
    why = f"{state.trouble}: one probe every {state.options.max_held_probe:.0f} s while none waits"
    return _at_most(ask, 1 if state.probe_due else 0, why)


def _max_pilots(ask: Ask, state: QueueState) -> Outcome:
    """Lower n to the option minus all that is in flight."""
    most, flying = state.options.max_pilots, state.pilots.in_flight
    return _at_most(ask, most - flying, f"{flying} of at most {most} in flight", inflight=flying, maxpilots=most)


def _max_per_factory(ask: Ask, state: QueueState) -> Outcome | None:
    """Lower n to this queue's part of the factory's free budget, by what the others still wish, rounded up.

    Queues decide one after the other on what is then left, so rounding up spends nothing twice; rounded
    down, or dealt by name, the few pilots that become free in a full factory would always go to the same queues.
    """
    budget = state.budget
    if budget is None:
        return None
    free = max(0, budget.free)
    others = sum(wish for queue, wish in budget.wishes.items() if queue != state.queue)
    wishes = ask.count * (1 + budget.unheard) + others
    part = ask.count if wishes <= free else -(-free * ask.count // wishes)
    why = f"{free} of {budget.maximum} left for all queues, {part} for this one"
    return _at_most(ask, part, why, free=free, maxperfactory=budget.maximum)


LIMITS = (
    Rule("endpoint", Kind.LIMIT, _endpoint),
    Rule("ramp", Kind.LIMIT, _ramp),
    Rule("max_per_cycle", Kind.LIMIT, _max_per_cycle, option="max_per_cycle"),
    Rule("max_pending", Kind.LIMIT, _max_pending, option="max_pending"),
    Rule("max_held", Kind.LIMIT, _max_held, option="max_held"),
    Rule("max_pilots", Kind.LIMIT, _max_pilots, option="max_pilots"),
    Rule("max_per_factory", Kind.LIMIT, _max_per_factory),
)
