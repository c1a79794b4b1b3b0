"""Tell why a queue submits no pilots, now or at a time: the cause first, then since when, and what would change it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.diagnosis.cause import cause_of
from autopyfactory.diagnosis.standing import not_served, silent
from autopyfactory.diagnosis.words import BLOCKED, Cause
from autopyfactory.explain import details
from autopyfactory.operate import OperatorState
from autopyfactory.record.book import Record
from autopyfactory.record.paper import Recorded
from autopyfactory.times import spoken

FAR = 20_000
"""Cycles that are looked back at most, for since when it has been so."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is known. `record` a text: why there is none. `config` None: it cannot be used. `running` None: unknown.

    `operator` is what an operator wants of the queue now.
    """

    now: float
    config: Config | None
    record: Record | str
    running: bool | None
    operator: OperatorState | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The cause, the cycle that tells it, if one does, and lines between the first one and the rest."""

    cause: Cause
    cycle: Recorded | None = None
    remarks: tuple[str, ...] = ()


def find(scene: Scene, name: str, at: float | None) -> Finding:
    """Find out why a queue submits nothing now (`at` None), or did at a time."""
    return _past(scene, name, at) if at is not None else _now(scene, name)


def tell(scene: Scene, name: str, at: float | None, found: Finding) -> Iterator[str]:
    """Return the text, the cause in its first line."""
    cause, cycle = found.cause, found.cycle
    yield f"{headline(name, cause)}" if at is None else f"{_time(scene, at)}: {headline(name, cause)}"
    yield from (f"  {remark}" for remark in found.remarks)
    if cycle is not None and isinstance(scene.record, Record):
        yield from _history(scene, scene.record, name, cycle, cause)
    if cause.change:
        yield f"  what would have to change: {cause.change.replace('QUEUE', name)}"
    if cycle is not None:
        yield f"the cycle of {_time(scene, cycle.until)}:"
        yield from details(cycle.report)


def headline(name: str, cause: Cause) -> str:
    """Return the first line."""
    if cause.key == "no record":
        return f"nobody knows of {name}: {cause.text}"
    verb = "submits pilots" if cause.flows else "submits slowly" if cause.slow else "submits nothing"
    return f"{name} {verb}: {cause.text}"


def _now(scene: Scene, name: str) -> Finding:
    queue = _queue(scene, name)
    record = scene.record
    last = record.at(name, scene.now) if isinstance(record, Record) else None
    fresh = last is not None and scene.running is not False and scene.now <= last.until + silent(last.report)
    remarks = _remarks(scene, name, last)
    if last is None or not fresh:
        outside = not_served(scene.config, name) or _no_cycle(scene, last)
        return Finding(outside, None, remarks)
    if scene.operator is not None:
        return Finding(_by_operator(scene.operator), last)
    if waiting := not_served(scene.config, name):
        remarks = (*remarks, f"as soon as the factory has reloaded: {waiting.text}")
    return Finding(_rivals(scene, cause_of(last, queue), last), last, remarks)


def _by_operator(state: OperatorState) -> Cause:
    return Cause(state.action, str(state), BLOCKED[state.action])


def _no_cycle(scene: Scene, last: Recorded | None) -> Cause:
    """Return why there is no young cycle of a queue that should be served."""
    record, seen = scene.record, last.until if last else None
    newest = record.last() if isinstance(record, Record) else None
    when = f"last cycle {_time(scene, seen)}" if seen else "no cycle of this queue is on record"
    if scene.running is False:
        return Cause("not running", f"the factory is not running: {when}", "start it: 'service autopyfactory start'")
    if isinstance(record, str):
        change = "'autopyfactory plan QUEUE' does a cycle now, and the log has a line per change"
        return Cause("no record", record, change)
    if scene.operator is not None:
        return _by_operator(scene.operator)
    if newest is None or seen is None:
        change = "the first cycle comes within its interval; a section that is new needs a reload of the factory"
        return Cause("no cycle", "it has had no cycle yet", change)
    if newest > seen + 60.0:
        change = "the log tells what its thread does; a restart begins it anew"
        return Cause("hangs", f"it has had no cycle since {_time(scene, seen)}, though other queues have", change)
    change = "see whether it runs: 'service autopyfactory status', and what its log says"
    return Cause("silent", f"no queue has had a cycle since {_time(scene, seen)}: the factory is down or hangs", change)


def _remarks(scene: Scene, name: str, last: Recorded | None) -> tuple[str, ...]:
    remarks = []
    if scene.config is None:
        remarks.append("the configuration cannot be used now, 'autopyfactory check' tells why")
    if last is not None and scene.running is False:
        remarks.append(f"before that: {headline(name, cause_of(last, _queue(scene, name)))}")
    return tuple(remarks)


def _past(scene: Scene, name: str, at: float) -> Finding:
    record = scene.record
    if isinstance(record, str):
        return Finding(Cause("no record", record))
    found = record.at(name, at)
    if found is None:
        began = record.first()
        told = f"the record begins {_time(scene, began)}" if began is not None and began > at else "it had no cycle yet"
        return Finding(Cause("no record", f"nothing is recorded of it then, {told}"))
    if at <= found.until + silent(found.report):
        return Finding(_rivals(scene, cause_of(found, _queue(scene, name)), found), found)
    after = next((one.report.at for one in record.forward(name, at, float("inf")) if one.report.at > at), None)
    span = f"from {_time(scene, found.until)} to {_time(scene, after) if after else 'now'}"
    if any(other.until + silent(other.report) >= at for other in _others(record, name, at)):
        return Finding(Cause("no cycle", f"it had no cycle {span}, though other queues had: it was not served", ""))
    return Finding(Cause("not running", f"the factory was not running: no cycle of any queue {span}"))


def _history(scene: Scene, record: Record, name: str, cycle: Recorded, cause: Cause) -> Iterator[str]:
    """Return since when it has been so, and when pilots were last submitted."""
    since, sent, same, began = cycle.report.at, None, True, cycle.report.at
    queue = _queue(scene, name)
    operated = cause.key in {"pause", "drain"} and cycle.report.blocked is None
    for one in islice(record.back(name, cycle.report.at), FAR):
        apart = began > one.until + silent(one.report)
        same = same and not operated and not apart and cause_of(one, queue).key == cause.key
        since = one.report.at if same else since
        began = one.report.at
        sent = one if sent is None and one.submitted else sent
        if sent is not None and not same:
            break
    if not operated:
        interval = cycle.report.interval
        every = f"{interval / 60:g} min" if interval >= 60.0 else f"{interval:g} s"
        yield f"  so since {_time(scene, since)}; last cycle {_time(scene, cycle.until)}, one every {every}"
    if not cause.flows:
        yield f"  last pilots: {f'{sent.submitted} at {_time(scene, sent.until)}' if sent else 'none on record'}"


def _rivals(scene: Scene, cause: Cause, cycle: Recorded) -> Cause:
    """Name the queue that has most of what all queues share."""
    if cause.key != "max_per_factory" or not isinstance(scene.record, Record):
        return cause
    others = _others(scene.record, cycle.report.queue, cycle.until)
    flying = {one.report.queue: one.report.pilots.in_flight for one in others if one.report.pilots}
    if not any(flying.values()):
        return cause
    most = max(flying, key=lambda name: flying[name])
    return replace(cause, text=f"{cause.text}; {most} has {flying[most]} in flight")


def _others(record: Record, name: str, at: float) -> Iterator[Recorded]:
    found = (record.at(other, at) for other in record.queues if other != name)
    return (one for one in found if one is not None)


def _queue(scene: Scene, name: str) -> QueueConfig | None:
    return (scene.config.queues.get(name) or scene.config.disabled.get(name)) if scene.config else None


def _time(scene: Scene, at: float) -> str:
    return spoken(at, scene.now)
