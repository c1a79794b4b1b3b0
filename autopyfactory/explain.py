"""A cycle in one line: what was done and why, in the words of the log, the page and the monitor; and in full."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from autopyfactory.model import JobCount, PilotCounts
from autopyfactory.report import CycleReport, Input, Step


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
    note = f" | {remark}" if (remark := _remark(report)) else ""
    if report.blocked is not None:
        return f"blocked: {figures(report)} | {report.blocked.reason}{note}"
    steps = report.decision.steps if report.decision else ()
    count = report.decision.count if report.decision else 0
    head = f"would submit {count}" if report.dry_run else f"submitted {report.submitted_count}"
    head += _by_type(report) + (f", retired {report.retired}" if report.retired else "")
    tail = f" | {report.error}" if report.error else ""
    return f"{head}: {figures(report)} | {reasons(steps)}{tail}{note}"


def reasons(steps: tuple[Step, ...]) -> str:
    """Return the steps that made the number: each with its result, the one that made it zero or a gate with its why.

    Of a queue that counts each resource type alone first those of each type, for example
    `SCORE ready 20, MCORE ready 7 > max_per_cycle 12`.
    """
    if not steps:
        return "no rule asked for pilots"
    kinds = dict.fromkeys(step.resource_type for step in steps if step.resource_type)
    ways = [f"{kind} {_way([step for step in steps if step.resource_type == kind])}" for kind in kinds]
    rest = [step for step in steps if not step.resource_type and (not kinds or step.after != step.before)]
    links = [", ".join(ways)] if ways else []
    return " > ".join([*links, _way(rest)] if rest else links)


def jobs_told(cells: Iterable[JobCount]) -> str:
    """Return for example `40 MCORE/managed + 3 SCORE/user`."""
    words = ((str(cell.activated), _named(cell.resource_type, cell.label, cell.share)) for cell in cells)
    return " + ".join(" ".join(filter(None, pair)) for pair in words) or "0"


def details(report: CycleReport) -> Iterator[str]:
    """Return the inputs of a cycle with age and origin, what is wrong with pilots, each rule's step; a line each."""
    for one in report.inputs:
        yield f"  {one.what:<7} {_told(report, one)} ({one.age:.0f} s old, from {one.source})"
    if remark := _remark(report):
        yield f"  {'':<7} {remark}"
    steps = report.decision.steps if report.decision else ()
    width = max((len(step.rule) for step in steps), default=0)
    for step in steps:
        yield f"  {step.rule:<{width}} {step.before:>5} -> {step.after:<5} {spoken_why(step)}"


def spoken_why(step: Step) -> str:
    """Return a step's reason, with the resource type where it spoke of one alone."""
    return f"{step.resource_type}: {step.why}" if step.resource_type else step.why


def _way(steps: Sequence[Step]) -> str:
    told = [step for place, step in enumerate(steps) if place == 0 or step.after != step.before]
    why = f" ({told[-1].why})" if steps[-1].after == 0 or "status" in told[-1].inputs else ""
    return " > ".join(f"{step.rule} {step.after}" for step in told) + why


def _by_type(report: CycleReport) -> str:
    """Return how a number is divided among resource types that count alone, for example ` (7 SCORE, 5 MCORE)`."""
    if report.decision is None or not report.decision.by_type:
        return ""
    numbers = dict(report.decision.by_type)
    if not report.dry_run:
        came = Counter({part.resource_type: len(part.cids) for part in report.submitted})
        numbers = {kind: came[kind] for kind in numbers}
    return f" ({', '.join(f'{number} {kind}' for kind, number in numbers.items())})" if any(numbers.values()) else ""


def likeness(report: CycleReport) -> str:
    """Return what two cycles that say the same have in common: the sentence without its figures."""
    return re.sub(r"\d+(\.\d+)?", "#", sentence(report).split("|", 1)[-1])


def _rare(pilots: PilotCounts) -> str:
    rare = ("unsent", "suspended", "finishing", "unknown", "ambiguous", "unseen", "awaited", "elsewhere")
    return "".join(f" {name}={getattr(pilots, name)}" for name in rare if getattr(pilots, name))


def _told(report: CycleReport, one: Input) -> str:
    if one.what == "pilots":
        if report.pilots is None:
            return "not counted"
        words = ", ".join(f"{count} {word}" for word, count in report.words.items())
        return figures(report).partition(" ")[2] + (f", at the CE {words}" if words else "")
    if one.what == "site":
        return report.site.status if report.site else ""
    of = f" activated of {report.wmsqueue}" if report.wmsqueue else " activated"
    return jobs_told(report.jobs or ()) + of


def _remark(report: CycleReport) -> str:
    return "; ".join(filter(None, (report.note, *map(str, report.stuck))))


def _named(*words: str) -> str:
    return "/".join(word for word in words if word)
