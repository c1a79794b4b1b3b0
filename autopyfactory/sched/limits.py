"""Limits: the rules that only lower a number, in the order in which they act.

n is the number so far. `endpoint` comes first, so that a CE that does not work is always the reason that is
shown, and `max_per_factory` last, so that a queue is dealt only what it can use.
"""

import math

from autopyfactory.sched.rule import Ask, Kind, Need, QueueState, Rule, Ruling


def _at_most(ask: Ask, most: int, why: str, **inputs: int | str) -> Ruling:
    return Ruling(Ask(min(ask.count, max(0, most))), why, inputs)


def _turnover(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n by the jobs that running pilots will have taken before new ones could."""
    job, ahead, running = state.options.turnover, state.options.turnover_ahead, state.pilots.running
    if job is None:
        return None
    taken = math.floor(running * ahead / job)
    why = f"{running} running pilots of {job:.0f} s a job take {taken} in {ahead:.0f} s"
    return _at_most(ask, ask.count - taken, why, running=running, taken=taken)


def _throttle(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to one probe at a time while the endpoint swallows pilots."""
    options, faults = state.options, state.endings.faults
    if not state.endings.hole(options):
        return None
    pace = options.throttle_probe
    why = (
        f"black hole, {faults.count} of {faults.judged} pilots lived less than {options.throttle_shorter_than:.0f} s:"
        f" one probe every {pace:.0f} s, when none waits"
    )
    if state.endings.node:
        why += f"; {state.endings.node_faults} of them on {state.endings.node}"
    return _at_most(ask, 1 if state.probe_due(pace) else 0, why, short=faults.count, total=faults.judged)


def _empty_guard(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to one probe at a time while pilots find no work."""
    options, empty = state.options, state.endings.empty
    if not state.endings.workless(options):
        return None
    pace = options.empty_guard_probe
    why = f"{empty.count} of {empty.judged} pilots found no work: one probe every {pace:.0f} s, when none waits"
    return _at_most(ask, 1 if state.probe_due(pace) else 0, why, empty=empty.count, total=empty.judged)


def _ramp(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to the ramp: 1 after an outage or what held the queue back, doubled each cycle."""
    if state.ramp is None:
        return None
    return _at_most(ask, state.ramp, f"beginning again slowly, at most {state.ramp} now")


def _transferring(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to 0 while the outputs of so many jobs are on their way: a backlog has to clear first."""
    most, jobs = state.options.transferring_limit, state.transferring
    if most is None:
        return None
    if jobs is None:
        raise LookupError("the rule transferring_limit needs demand")
    why = f"{jobs} jobs are transferring, {most} stop the queue"
    return _at_most(ask, 0 if jobs >= most else ask.count, why, transferring=jobs, transferringlimit=most)


def _max_per_cycle(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to the option."""
    most = state.options.max_per_cycle
    if most is None:
        return None
    return _at_most(ask, most, f"at most {most} per cycle", maxpercycle=most)


def _max_pending(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to max(0, maximum - P); with `exempt_empty` not when P is 0, as the classic did."""
    most = state.options.max_pending
    waiting = state.pilots.waiting
    if most is None or (waiting == 0 and state.options.max_pending_exempt_empty):
        return None
    return _at_most(ask, most - waiting, f"{waiting} of at most {most} waiting", pending=waiting, maxpending=most)


def _max_held(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to one probe at a time while more pilots are held than the option allows."""
    held, most = state.pilots.held if state.held is None else state.held, state.options.max_held
    if held <= most:
        return None
    pace = f"one probe every {state.options.max_held_probe:.0f} s, when none waits"
    why = f"{held} pilots are held, more than {most}: {pace}; release or remove them"
    due = state.probe_due(state.options.max_held_probe)
    return _at_most(ask, 1 if due else 0, why, held=held, maxheld=most)


def _endpoint(ask: Ask, state: QueueState) -> Ruling | None:
    """Lower n to one probe at a time while the endpoint does not work; pilots that wait there are probes enough."""
    if state.trial:
        return _at_most(ask, 1, state.trial) if ask.count > 1 else None
    if not state.trouble:
        return None
    pace = state.options.max_held_probe
    why = f"{state.trouble}: one probe every {pace:.0f} s while none waits"
    return _at_most(ask, 1 if state.probe_due(pace) else 0, why, trouble=state.trouble)


def _max_pilots(ask: Ask, state: QueueState) -> Ruling:
    """Lower n to the option minus all that is in flight."""
    most, flying = state.options.max_pilots, state.pilots.in_flight
    return _at_most(ask, most - flying, f"{flying} of at most {most} in flight", inflight=flying, maxpilots=most)


def _max_per_factory(ask: Ask, state: QueueState) -> Ruling | None:
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


def _retire(ask: Ask, state: QueueState) -> Ruling | None:
    """Say how many of the waiting pilots are too many, since no job is there for them; the number stays."""
    spare, options, pilots = state.options.retire, state.options, state.pilots
    if spare is None:
        return None
    if state.demand is None:
        raise LookupError("the rule retire needs demand")
    floors = (options.min_pending, options.keep_pending, options.keep_running)
    wanted = max(state.demand.activated, state.demand.gross, *(floor or 0 for floor in floors))
    there = pilots.unsent + pilots.pending
    surplus = there - wanted - spare
    if ask.count or surplus <= 0:
        return None
    return Ruling(ask, f"{there} wait for {wanted} jobs, {surplus} are too many", {"retire": surplus})


LIMITS = (
    Rule(
        "endpoint",
        Kind.LIMIT,
        _endpoint,
        formula=(
            "at a CE in trouble n = min(n, 1) when P = 0 and the last submission is at least `max_held.probe` ago, else"
            " 0; n = min(n, 1) where one of several endpoints refused or holds pilots and is tried again"
        ),
        example="a CE is unreachable: one pilot every 10 minutes goes there, and none while one waits for it",
        unknown="an endpoint of which nothing bad is known works",
    ),
    Rule(
        "turnover",
        Kind.LIMIT,
        _turnover,
        option="turnover",
        formula="n = max(0, n - floor(running pilots x `turnover.ahead` / the option))",
        example="`turnover = 2h`, `turnover.ahead = 10m`, 120 run: 10 fewer, for those take 10 jobs in 10 minutes",
        unknown="pilots that are not known to run take nothing",
    ),
    Rule(
        "throttle",
        Kind.LIMIT,
        _throttle,
        option="throttle",
        formula=(
            "n = min(n, 1) when P = 0 and the last submission is at least `throttle.probe` ago, else 0, while the last"
            " 5 pilots of the queue at the endpoint, or more than the option's share of at least 20 in"
            " `throttle.window`, are faults: they lived less than `throttle.shorter_than`, and neither an exit code of"
            " `empty_guard.no_work` nor a removal explains it. Not when one node has over 80 % of the faults and others"
            " work: it is named in the log. Afterwards, or when the last 5 are none, the queue begins slowly"
        ),
        example="`throttle = 0.5`, 15 of 25 pilots failed within 3 minutes: one probe every 10 minutes",
        unknown=(
            "a pilot whose run time is unknown, or a short one without exit code, is not judged; after a"
            " start nothing is known, so nothing is throttled until pilots end"
        ),
    ),
    Rule(
        "empty_guard",
        Kind.LIMIT,
        _empty_guard,
        option="empty_guard",
        formula=(
            "n = min(n, 1) when P = 0 and the last submission is at least `empty_guard.probe` ago, else 0, while the"
            " last 5 pilots there, or more than the option's share of at least 20 in `empty_guard.window`, found no"
            " work: they ended with an exit code of `empty_guard.no_work` within `empty_guard.shorter_than`. Not when"
            " the newest one worked; then the queue begins slowly"
        ),
        example="`empty_guard = 0.8`, 40 jobs wait, and PanDA gave none to the last 5 pilots: one every 2 minutes",
        unknown="as for `throttle`",
    ),
    Rule(
        "ramp",
        Kind.LIMIT,
        _ramp,
        formula=(
            "n = min(n, r); r is 1 after an outage, a downtime, `throttle` or `empty_guard`, and doubles with each"
            " submission until it lowers nothing"
        ),
        example="PanDA is back, 50 jobs wait: 1, 2, 4, 8, 16 pilots, then what is left",
    ),
    Rule(
        "transferring_limit",
        Kind.LIMIT,
        _transferring,
        frozenset({Need.DEMAND}),
        option="transferring_limit",
        formula="n = 0 while at least so many jobs that this queue counts are in the state transferring",
        example="`transferring_limit = 3000`, 3100 transferring: 0 until the backlog has cleared",
        unknown="blocked while the WMS's figures are unknown",
    ),
    Rule(
        "max_per_cycle",
        Kind.LIMIT,
        _max_per_cycle,
        option="max_per_cycle",
        formula="n = min(n, the option)",
        example="`max_per_cycle = 50`, n = 80: 50",
    ),
    Rule(
        "max_pending",
        Kind.LIMIT,
        _max_pending,
        option="max_pending",
        formula="n = min(n, max(0, the option - P)); with `max_pending.exempt_empty` not while P = 0",
        example="`max_pending = 100`, P = 90, n = 80: 10",
        unknown="pilots of a submission without an answer, or accepted since the last poll, count as waiting",
    ),
    Rule(
        "max_held",
        Kind.LIMIT,
        _max_held,
        option="max_held",
        formula=(
            "with more held pilots than the option: n = min(n, 1) when P = 0 and the last submission is at least"
            " `max_held.probe` ago, else 0"
        ),
        example="11 pilots are held: one probe every 10 minutes until they are released or removed",
    ),
    Rule(
        "max_pilots",
        Kind.LIMIT,
        _max_pilots,
        option="max_pilots",
        formula="n = min(n, max(0, the option - in flight))",
        example="`max_pilots = 800`, 700 run, 60 wait, 20 are held: 20",
        unknown="pilots in a state that nobody knows, or of a submission without an answer, are in flight",
    ),
    Rule(
        "max_per_factory",
        Kind.LIMIT,
        _max_per_factory,
        formula="n = min(n, ceil(F x n / W)): F is left of `[factory] max_per_factory`, W is what all queues wish now",
        example="60 are left, this queue wishes 50 and others 50: 30",
        unknown=(
            "a source that gives no answer counts as its last one, or as the submissions on record; a queue that had"
            " no cycle yet is taken to wish as much as this one"
        ),
    ),
    Rule(
        "retire",
        Kind.LIMIT,
        _retire,
        frozenset({Need.DEMAND}),
        option="retire",
        formula=(
            "with n = 0: of the pilots that have waited for `retire.after` P - max(J, `min_pending`, `keep_pending`,"
            " `keep_running`) - the option are removed, the newest first; J are all activated jobs that the queue"
            " counts, also those that siblings may take. A queue that counts each resource type alone removes none"
        ),
        example="`retire = 10`, 60 pilots wait, a task with 50 jobs is cancelled and 5 are left: 45 are removed",
        unknown=(
            "nothing is removed; pilots of a submission without an answer, or accepted since the last poll, do not"
            " count, and one whose time of submission is unknown stays"
        ),
    ),
)
