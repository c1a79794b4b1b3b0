"""Run rules one after the other and keep each one's step."""

from collections.abc import Iterable

from autopyfactory.report import Step
from autopyfactory.sched.rule import Ask, Kind, QueueState, Rule


def run(rules: Iterable[Rule], ask: Ask, state: QueueState, resource_type: str = "") -> tuple[Ask, list[Step]]:
    """Return what the rules made of the number, and their steps.

    A limit that would raise the number does not: law 5 holds here, whatever a rule does.
    """
    steps: list[Step] = []
    for rule in rules:
        ruling = rule.apply(ask, state)
        if ruling is None:
            continue
        before = ask.count
        ask = ruling.ask
        if rule.kind is Kind.LIMIT and ask.count > before:
            ask = Ask(before)
        steps.append(Step(rule.name, before, ask.count, ruling.why, ruling.inputs, resource_type))
    return ask, steps
