"""The decision of a queue that counts each resource type alone.

Makers and gates run for each type, with its own jobs and pilots. Limits belong to the queue: they run once, on
the sum, with the pilots of all types. What they leave is dealt among the types that ask: one pilot each
while there are any, first to the type with the fewest pilots in flight, so that a small type is not
starved by a large one that never starts; the rest in proportion to what each still lacks.
"""

from collections.abc import Mapping
from fractions import Fraction

from autopyfactory.report import Decision, Step
from autopyfactory.sched.demand import deal
from autopyfactory.sched.rule import Ask, Kind, QueueState, Rule
from autopyfactory.sched.steps import run


def decide_by_type(chain: tuple[Rule, ...], whole: QueueState, types: Mapping[str, QueueState]) -> Decision:
    """Run makers and gates for each type and the limits for the whole queue; keep every step."""
    limits = tuple(rule for rule in chain if rule.kind is Kind.LIMIT)
    others = tuple(rule for rule in chain if rule.kind is not Kind.LIMIT)
    steps: list[Step] = []
    asks: dict[str, int] = {}
    for name, state in types.items():
        ask, made = run(others, Ask(), state, name)
        asks[name] = ask.count
        steps += made
    ask, made = run(limits, Ask(sum(asks.values())), whole)
    flying = {name: state.pilots.in_flight for name, state in types.items()}
    return Decision(ask.count, (*steps, *made), divide(ask.count, asks, flying))


def divide(total: int, asks: Mapping[str, int], flying: Mapping[str, int]) -> dict[str, int]:
    """Divide at most the sum of what is asked; no type gets more than it asks."""
    turn = sorted((name for name in asks if asks[name]), key=lambda name: (flying[name], -asks[name], name))
    parts = {name: int(name in turn[:total]) for name in asks}
    lacking = {name: Fraction(asks[name] - parts[name]) for name in asks}
    rest = deal(total - sum(parts.values()), lacking)
    return {name: parts[name] + rest[name] for name in asks}
