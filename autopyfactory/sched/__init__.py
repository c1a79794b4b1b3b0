"""The decision: how many pilots a queue submits now, and why.

A decision has three parts. *Makers* compute a number, in the order of the queue's `rules`. Then *gates*
set it, also where there is no demand, and *limits* lower it; both act whenever their option is set,
wherever their names stand. A rule is a pure function in a row of `RULES`; it declares what it `needs`, so
that a queue is blocked only by what its own rules use. `decide()` runs the chain and keeps each step.

The number on its way is an `Ask`: what is wanted (`gross`) and what already answers it (`deduct`: pilots
that wait, or that took their job after the figures were made). The two stay apart until the makers are
through, because a factor belongs on the demand and not on the difference.
"""

from autopyfactory.model import Decision, Step
from autopyfactory.sched.gates import GATES
from autopyfactory.sched.limits import LIMITS
from autopyfactory.sched.makers import MAKERS
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import Ask, Kind, Need, QueueState, Rule

RULES: dict[str, Rule] = {rule.name: rule for rule in (*MAKERS, *GATES, *LIMITS)}
"""All rules by name; gates and limits stand in the order in which they act."""


def decide(chain: tuple[Rule, ...], state: QueueState) -> Decision:
    """Run the chain and keep each rule's step. The result is never negative.

    A limit that would raise the number does not: law 5 holds here, whatever a rule does.
    """
    ask = Ask()
    steps: list[Step] = []
    for rule in chain:
        outcome = rule.apply(ask, state)
        if outcome is None:
            continue
        before = ask.count
        ask = outcome.ask
        if rule.kind is Kind.LIMIT and ask.count > before:
            ask = Ask(before)
        steps.append(Step(rule.name, before, ask.count, outcome.why, outcome.inputs))
    return Decision(ask.count, tuple(steps))


def chain(rules: tuple[str, ...], options: RuleOptions) -> tuple[Rule, ...]:
    """Return the rules of a queue in the order they act: its makers as named, then gates, then limits.

    A gate is in when its option is set, and also without it when a maker needs demand: PanDA hands out
    jobs of an offline site, so the factory is the only gate there is. A limit that needs what other queues
    can do without is in when its option is set. Raises KeyError for an unknown name; the configuration check
    comes first.
    """
    makers = tuple(RULES[name] for name in rules if RULES[name].kind is Kind.MAKER)
    demanding = Need.DEMAND in needs(makers)
    gates = tuple(rule for rule in GATES if demanding or _set(rule, options))
    limits = tuple(rule for rule in LIMITS if not rule.needs or _set(rule, options))
    return makers + gates + limits


def slowed(state: QueueState) -> bool:
    """Tell whether a queue is held back by something after which it has to begin with one pilot."""
    return state.record.hole(state.options) or state.record.idle(state.options)


def needs(rules: tuple[Rule, ...]) -> frozenset[Need]:
    """Return all that a chain needs beside the pilot counts."""
    return frozenset(need for rule in rules for need in rule.needs)


def _set(rule: Rule, options: RuleOptions) -> bool:
    return getattr(options, rule.option) is not None
