"""Why the makers ask for no pilots: no jobs, none that the queue counts, pilots that answer them, or the rules."""

from collections.abc import Iterator, Sequence

from autopyfactory.config.models import QueueConfig
from autopyfactory.diagnosis.words import Cause, kind_of, of_rule, pilots_wait
from autopyfactory.explain import jobs_told, spoken_why
from autopyfactory.model import JobCount
from autopyfactory.observe import served
from autopyfactory.report import CycleReport, Step, Wanted
from autopyfactory.sched.rule import Kind

_WRONG = {"endpoint", "throttle", "empty_guard", "max_held"}
"""Rules that speak only while something is wrong: where pilots answer the jobs, these are no good pilots."""


def miscounted(report: CycleReport, steps: Sequence[Step], queue: QueueConfig | None) -> Cause | None:
    """Return that jobs wait, and none that the queue counts, where no gate stands before that."""
    others = [cell for cell in report.jobs or () if cell.activated]
    if report.activated != 0 or not others or any(kind_of(step) == Kind.GATE and step.after == 0 for step in steps):
        return None
    open_to = served(others, report.site)
    places = {cell.wmsqueue for cell in open_to}
    closed = [cell for cell in others if cell.wmsqueue not in places]
    told = "; ".join(_closed(report, closed))
    if not open_to:
        where = ", ".join(dict.fromkeys(cell.wmsqueue for cell in closed))
        return Cause("status_offline", told, f"{where} has to become online in the WMS")
    options = list(_against(open_to, queue)) or ["labels", "resource_types"]
    status = f"the site is {report.site.status}, and " if report.site and report.site.status != "online" else ""
    named = " or ".join(option.replace("_", " ") for option in options)
    text = f"{status}the jobs that wait at {report.wmsqueue} are not of its {named}: {jobs_told(open_to)} activated"
    given = ((option, getattr(queue.options, option)) for option in options) if queue else ()
    counted = " and ".join(f"{option} = {', '.join(words)}" for option, words in given if words)
    change = f"the queue counts {counted or 'others'}: correct {' or '.join(options)} if these jobs are for it"
    return Cause("miscounted", f"{text}; {told}" if told else text, change)


def no_demand(report: CycleReport, steps: Sequence[Step]) -> Cause:
    """Return why the makers asked for nothing."""
    wanted = report.wanted
    if report.activated is None or wanted is None:
        return _by_rules(report, steps)
    if not report.activated:
        text = f"no job waits at {report.wmsqueue}, 0 activated"
        return Cause("no demand", text, "users have to submit jobs there")
    there = _there(report)
    if wanted.part:
        return _answered(report, wanted, there, steps) or _by_rules(report, steps)
    if not report.siblings:
        return Cause("share", f"its share leaves it nothing: {there}", "its option share has to be raised")
    text = f"its siblings take the work: {there}, all for {', '.join(report.siblings)}"
    return Cause("siblings", text, "its weight has to be raised, or its siblings have to stop")


def _there(report: CycleReport) -> str:
    return f"{report.activated} jobs are activated at {report.wmsqueue}"


def _closed(report: CycleReport, cells: Sequence[JobCount]) -> Iterator[str]:
    """Return for each wmsqueue whose site hands out no jobs what waits there."""
    statuses = report.site.statuses if report.site else {}
    for name in dict.fromkeys(cell.wmsqueue for cell in cells):
        mine = jobs_told([cell for cell in cells if cell.wmsqueue == name])
        yield f"{name} is {statuses.get(name, 'unknown')} in the WMS: {mine} activated there"


def _against(cells: Sequence[JobCount], queue: QueueConfig | None) -> Iterator[str]:
    """Return the options by which a queue does not count jobs; a site in test gives those of some labels only."""
    if queue is None:
        return
    options = queue.options
    criteria = (
        ("labels", options.labels, [cell.label for cell in cells]),
        ("resource_types", options.resource_types, [cell.resource_type for cell in cells]),
        ("global_shares", options.global_shares, [cell.share for cell in cells]),
    )
    testing = any(cell.testing for cell in cells)
    for name, words, found in criteria:
        if (words and any(word and word not in words for word in found)) or (testing and name == "labels"):
            yield name


def _answered(report: CycleReport, wanted: Wanted, there: str, steps: Sequence[Step]) -> Cause | None:
    """Return which pilots answer the demand: those that wait, else those of siblings, or that started just now.

    None where they do not answer all of it: then a rule asks for less.
    """
    waiting = report.pilots.waiting if report.pilots else 0
    if waiting + wanted.left + wanted.surplus < wanted.part:
        return None
    by_siblings = wanted.surplus > max(wanted.left, waiting)
    wrong = next((step for step in steps if step.rule in _WRONG), None)
    if wrong and not by_siblings:
        known = of_rule(wrong)
        wait = f"; {pilots_wait(waiting)} to start" if waiting else ""
        return Cause(known.key, f"{known.text}{wait}", known.change)
    if waiting and waiting >= max(wanted.left, wanted.surplus):
        return _waiting(wanted.part, waiting, report.activated or 0, there)
    if by_siblings:
        whose = ", ".join(report.siblings) or "other queues"
        text = f"its siblings take the work: {there}, pilots of {whose} wait for {wanted.surplus} of them"
        return Cause("siblings", text, "these pilots have to start, or to be removed; they are believed for 10 minutes")
    started = f"{wanted.left} pilots have started too lately to show there"
    text = f"pilots take the jobs just now: {there} by older figures, {started}"
    return Cause("left", text, "younger figures of the WMS, which come by themselves; see first_job_after")


def _waiting(part: int, waiting: int, jobs: int, there: str) -> Cause:
    change = "pilots have to start: the batch system knows why they wait"
    if part >= jobs:
        text = f"every job has its pilot already: {there}, {pilots_wait(waiting)} to start"
        return Cause("waiting", text, change)
    mine = f"{part} pilot{' is' if part == 1 else 's are'} its part of them, {pilots_wait(waiting)} to start"
    return Cause("waiting", f"its part has its pilots already: {there}, {mine}", change)


def _by_rules(report: CycleReport, steps: Sequence[Step]) -> Cause:
    """Return the rules that made the number zero, of each resource type that counts alone its own."""
    makers = [step for step in steps if kind_of(step) == Kind.MAKER]
    kinds = dict.fromkeys(step.resource_type for step in makers)
    deciding = [_deciding([step for step in makers if step.resource_type == kind]) for kind in kinds]
    told = "; ".join(f"{step.rule}: {spoken_why(step)}" for step in deciding)
    jobs = f"; {_there(report)}" if report.activated and f"{report.activated} activated" not in told else ""
    return Cause("rules", f"its rules ask for none, {told or 'none is set'}{jobs}", "its rules have to ask for more")


def _deciding(makers: Sequence[Step]) -> Step:
    """Return the last rule that made a number zero, else the first, which asked for none."""
    return next((step for step in reversed(makers) if step.after == 0 < step.before), makers[0])
