"""Jobs that arrive: recovered from a trace, or made up.

A trace tells how many jobs wait and run, not when they came. Between two of its lines, dt seconds apart, jobs left
the waiting ones by starting; where running jobs are told, that many started as make up for the change of their number
and for those that ended, which are running x dt / length, and at least what their number fell by. So

    arrivals = max(0, change of activated + change of running + ended)

spread evenly over dt. Where no running jobs are told only growth counts. Over an unknown stretch the lines before and
after it are compared, and the factory under test sees it as an outage of the WMS.
"""

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    told: dict[tuple[str, str], bool] = {}
    last: dict[tuple[str, str], _Known] = {}
    for line in trace:
        key, known = (line.wms, line.wmsqueue), line.cells is not None
        if known is not told.get(key):
            yield Arrival(line.at, Stream(line.wmsqueue, wms=line.wms), known=known)
        told[key] = known
        if line.cells is not None:
            before, last[key] = last.get(key), _Known(line.at, _streams(line, line.cells))
            yield from _grown(before, last[key], length)


@dataclass(frozen=True, slots=True)
class _Known:
    """The jobs of each stream of a wmsqueue at a time that wait and run; `owed` are parts of a job not yet counted."""

    at: float
    jobs: Mapping[Stream, tuple[int, int]]
    owed: dict[Stream, float] = field(default_factory=dict)


def _streams(line: Demand, cells: Iterable[JobCount]) -> dict[Stream, tuple[int, int]]:
    """Return the jobs that wait and run by stream; cells that look alike, as where sources are added, are one."""
    found: dict[Stream, tuple[int, int]] = {}
    for cell in cells:
        stream = Stream(line.wmsqueue, cell.resource_type, cell.label, line.wms, cell.cores, cell.share)
        waiting, running = found.get(stream, (0, 0))
        found[stream] = waiting + cell.activated, running + cell.by_status.get("running", 0)
    return found


def _grown(before: _Known | None, now: _Known, length: float) -> Iterator[Arrival]:
    """Return what arrived between two lines; before the first one all that wait did."""
    if before is None:
        yield from (Arrival(now.at, stream, waiting) for stream, (waiting, _) in now.jobs.items() if waiting)
        return
    seconds = now.at - before.at
    for stream, (waiting, running) in _alike(before.jobs, now.jobs).items():
        waited, ran = before.jobs.get(stream, (0, 0))
        # Lines may be seconds apart: parts of a job add up over them.
        exact = ran * seconds / length + before.owed.get(stream, 0.0)
        ended = round(exact)
        now.owed[stream] = exact - ended
        count = waiting - waited + running - ran + max(ended, ran - running)
        yield from spread(before.at, seconds, max(0, count), stream)


def _alike(
    before: Mapping[Stream, tuple[int, int]], now: Mapping[Stream, tuple[int, int]]
) -> dict[Stream, tuple[int, int]]:
    """Return the jobs of a line by the streams of the one before it: older records tell neither cores nor share."""
    found: dict[Stream, tuple[int, int]] = {}
    for stream, counts in now.items():
        plain = replace(stream, cores=0, share="")
        same = plain if plain in before and plain not in now and stream not in before else stream
        waiting, running = found.get(same, (0, 0))
        found[same] = waiting + counts[0], running + counts[1]
    return found


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
