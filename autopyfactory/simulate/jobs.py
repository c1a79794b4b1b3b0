"""The jobs of a PanDA to play with: they arrive, are handed to pilots, end; and statistics that lag behind.

Nothing runs in the background: every question first brings the state up to the clock's time.
"""

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autopyfactory.clock import Clock

ENDED = ("finished", "failed")
REPORTED = ("starting", "running", "holding", "transferring", *ENDED)
"""The statuses a pilot may report."""

_RUNNING = frozenset({"sent", "starting", "running", "holding", "transferring"})

Cells = Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]
"""Active jobs by queue, resource type, label and status."""


@dataclass(frozen=True, slots=True)
class SimulatedQueue:
    """Jobs of one shape for one PanDA queue; several of one name make a queue with several shapes.

    `backlog` jobs are there at the start, `rate` more arrive per minute. A job's payload is a sleep of
    `duration` seconds. `status` and `type` are what the site table says.
    """

    name: str
    resource_type: str = "SCORE"
    cores: int = 1
    label: str = "managed"
    status: str = "online"
    type: str = "production"
    backlog: int = 0
    rate: float = 0.0
    duration: float = 5.0


@dataclass(slots=True)
class Job:
    """One job; `place` is its stream's, `lease` the time by which its pilot must have reported again."""

    id: int
    place: int
    stream: SimulatedQueue
    status: str = "activated"
    lease: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """The true state of one queue: jobs that ever arrived, and where they are."""

    arrived: int = 0
    activated: int = 0
    running: int = 0
    finished: int = 0
    failed: int = 0


class Jobs:
    """All jobs, from any thread. Times are in seconds on `clock`.

    What `statistics` says is refreshed every `lag` seconds (0: always true), never while frozen. A job
    whose pilot has not reported for `lease` seconds is failed.
    """

    def __init__(self, queues: Sequence[SimulatedQueue], *, lag: float, lease: float, clock: Clock) -> None:
        self.queues = tuple(queues)
        self._lag = lag
        self._lease = lease
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = itertools.count(1_000_001)
        self._started = clock.now()
        self._arrived = [0] * len(self.queues)
        self._waiting: dict[int, dict[int, Job]] = {place: {} for place in range(len(self.queues))}
        self._taken: dict[int, Job] = {}
        self._counts: Counter[tuple[int, str]] = Counter()
        self._ended: dict[int, str] = {}
        self._frozen = False
        self._figures: Cells = {}
        self._advance(self._started)
        self._refresh(self._started)

    def acquire(self, name: str, labels: Iterable[str], number: int) -> list[Job]:
        """Hand out up to `number` of the oldest activated jobs of the queue that carry one of the labels."""
        wanted = frozenset(labels)
        with self._lock:
            now = self._catch_up()
            jobs = sorted(
                (
                    job
                    for place, stream in self._streams(name)
                    if stream.label in wanted
                    for job in itertools.islice(self._waiting[place].values(), number)
                ),
                key=lambda job: job.id,
            )[:number]
            for job in jobs:
                del self._waiting[job.place][job.id]
                self._taken[job.id] = job
                self._move(job, "sent")
                job.lease = now + self._lease
            return jobs

    def update(self, job_id: int, status: str) -> str:
        """Take a pilot's report and return the command for it: "NULL", "tobekilled" for a job that has ended.

        Raises LookupError for a job that was never handed out, ValueError for no status of a running job.
        """
        if status not in REPORTED:
            raise ValueError(status)
        with self._lock:
            now = self._catch_up()
            if job_id in self._ended:
                return "tobekilled"
            job = self._taken[job_id]
            job.lease = now + self._lease
            self._move(job, status)
            if status in ENDED:
                self._end(job)
            return "NULL"

    def add(self, name: str, number: int) -> None:
        """Let `number` more jobs arrive at once in the queue's first stream. Raises LookupError."""
        with self._lock:
            self._catch_up()
            streams = self._streams(name)
            if not streams:
                raise LookupError(name)
            self._arrive(streams[0][0], number)

    def freeze(self, frozen: bool = True) -> None:
        """Stop refreshing what `statistics` says, or go on."""
        with self._lock:
            self._catch_up()
            self._frozen = frozen

    def statistics(self) -> Cells:
        """Return the figures of the last refresh; queues without active jobs are absent."""
        with self._lock:
            self._catch_up()
            return self._figures

    def totals(self) -> dict[str, Totals]:
        """Return the true state by queue."""
        with self._lock:
            self._catch_up()
            return {name: self._total(name) for name in dict.fromkeys(stream.name for stream in self.queues)}

    def _streams(self, name: str) -> list[tuple[int, SimulatedQueue]]:
        return [(place, stream) for place, stream in enumerate(self.queues) if stream.name == name]

    def _catch_up(self) -> float:
        now = self._clock.now()
        if self._lag > 0:
            due = now - (now - self._started) % self._lag
            if due > self._refreshed:
                self._advance(due)
                self._refresh(due)
        self._advance(now)
        if self._lag <= 0:
            self._refresh(now)
        return now

    def _refresh(self, now: float) -> None:
        self._refreshed = now
        if not self._frozen:
            self._figures = self._cells()

    def _advance(self, now: float) -> None:
        for place, stream in enumerate(self.queues):
            due = stream.backlog + int(stream.rate * (now - self._started) / 60)
            self._arrive(place, due - self._arrived[place])
            self._arrived[place] = due
        for job in [job for job in self._taken.values() if job.lease < now]:
            self._move(job, "failed")
            self._end(job)

    def _arrive(self, place: int, number: int) -> None:
        for _ in range(number):
            job = Job(next(self._ids), place, self.queues[place])
            self._waiting[place][job.id] = job
        self._counts[place, "activated"] += number

    def _move(self, job: Job, status: str) -> None:
        self._counts[job.place, job.status] -= 1
        self._counts[job.place, status] += 1
        job.status = status

    def _end(self, job: Job) -> None:
        del self._taken[job.id]
        self._ended[job.id] = job.status

    def _cells(self) -> Cells:
        cells: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
        for place, stream in enumerate(self.queues):
            counts = {status: n for (where, status), n in self._counts.items() if where == place and n}
            active = {status: n for status, n in counts.items() if status not in ENDED}
            if not active:
                continue
            by_label = cells.setdefault(stream.name, {}).setdefault(stream.resource_type, {})
            cell = by_label.setdefault(stream.label, {"activated": 0, "assigned": 0, "running": 0})
            for status, n in active.items():
                cell[status] = cell.get(status, 0) + n
        return cells

    def _total(self, name: str) -> Totals:
        sums: defaultdict[str, int] = defaultdict(int)
        for place, _ in self._streams(name):
            for (where, status), n in self._counts.items():
                if where == place:
                    sums["arrived"] += n
                    sums["running" if status in _RUNNING else status] += n
        return Totals(**sums)
