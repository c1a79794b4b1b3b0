"""The one true cause in a recorded cycle, and what would have to change."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopyfactory.config.models import QueueConfig
from autopyfactory.errors import NO_ANSWER
from autopyfactory.model import Blocked, CycleReport, Step, Wanted
from autopyfactory.record.paper import Recorded
from autopyfactory.sched import RULES
from autopyfactory.sched.rule import Kind

SUBMITS = "submits"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why pilots come, come slowly or do not come. Cycles with the same `key` have the same cause.

    `text` follows the colon of the first line, `change` says what would have to change, "" where nothing has to.
    `slow`: pilots come, fewer than are wanted.
    """

    key: str
    text: str
    change: str = ""
    slow: bool = False

    @property
    def flows(self) -> bool:
        """Tell whether pilots come as they are wanted."""
        return self.key == SUBMITS


_AFTER = "the queue then begins with one pilot and doubles"

BLOCKED = {
    "pause": "somebody has to resume it: 'autopyfactory resume QUEUE'",
    "drain": "somebody has to resume it: 'autopyfactory resume QUEUE'",
    "twin": "stop one of the two factories, then restart the other",
    "downtime": "mend the file of downtimes, or forget them all: 'autopyfactory downtime --all --cancel'",
    "disk": "make room there, or lower [factory] min_free",
    "pilots": f"the batch system has to answer again; {_AFTER}",
    "hidden": "the batch system has to show these pilots or their end; look there for them by their tags",
    "demand": f"the WMS has to answer with figures that are young enough; {_AFTER}",
    "site status": "the WMS's site table has to be there again, or the queue must not use it",
    "status": "the status has to be mended in the WMS",
    "wmsqueue": "correct the option wmsqueue and reload, or have the queue made in the WMS",
    "wms": "name a wms in the queue's section, or use rules that need no demand",
    "credential": "put a good credential in its place; it is looked at in every cycle",
    "part": "the log of the factory's start or reload tells what cannot be built; mend it and reload",
    "bug": "the log has the whole trace; please report it",
}
"""What would have to change, by the kind of obstacle."""

RULES_SAID = {
    "max_pending": ("the cap max_pending is reached", "pilots have to start, or max_pending has to be raised"),
    "max_pilots": ("the cap max_pilots is reached", "pilots have to end, or max_pilots has to be raised"),
    "max_per_cycle": ("max_per_cycle allows none", "max_per_cycle has to be raised"),
    "max_per_factory": (
        "the factory's limit max_per_factory is used up",
        "pilots of other queues have to end, or [factory] max_per_factory has to be raised",
    ),
    "max_held": ("too many pilots are held", "release or remove the held pilots; their hold reasons say what is wrong"),
    "endpoint": (
        "the endpoint does not work",
        "the endpoint has to work again: probes go there until one gets through",
    ),
    "ramp": ("it comes back slowly", "nothing: it doubles with each cycle until it is at full speed"),
    "max_submit_rate": ("its source is busy", "the next cycle gets a turn, or max_submit_rate has to be raised"),
    "throttle": (
        "a black hole swallows its pilots",
        "pilots have to live longer there: look into the output of the last",
    ),
    "empty_guard": (
        "its pilots find no work",
        "the WMS has to give work to its pilots: look into the output of the last",
    ),
    "downtime": (
        "there is a downtime",
        "the downtime has to end, or 'autopyfactory downtime QUEUE --cancel' takes it back",
    ),
    "transferring_limit": ("too many jobs are transferring", "their outputs have to arrive"),
    "turnover": ("running pilots will take the jobs", "nothing: they take them by themselves"),
    "status_test": ("", "the site has to become online in the WMS, or status_test has to be raised"),
    "status_offline": ("", "the site has to become online in the WMS, or status_offline has to be raised"),
}
"""What a rule that lowers a number means in plain words, and what would have to change."""

_HOLDING_BACK = {"endpoint", "ramp", "max_held", "throttle", "empty_guard", "downtime", "status_test"}
_USUAL = {"max_per_cycle", "turnover"}


def cause_of(found: Recorded, queue: QueueConfig | None = None) -> Cause:
    """Return the cause; the queue's configuration, as far as there is one, only helps to put it into words."""
    report = found.report
    if report.blocked is not None:
        return _blocked(report.blocked)
    steps = report.decision.steps if report.decision else ()
    count = report.decision.count if report.decision else 0
    if report.error and count:
        return _failed(report.error, count, found.submitted)
    if lack := _miscounted(report, steps, queue):
        return Cause(lack.key, lack.text, lack.change, slow=count > 0)
    if count:
        return _submits(found, steps, count)
    culprit = _culprit(steps)
    return _of_rule(culprit) if culprit else _no_demand(report, steps)


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
        known = _of_rule(lowering[-1])
        return Cause(known.key, f"{known.text}, {count} instead of {lowering[-1].before}", known.change, slow=True)
    if not found.submitted:
        return Cause(
            "interrupted", f"{count} were decided on, and the submission was not begun", "the next cycle tries again"
        )
    last = next((step for step in reversed(steps) if step.after < step.before), None)
    more = f", {last.rule} lowered {last.before} to {last.after}" if last else ""
    return Cause(SUBMITS, f"{found.submitted} in this cycle{more}")


def _holds_back(step: Step) -> bool:
    """Tell whether a rule does more than to spread pilots over some cycles: something is wrong, or most of them go."""
    most = step.after * 2 < step.before and step.rule not in _USUAL and _kind(step) != Kind.MAKER
    return most or (step.rule in _HOLDING_BACK and step.after < step.before)


def _culprit(steps: Sequence[Step]) -> Step | None:
    """Return the rule that made the number zero: a gate that says so, whatever the demand; else who lowered it."""
    gates = [step for step in steps if step.after == 0 and _kind(step) == Kind.GATE]
    lowered = [step for step in steps if step.after == 0 < step.before and _kind(step) != Kind.MAKER]
    return next(iter([*gates, *lowered]), None)


def _kind(step: Step) -> Kind:
    return RULES[step.rule].kind if step.rule in RULES else Kind.LIMIT


def _of_rule(step: Step) -> Cause:
    said, change = RULES_SAID.get(step.rule, (step.rule, f"what the rule {step.rule} looks at has to change"))
    return Cause(step.rule, f"{said}: {step.why}" if said else f"{step.why} in the WMS", change)


def _miscounted(report: CycleReport, steps: Sequence[Step], queue: QueueConfig | None) -> Cause | None:
    """Return that jobs wait, and none that the queue counts, where no gate stands before that."""
    others = [cell for cell in report.jobs or () if cell.activated]
    if report.activated != 0 or not others or any(_kind(step) == Kind.GATE and step.after == 0 for step in steps):
        return None
    kinds = " + ".join(
        f"{cell.activated} {'/'.join(filter(None, (cell.resource_type, cell.label)))}" for cell in others
    )
    given = (("labels", queue.options.labels), ("resource_types", queue.options.resource_types)) if queue else ()
    counted = " and ".join(f"{name} = {', '.join(words)}" for name, words in given if words)
    status = f"the site is {report.site.status}, and " if report.site and report.site.status != "online" else ""
    text = f"{status}the jobs that wait at {report.wmsqueue} are not of its labels or resource types: {kinds} activated"
    change = f"the queue counts {counted or 'others'}: correct labels or resource_types if these jobs are for it"
    return Cause("miscounted", text, change)


def _no_demand(report: CycleReport, steps: Sequence[Step]) -> Cause:
    """Return why the makers asked for nothing."""
    if report.activated is None or report.wanted is None:
        return _by_rules(steps)
    if not report.activated:
        text = f"no job waits at {report.wmsqueue}, 0 activated"
        return Cause("no demand", text, "users have to submit jobs there")
    there = f"{report.activated} jobs are activated at {report.wmsqueue}"
    if report.wanted.part:
        return _answered(report, report.wanted, there, steps) or _by_rules(steps)
    if not report.siblings:
        return Cause("share", f"its share leaves it nothing: {there}", "its option share has to be raised")
    text = f"its siblings take the work: {there}, all for {', '.join(report.siblings)}"
    return Cause("siblings", text, "its weight has to be raised, or its siblings have to stop")


def _answered(report: CycleReport, wanted: Wanted, there: str, steps: Sequence[Step]) -> Cause | None:
    """Return which pilots answer the demand: those that wait, else those of siblings, or that started just now."""
    waiting = report.pilots.waiting if report.pilots else 0
    if waiting and waiting >= max(wanted.left, wanted.surplus):
        wait = f"{waiting} pilot{'s' if waiting > 1 else ''} wait{'s' if waiting == 1 else ''}"
        if trouble := next((str(word) for step in steps if (word := step.inputs.get("trouble"))), ""):
            said, change = RULES_SAID["endpoint"]
            return Cause("endpoint", f"{said}: {trouble}, {wait} there to start", change)
        text = f"every job has its pilot already: {there}, {wait} to start"
        return Cause("waiting", text, "pilots have to start: the batch system knows why they wait")
    if wanted.surplus > wanted.left:
        whose = ", ".join(report.siblings) or "other queues"
        text = f"its siblings take the work: {there}, pilots of {whose} wait for {wanted.surplus} of them"
        return Cause("siblings", text, "these pilots have to start, or to be removed; they are believed for 10 minutes")
    if not wanted.left:
        return None
    started = f"{wanted.left} pilots have started too lately to show there"
    text = f"pilots take the jobs just now: {there} by older figures, {started}"
    return Cause("left", text, "younger figures of the WMS, which come by themselves; see first_job_after")


def _by_rules(steps: Sequence[Step]) -> Cause:
    told = "; ".join(f"{step.rule}: {step.why}" for step in steps if _kind(step) == Kind.MAKER)
    return Cause("rules", f"its rules ask for none ({told or 'none is set'})", "its rules have to ask for more")
