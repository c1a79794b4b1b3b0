"""The one true cause in a recorded cycle, and what would have to change."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from autopyfactory.config.models import QueueConfig
from autopyfactory.diagnosis.unasked import miscounted, no_demand
from autopyfactory.diagnosis.words import BLOCKED, SUBMITS, Cause, kind_of, of_rule
from autopyfactory.errors import NO_ANSWER
from autopyfactory.record.paper import Recorded
from autopyfactory.report import Blocked, CycleReport, Step, Stuck
from autopyfactory.sched.rule import Kind

_HOLDING_BACK = {"endpoint", "ramp", "max_held", "throttle", "empty_guard", "downtime", "status_test"}
_USUAL = {"max_per_cycle", "turnover"}
_REMEDIES = {
    "unreachable": (
        "{names} has to work again, or these pilots have to go: 'autopyfactory kill QUEUE{options} --state unsent"
        " --state pending' removes those that wait there, max_pending_age the oldest by and by"
    ),
    "silent": "{names} is full or hangs: pilots have to start there",
}


def cause_of(found: Recorded, queue: QueueConfig | None = None) -> Cause:
    """Return the cause; the queue's configuration, as far as there is one, only helps to put it into words."""
    return _with_held(_with_stuck(_cause(found, queue), found.report), found.report)


def _cause(found: Recorded, queue: QueueConfig | None) -> Cause:
    report = found.report
    if report.blocked is not None:
        return _blocked(report.blocked)
    steps = report.decision.steps if report.decision else ()
    count = report.decision.count if report.decision else 0
    if report.error and count:
        return _failed(report.error, count, found.submitted)
    if lack := miscounted(report, steps, queue):
        return Cause(lack.key, lack.text, lack.change, slow=count > 0)
    if count:
        return _submits(found, steps, count)
    culprit = _culprit(steps)
    return of_rule(culprit) if culprit else no_demand(report, steps)


def _blocked(blocked: Blocked) -> Cause:
    key = blocked.cause or "blocked"
    return Cause(key, blocked.reason, BLOCKED.get(key, "what the first line says has to be mended"))


def _failed(error: str, count: int, took: int) -> Cause:
    """Return what a submission that failed left behind, which may be a part of it, or nobody knows what."""
    change = "the batch system has to take pilots again; the queue tries one in each cycle"
    if took:
        return Cause("error", f"the batch system took {took} of {count} pilots, {error}", change, slow=True)
    if error.startswith(NO_ANSWER):
        return Cause("error", f"the batch system did not say whether it took {count} pilots, {error}", change)
    return Cause("error", f"the batch system took no pilots, {error}", change)


def _submits(found: Recorded, steps: Sequence[Step], count: int) -> Cause:
    if found.report.dry_run:
        text = f"the factory runs with --dry-run, {count} would be submitted"
        return Cause("dry run", text, "start the factory without --dry-run")
    lowering = [step for step in steps if _holds_back(step)]
    if lowering:
        known = of_rule(lowering[-1])
        return Cause(known.key, f"{known.text}, {count} instead of {lowering[-1].before}", known.change, slow=True)
    if not found.submitted:
        return Cause(
            "interrupted", f"{count} were decided on, and the submission was not begun", "the next cycle tries again"
        )
    last = next((step for step in reversed(steps) if step.after < step.before), None)
    more = f", {last.rule} lowered {last.before} to {last.after}" if last else ""
    return Cause(SUBMITS, f"{found.submitted} in this cycle{more}")


def _holds_back(step: Step) -> bool:
    """Tell whether a rule does more than to spread pilots over some cycles: something is wrong, or most of them go.

    Not where one endpoint is tried again: the others get the rest.
    """
    if step.rule == "endpoint" and "trouble" not in step.inputs:
        return False
    most = step.after * 2 < step.before and step.rule not in _USUAL and kind_of(step) != Kind.MAKER
    return most or (step.rule in _HOLDING_BACK and step.after < step.before)


def _culprit(steps: Sequence[Step]) -> Step | None:
    """Return the rule that made the number zero: a gate that says so, whatever the demand; else who lowered it."""
    gates = [step for step in steps if step.after == 0 and kind_of(step) == Kind.GATE]
    lowered = [step for step in steps if step.after == 0 < step.before and kind_of(step) != Kind.MAKER]
    return next(iter([*gates, *lowered]), None)


def _with_stuck(cause: Cause, report: CycleReport) -> Cause:
    """Name pilots that wait at endpoints in trouble where waiting ones are the cause; first if they are most of it."""
    pilots, stuck = report.pilots, sum(one.count for one in report.stuck)
    if not stuck or pilots is None or not _of_waiting(cause, report):
        return cause
    where = ", and at ".join(one.place for one in report.stuck)
    text = f"{stuck} of its {pilots.waiting} waiting pilots wait at {where}"
    if 2 * stuck < (pilots.in_flight if cause.key == "max_pilots" else pilots.waiting):
        return replace(cause, text=f"{cause.text}; {text}", change="; ".join([cause.change, *_remedies(report.stuck)]))
    return Cause("stuck", f"{text}; {cause.text}", "; ".join(_remedies(report.stuck)), cause.slow)


def _remedies(stuck: Sequence[Stuck]) -> Iterator[str]:
    """Return what has to change for pilots that wait at endpoints in trouble; a full one looks silent too."""
    for word in dict.fromkeys(one.word for one in stuck):
        endpoints = dict.fromkeys(one.endpoint for one in stuck if one.word == word)
        options = "".join(f" --endpoint {name}" for name in endpoints if name)
        names = ", ".join(name or "its source" for name in endpoints)
        yield _REMEDIES.get(word, "{names} has to work again").format(names=names, options=options)


def _of_waiting(cause: Cause, report: CycleReport) -> bool:
    """Tell whether a cause consists in pilots that wait."""
    if cause.key == "rules" and report.decision:
        return any(kind_of(step) == Kind.MAKER and "pending" in step.inputs for step in report.decision.steps)
    return cause.key in {"waiting", "max_pending", "max_pilots"}


def _with_held(cause: Cause, report: CycleReport) -> Cause:
    """Add why pilots are held, where that is the cause."""
    return replace(cause, text=f"{cause.text}; {report.note}") if cause.key == "max_held" and report.note else cause
