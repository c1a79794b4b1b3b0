"""The demand that the record saw, as a trace."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from autopyfactory.config.fields import words
from autopyfactory.model import JobCount
from autopyfactory.record.book import Record
from autopyfactory.record.paper import Recorded
from autopyfactory.record.trace import Demand, merged
from autopyfactory.report import CycleReport


def trace(record: Record, queues: Iterable[str], first: float, last: float) -> Iterator[Demand]:
    """Return the demand of these queues' wmsqueues in a span of time, a line where the figures change.

    Queues of one wmsqueue tell the same. Where no cycle was, the figures are taken to have stayed as they were. All
    wmsqueues end with the last cycle of all.
    """
    now: dict[tuple[str, str], Demand] = {}
    end = first
    for demand in merged(_spans(record.forward(queue, first, last), first, last) for queue in queues):
        end = demand.at
        before = now.get((demand.wms, demand.wmsqueue))
        if before is None or before.cells != demand.cells:
            now[demand.wms, demand.wmsqueue] = demand
            yield demand
    yield from (replace(demand, at=end) for demand in now.values())


def _spans(cycles: Iterable[Recorded], first: float, last: float) -> Iterator[Demand]:
    """Return the beginning and the end of each run of equal cycles that asked for demand."""
    wms = ""
    for one in cycles:
        report = one.report
        # An older cycle without an answer does not tell whom it asked: it was the one that answered before.
        names, wms = words(report.wmsqueue), _wms(report) or wms
        # Which of several is not known to the WMS is not told, the others are.
        causes = {"demand", "wmsqueue"} if len(names) == 1 else {"demand"}
        unknown = report.blocked is not None and report.blocked.cause in causes and wms
        if unknown or report.jobs is not None:
            for at in (max(report.at, first), min(one.until, last)):
                yield from (Demand(at, name, _cells(report, name), wms) for name in names)


def _wms(report: CycleReport) -> str:
    """Return the section that was asked, "" where an older record does not tell: it had only who answered."""
    answered = (one.source.removeprefix("wms ") for one in report.inputs if one.what == "demand")
    return report.wms or next(answered, "")


def _cells(report: CycleReport, wmsqueue: str) -> tuple[JobCount, ...] | None:
    if report.jobs is None:
        return None
    return tuple(replace(cell, wmsqueue="") for cell in report.jobs if cell.wmsqueue in ("", wmsqueue))
