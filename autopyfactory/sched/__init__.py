"""The decision: how many pilots a queue submits now, and why.

A decision has three parts. *Makers* compute a number, in the order of the queue's `rules`. Then *gates*
set it, also where there is no demand, and *limits* lower it; both act whenever their option is set,
wherever their names stand. A rule is a pure function in a row of `RULES`; it declares what it `needs`, so
that a queue is blocked only by what its own rules use. `decide()` runs the chain and keeps each step.

The number on its way is an `Ask`: what is wanted (`gross`) and what already answers it (`deduct`: pilots
that wait, or that took their job after the figures were made). The two stay apart until the makers are
through, because a factor belongs on the demand and not on the difference.
"""

from autopyfactory.report import Decision
from autopyfactory.sched.gates import GATES, downtime_of
from autopyfactory.sched.limits import LIMITS
from autopyfactory.sched.makers import MAKERS
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import Ask, Kind, Need, QueueState, Rule
from autopyfactory.sched.steps import run

RULES: dict[str, Rule] = {rule.name: rule for rule in (*MAKERS, *GATES, *LIMITS)}
"""All rules by name; gates and limits stand in the order in which they act."""


def decide(chain: tuple[Rule, ...], state: QueueState) -> Decision:
    """Run the chain and keep each rule's step. The result is never negative.

    A queue that counts each resource type alone is decided by `types.decide_by_type`.
    """
    ask, steps = run(chain, Ask(), state)
    return Decision(ask.count, tuple(steps))


def asked(decision: Decision, resource_type: str = "") -> int:
    """Return the number before any limit, of one resource type where the decision counts each alone.

    What running pilots will take is no more to be asked for.
    """
    if any(step.rule == "turnover" and step.before > step.after == 0 for step in decision.steps):
        return 0
    makers = [step for step in decision.steps if RULES[step.rule].kind is not Kind.LIMIT]
    return next((step.after for step in reversed(makers) if step.resource_type == resource_type), 0)


def surplus(decision: Decision) -> int:
    """Return how many pilots that wait are to be removed, since no job is there for them."""
    return next((int(step.inputs["retire"]) for step in decision.steps if step.rule == "retire"), 0)


def denied(decision: Decision) -> int:
    """Return how many pilots the queue wished for, and the factory's budget did not leave it."""
    return next((step.before - step.after for step in decision.steps if step.rule == "max_per_factory"), 0)


def ramp_free(decision: Decision) -> bool:
    """Tell whether pilots were asked for, and the ramp let all of them through."""
    step = next((step for step in decision.steps if step.rule == "ramp"), None)
    return step is not None and 0 < step.before == step.after


def chain(rules: tuple[str, ...], options: RuleOptions) -> tuple[Rule, ...]:
    """Return the rules of a queue in the order they act: its makers as named, then gates, then limits.

    A gate is in when its option is set, and also without it when a maker needs demand: PanDA hands out
    jobs of an offline site, so the factory is the only gate there is. A limit that needs what other queues
    can do without is in when its option is set. Raises KeyError for an unknown name; the configuration check
    comes first.
    """
    makers = tuple(RULES[name] for name in rules if RULES[name].kind is Kind.MAKER)
    demanding = Need.DEMAND in needs(makers)
    gates = tuple(rule for rule in GATES if demanding or not rule.needs or _set(rule, options))
    limits = tuple(rule for rule in LIMITS if not rule.needs or _set(rule, options))
    return makers + gates + limits


def slowed(state: QueueState) -> bool:
    """Tell whether a queue is held back by something after which it has to begin with one pilot."""
    endings, options = state.endings, state.options
    return endings.hole(options) or endings.workless(options) or downtime_of(state) is not None


def needs(rules: tuple[Rule, ...]) -> frozenset[Need]:
    """Return all that a chain needs beside the pilot counts."""
    return frozenset(need for rule in rules for need in rule.needs)


def _set(rule: Rule, options: RuleOptions) -> bool:
    return getattr(options, rule.option) is not None
