"""The demand that the record saw, as a trace."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from autopyfactory.config.fields import words
from autopyfactory.model import CycleReport, JobCount
from autopyfactory.record.book import Record
from autopyfactory.record.paper import Recorded
from autopyfactory.record.trace import Demand, merged


def trace(record: Record, queues: Iterable[str], first: float, last: float) -> Iterator[Demand]:
    """Return the demand of these queues' wmsqueues in a span of time, a line where the figures change.

    Queues of one wmsqueue tell the same. Where no cycle was, the figures are taken to have stayed as they were. All
    wmsqueues end with the last cycle of all.
    """
    now: dict[str, tuple[JobCount, ...] | None] = {}
    end = first
    for demand in merged(_spans(record.forward(queue, first, last), first, last) for queue in queues):
        end = demand.at
        if demand.wmsqueue not in now or now[demand.wmsqueue] != demand.cells:
            now[demand.wmsqueue] = demand.cells
            yield demand
    yield from (Demand(end, name, cells) for name, cells in now.items())


def _spans(cycles: Iterable[Recorded], first: float, last: float) -> Iterator[Demand]:
    """Return the beginning and the end of each run of equal cycles that asked for demand."""
    for one in cycles:
        report = one.report
        unknown = report.blocked is not None and report.blocked.cause in {"demand", "wmsqueue"}
        if unknown or report.jobs is not None:
            for at in (max(report.at, first), min(one.until, last)):
                yield from (Demand(at, name, _cells(report, name)) for name in words(report.wmsqueue))


def _cells(report: CycleReport, wmsqueue: str) -> tuple[JobCount, ...] | None:
    if report.jobs is None:
        return None
    return tuple(replace(cell, wmsqueue="") for cell in report.jobs if cell.wmsqueue in ("", wmsqueue))
