"""A cycle in one line: what was done and why, in the words of the log, the page and the monitor."""

import re

from autopyfactory.model import CycleReport, PilotCounts, Step


def figures(report: CycleReport) -> str:
    """Return the stable `key=value` part: the same keys in the same order, `?` for what is unknown."""
    pilots = report.pilots
    activated = "?" if report.activated is None else report.activated
    if pilots is None:
        return f"activated={activated} pending=? running=? held=? in_flight=?"
    return (
        f"activated={activated} pending={pilots.waiting} running={pilots.running} "
        f"held={pilots.held} in_flight={pilots.in_flight}{_rare(pilots)}"
    )


def sentence(report: CycleReport) -> str:
    """Return the line of a cycle, without the queue's name.

    For example `submitted 12: activated=40 pending=20 running=310 ... | ready 20 > max_per_cycle 12`.
    """
    if report.blocked is not None:
        return f"blocked: {figures(report)} | {report.blocked.reason}"
    steps = report.decision.steps if report.decision else ()
    count = report.decision.count if report.decision else 0
    head = f"would submit {count}" if report.dry_run else f"submitted {report.submitted_count}"
    tail = f" | {report.error}" if report.error else ""
    return f"{head}: {figures(report)} | {reasons(steps)}{tail}"


def reasons(steps: tuple[Step, ...]) -> str:
    """Return the steps that made the number: each with its result, the one that made it zero with its why."""
    told = [step for place, step in enumerate(steps) if place == 0 or step.after != step.before]
    words = [f"{step.rule} {step.after}" for step in told]
    if not told:
        return "no rule asked for pilots"
    return " > ".join(words) + (f" ({told[-1].why})" if steps[-1].after == 0 else "")


def likeness(report: CycleReport) -> str:
    """Return what two cycles that say the same have in common: the sentence without its figures."""
    return re.sub(r"\d+(\.\d+)?", "#", sentence(report).split("|", 1)[-1])


def _rare(pilots: PilotCounts) -> str:
    rare = ("unsent", "suspended", "finishing", "unknown", "ambiguous", "unseen", "elsewhere")
    return "".join(f" {name}={getattr(pilots, name)}" for name in rare if getattr(pilots, name))
