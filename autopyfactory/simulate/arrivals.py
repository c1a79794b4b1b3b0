"""Jobs that arrive: recovered from a trace, or made up.

A trace tells how many jobs wait and run, not when they came. Between two of its lines, dt seconds apart, jobs left
the waiting ones by starting; where running jobs are told, that many started as make up for the change of their number
and for those that ended, which are running x dt / length, and at least what their number fell by. So

    arrivals = max(0, change of activated + change of running + ended)

spread evenly over dt. Where no running jobs are told only growth counts. An unknown stretch brings no jobs, and the
factory under test sees it as an outage of the WMS.
"""

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from autopyfactory.model import JobCount
from autopyfactory.record.trace import Demand
from autopyfactory.simulate.model import Stream

DAY = 86400.0
_PIECE = 60.0
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """So many jobs of one kind arrive; `known` tells whether the WMS can be asked for the wmsqueue from now on."""

    at: float
    stream: Stream
    count: int = 0
    known: bool = True


def replayed(trace: Sequence[Demand], length: float, days: float | None = None) -> Iterator[Arrival]:
    """Return the arrivals behind a trace in order, from time 0; one shorter than `days` begins again at its end."""
    if not trace:
        return
    first, span = trace[0].at, max(_PIECE, trace[-1].at - trace[0].at)
    one = sorted(_arrivals(trace, length), key=lambda arrival: arrival.at)
    rounds = max(1, math.ceil((days or span / DAY) * DAY / span))
    for number in range(rounds):
        for arrival in one:
            yield replace(arrival, at=arrival.at - first + number * span)


def _arrivals(trace: Iterable[Demand], length: float) -> Iterator[Arrival]:
    last: dict[str, Demand] = {}
    for line in trace:
        before = last.get(line.wmsqueue)
        last[line.wmsqueue] = line
        known = line.cells is not None
        if before is None or (before.cells is None) == known:
            yield Arrival(line.at, Stream(line.wmsqueue), known=known)
        if line.cells is None:
            continue
        then = {_key(cell): cell for cell in (before.cells or ())} if before else {}
        for cell in line.cells:
            yield from _grown(line, cell, then.get(_key(cell)), before, length)


def _grown(
    line: Demand, cell: JobCount, then: JobCount | None, before: Demand | None, length: float
) -> Iterator[Arrival]:
    stream = Stream(line.wmsqueue, cell.resource_type, cell.label)
    if before is None or before.cells is None:
        yield Arrival(line.at, stream, cell.activated)
        return
    began = before.at
    waited, ran = (then.activated, _running(then)) if then else (0, 0)
    seconds = line.at - began
    change = _running(cell) - ran
    count = cell.activated - waited + change + max(round(ran * seconds / length), -change)
    yield from spread(began, seconds, max(0, count), stream)


def spread(at: float, seconds: float, count: int, stream: Stream) -> Iterator[Arrival]:
    """Return arrivals of `count` jobs, evenly over a time."""
    pieces = max(1, min(count, int(seconds / _PIECE)))
    done = 0
    for piece in range(pieces):
        upto = count * (piece + 1) // pieces
        if upto > done:
            yield Arrival(at + seconds * (piece + 0.5) / pieces, stream, upto - done)
        done = upto


def made_up(streams: Iterable[Stream], days: float, per_hour: float, seed: int) -> Iterator[Arrival]:
    """Return arrivals of an invented demand: waves of a day, bursts of a task, hours without jobs.

    `per_hour` is the mean over all streams.
    """
    found = [_invented(one, days, per_hour, random.Random(f"{seed} {one.wmsqueue}")) for one in streams]  # noqa: S311
    yield from heapq.merge(*found, key=lambda arrival: arrival.at)


def _invented(stream: Stream, days: float, per_hour: float, dice: random.Random) -> Iterator[Arrival]:
    phase, weight = dice.uniform(0, 2 * math.pi), dice.lognormvariate(0, 0.6)
    yield Arrival(0.0, stream)
    for hour in range(round(days * 24)):
        wave = 1 + 0.6 * math.sin(hour * 2 * math.pi / 24 + phase)
        burst = dice.choice((0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0))
        mean = per_hour * weight * wave * burst
        count = max(0, round(dice.gauss(mean, math.sqrt(mean + 1))))
        yield from spread(hour * _HOUR, _HOUR, count, stream)


def _key(cell: JobCount) -> tuple[str, str]:
    return cell.resource_type, cell.label


def _running(cell: JobCount) -> int:
    return cell.by_status.get("running", 0)
