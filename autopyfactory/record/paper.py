"""What the record keeps of a cycle, and how it is written: JSON without what is empty, ages apart from the rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from autopyfactory.model import JobCount, PilotCounts, Site
from autopyfactory.record.trace import STATUSES
from autopyfactory.report import Blocked, CycleReport, Decision, Input, Step, Stuck, Wanted


@dataclass(frozen=True, slots=True)
class Recorded:
    """A cycle as the record tells it. Until `until` all cycles of the queue saw and decided the same.

    Of what was submitted only the number is kept, and of the jobs what rules read.
    """

    report: CycleReport
    until: float
    submitted: int = 0


def paper(report: CycleReport) -> str:
    """Write all of a cycle but its queue, its time and the ages of its inputs: equal cycles give equal papers."""
    decision, blocked = report.decision, report.blocked
    found = {
        "steps": [_step(step) for step in decision.steps] if decision else None,
        "count": decision.count if decision else None,
        "by_type": (decision.by_type or None) if decision else None,
        "blocked": _filled(blocked) if blocked else None,
        "pilots": _filled(report.pilots) if report.pilots else None,
        "activated": report.activated,
        "jobs": None if report.jobs is None else [_cell(cell) for cell in report.jobs],
        "site": _site(report.site) if report.site else None,
        "from": [[one.what, one.source] for one in report.inputs],
        "submitted": report.submitted_count or None,
        "error": report.error or None,
        "note": report.note or None,
        "stuck": [[one.count, one.endpoint, one.word, round(one.since)] for one in report.stuck] or None,
        "dry_run": report.dry_run or None,
        "siblings": report.siblings or None,
        "wanted": [report.wanted.part, report.wanted.left, report.wanted.surplus] if report.wanted else None,
        "words": report.words or None,
        "wms": report.wms or None,
        "of": [report.wmsqueue, report.batchqueue, report.endpoint, report.interval],
    }
    kept = {name: value for name, value in found.items() if value is not None}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def ages(report: CycleReport) -> str:
    """Write the ages of the inputs, in whole seconds."""
    return " ".join(f"{one.age:.0f}" for one in report.inputs)


def recorded(queue: str, at: float, until: float, old: str, text: str) -> Recorded:
    """Read a cycle. Raises ValueError, KeyError or TypeError when it is no such paper."""
    found: dict[str, Any] = json.loads(text)
    wmsqueue, batchqueue, endpoint, interval = found["of"]
    status = found.get("site")
    report = CycleReport(
        queue,
        at,
        decision=_decision(found) if "steps" in found else None,
        blocked=Blocked(**found["blocked"]) if "blocked" in found else None,
        pilots=PilotCounts(**found["pilots"]) if "pilots" in found else None,
        activated=found.get("activated"),
        jobs=tuple(JobCount(*cell) for cell in found["jobs"]) if "jobs" in found else None,
        site=Site(*status) if status else None,
        inputs=tuple(
            Input(what, source, float(age)) for (what, source), age in zip(found["from"], old.split(), strict=True)
        ),
        error=found.get("error", ""),
        note=found.get("note", ""),
        dry_run=found.get("dry_run", False),
        siblings=tuple(found.get("siblings", ())),
        wanted=Wanted(*found["wanted"]) if "wanted" in found else None,
        wmsqueue=wmsqueue,
        batchqueue=batchqueue,
        endpoint=endpoint,
        interval=interval,
        words=found.get("words", {}),
        stuck=tuple(Stuck(*one) for one in found.get("stuck", ())),
        wms=found.get("wms", ""),
    )
    return Recorded(report, until, found.get("submitted", 0))


def _filled(value: Blocked | PilotCounts) -> Mapping[str, object]:
    """Return the fields of a dataclass that say something."""
    given = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: found for name, found in given if found}


def _decision(found: Mapping[str, Any]) -> Decision:
    return Decision(found["count"], tuple(Step(*step) for step in found["steps"]), found.get("by_type", {}))


def _step(step: Step) -> list[object]:
    more: list[object] = [dict(step.inputs), step.resource_type] if step.resource_type else [dict(step.inputs)]
    return [step.rule, step.before, step.after, step.why, *(more if any(more) else [])]


def _cell(cell: JobCount) -> list[object]:
    counts = {name: cell.by_status[name] for name in STATUSES if name in cell.by_status}
    more = (cell.wmsqueue, cell.testing, cell.cores, cell.share)
    last = max((place for place, value in enumerate(more, 1) if value), default=0)
    return [cell.resource_type, cell.label, counts, *more[:last]]


def _site(site: Site) -> list[object]:
    return [site.status, site.cores, *([dict(site.statuses)] if site.statuses else [])]
