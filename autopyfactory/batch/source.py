"""One source of pilots as its queues see it: the shared poll, and what its answers mean for what we submitted.

This is where laws 2, 3 and 4 are kept: a queue's counts are those of the snapshot plus what was submitted
since and what is ambiguous; a source that does not show what it accepted is not believed; pilots of our id
that we did not submit mean that a twin is running.
"""

import logging
import threading
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from autopyfactory.batch import Batch
from autopyfactory.batch.faults import Faults
from autopyfactory.batch.pace import Pace
from autopyfactory.batch.tally import Tally, tally
from autopyfactory.batch.tender import Tender
from autopyfactory.batch.twin import Twin
from autopyfactory.clock import Clock, utc
from autopyfactory.errors import SourceError
from autopyfactory.ledger import KEEP, Entry, Ledger, Outcome
from autopyfactory.model import EndedPilot, PilotCounts, PilotReport, Snapshot
from autopyfactory.snapshot import Shared

log = logging.getLogger(__name__)

REMEMBER = KEEP
"""Seconds of pending counts kept, as of submissions, to know how many pilots left pending since some time."""

DOUBT = 3600.0
"""Seconds after which pilots that are not shown and have no end on record are given up, with an error."""


class PilotSource:
    """A batch object with its shared poll and its queues' history. Safe from many threads.

    `host` is our own: pilots of our id from another one mean a twin; `twin` is what is known of it. `on_ended` is
    told of pilots that have ended, once each, and `meet` of every good answer, after it was compared with what was
    submitted; both from the thread that happened to poll.
    """

    def __init__(
        self,
        name: str,
        batch: Batch,
        ledger: Ledger,
        clock: Clock,
        *,
        interval: float,
        max_age: float,
        deadline: float,
        rate: float | None = None,
        host: str = "",
        twin: Twin | None = None,
        meet: Callable[["PilotSource"], None] = lambda source: None,
        on_ended: Callable[[Sequence[EndedPilot]], None] = lambda ended: None,
    ) -> None:
        self.name = name
        self.batch = batch
        self.closed = False
        self._ledger = ledger
        self._clock = clock
        self._deadline = deadline
        self._host = host
        self._on_ended = on_ended
        self._meet = meet
        self._faults = Faults(name, clock)
        self._shared = Shared(name, self._poll, interval=interval, max_age=max_age, clock=clock, on_good=self._compare)
        self._lock = threading.Lock()
        self._polls: list[tuple[float, Mapping[str, Mapping[str, int]]]] = []
        self._twin = twin or Twin(ledger, clock, clock.now())
        self._former: Mapping[str, Sequence[str]] = {}
        self._live: Mapping[str, int] = {}
        self._doubted: dict[str, float] = {}
        self._ended: list[EndedPilot] = []
        self._max_age = max_age
        self._made = clock.now()
        self.pace = Pace(rate, interval, clock)
        self.tender = Tender(name, batch, clock, may_act=lambda: not self.twin)

    def adopt(self, former: Mapping[str, Sequence[str]]) -> None:
        """Count pilots under these former names of queues as theirs; what is submitted carries the present name."""
        self._former = dict(former)

    def names(self, queue: str) -> tuple[str, ...]:
        """Return a queue's name and its former ones."""
        return (queue, *self._former.get(queue, ()))

    def latest(self) -> Tally | None:
        """Return the newest answer whatever its age, None before the first."""
        last = self._shared.peek()
        return last.value if last else None

    def is_same_as(self, other: "PilotSource") -> bool:
        """Tell whether another source shows pilots of this one: no submission ever goes to two batch systems."""
        mine, its = self.latest(), other.latest()
        return mine is not None and its is not None and not mine.shown.keys().isdisjoint(its.shown.keys())

    def covers(self, other: "PilotSource") -> bool:
        """Tell whether no pilot would be lost from sight with another source: this one answers, and counts all of them.

        It counts what it shows, and what stands unsettled in the ledger; of the other's that is what is younger than
        our answer, which is to settle it.
        """
        mine, its = self._shared.peek(), other.latest()
        if mine is None or its is None or self.silent:
            return False
        accepted = self._ledger.unsettled(other.name)
        counted = {entry.id for entry in accepted if entry.ended >= mine.began}
        counted |= {entry.id for entry in self._ledger.unsettled(self.name)} | mine.value.shown.keys()
        return counted >= its.shown.keys() | {entry.id for entry in accepted}

    def snapshot(self) -> Snapshot[Tally]:
        """Return the shared snapshot, polling when it is time. Raises SourceError."""
        return self._shared.get()

    def counts(self, queue: str, snapshot: Snapshot[Tally], resource_type: str = "") -> PilotCounts:
        """Return a queue's pilots, or those of one resource type: shown, accepted since, and such as may exist.

        Another thread may have polled since: what only a later answer settled counts as unseen in this one. So
        do accepted ones in doubt: their own queue is blocked, but its siblings must not ask for their jobs again.
        """
        unseen = ambiguous = 0
        for entry in self._ledger.of_queue(queue, resource_type):
            missing = _lacking(entry, snapshot.value)
            if entry.source != self.name:
                continue
            if entry.outcome in (Outcome.OPEN, Outcome.AMBIGUOUS):
                ambiguous += missing
            elif entry.outcome is Outcome.ACCEPTED or entry.ended >= snapshot.began or entry.settled > snapshot.began:
                unseen += missing
        shown = sum((snapshot.value.of(name, resource_type) for name in self.names(queue)), PilotCounts())
        return replace(shown, unseen=unseen, ambiguous=ambiguous)

    @property
    def twin(self) -> str:
        """What is known of a second factory with our id; "" while there is none."""
        return self._twin.text

    @property
    def silent(self) -> bool:
        """Tell whether there has been no answer for so long that the last one is not believed."""
        last = self._shared.peek()
        return self._clock.now() > (last.speaks_of if last else self._made) + self._max_age

    def waiting(self, queue: str, resource_type: str = "") -> int:
        """Return a queue's pilots that wait, by the newest answer; before the first what the record allows."""
        last = self._shared.peek()
        if last is None:
            return self._ledger.most_waiting(queue, resource_type, self.name)
        return self.counts(queue, last, resource_type).waiting

    def doubt(self, queue: str, snapshot: Snapshot[Tally]) -> str:
        """Return why the source is not believed for a queue, or ""."""
        for entry in self._ledger.of_queue(queue):
            if entry.outcome is Outcome.ACCEPTED and entry.source == self.name and self._missing(entry, snapshot):
                when = f"{utc(entry.ended):%H:%M:%S}"
                return (
                    f"{self.name} accepted {entry.count} pilots at {when} and shows neither them nor their end; "
                    f"look for submission {entry.id} there; after {DOUBT / 60:.0f} minutes they are given up"
                )
        return ""

    def left(self, queue: str, since: float, waiting: int, resource_type: str = "") -> int:
        """Return how many pilots of a queue left pending after a time, `waiting` being those that wait now.

        Left = waiting then + submitted since - waiting now, then being the last poll before that time. Where
        the process is younger than the time, the last submission on record bounds what waited then from
        above: too many are deducted for a moment rather than too few.
        """
        entries = [entry for entry in self._ledger.of_queue(queue, resource_type) if entry.source == self.name]
        with self._lock:
            polls = list(self._polls)
        index = bisect_right(polls, since, key=lambda poll: poll[0])
        past = [entry for entry in entries if entry.ended <= since]
        recorded = max(past, key=lambda entry: entry.ended, default=None)
        if index:
            start, then = polls[index - 1][0], self._waited(polls[index - 1][1], queue, resource_type)
        elif recorded is not None:
            start, then = recorded.ended, recorded.waiting + recorded.count
        elif entries and not (polls and polls[0][0] < entries[0].began):
            start, then = float("-inf"), entries[0].waiting
        elif polls:
            start, then = polls[0][0], self._waited(polls[0][1], queue, resource_type)
        else:
            return 0
        since_then = sum(entry.count for entry in entries if entry.ended > start)
        return max(0, then + since_then - waiting)

    def in_flight(self, queue: str = "") -> int:
        """Return the pilots of one queue, or of all, that exist or may exist here, from the newest answer of any age.

        A source that has not answered yet counts as the record of each queue's last submission says.
        """
        # Read before the answer: what a newer one settles meanwhile is counted in that.
        unsettled = [entry for entry in self._ledger.unsettled(self.name) if queue in ("", entry.queue)]
        last = self._shared.peek()
        if last is None:
            return self._ledger.bound(self.name, queue)
        shown = sum(last.value.of(name).in_flight for name in self.names(queue)) if queue else last.value.in_flight
        return shown + sum(_lacking(entry, last.value) for entry in unsettled)

    def close(self) -> None:
        """Wake all who wait for the source and give up its calls."""
        self.closed = True
        self._shared.close()
        self.tender.close()
        self.batch.close()

    def _poll(self) -> Snapshot[Tally]:
        began = self._clock.now()
        report: PilotReport = self.batch.poll()
        self._ended += report.ended
        counted = tally(report.groups, report.troubles)
        if self._shared.peek() is None:
            self.tender.look(counted.held_at)
        found = replace(counted, paused=self.tender.paused, held=self.tender.held, full=report.full)
        speaks_of = began if report.speaks_of is None else min(began, report.speaks_of)
        return Snapshot(found, self.name, began, speaks_of)

    def _compare(self, snapshot: Snapshot[Tally]) -> None:
        """Compare a good answer with what was submitted; called before any queue sees the answer."""
        for name in self._live.keys() - snapshot.value.shown.keys():
            self._ledger.doubt(name, self._live[name])
        self._live = snapshot.value.live
        self._settle(snapshot)
        self._meet(self)
        self._twin.look(self.name, self._host, snapshot.value)
        self._ledger.forget(self.name, snapshot.value.shown)
        self._remember(snapshot)
        self.tender.notice(snapshot.value.by_queue)
        ended, self._ended = self._ended, []
        if ended:
            self._faults.tell(ended)
            self._tell(ended)

    def _tell(self, ended: Sequence[EndedPilot]) -> None:
        try:
            self._on_ended(ended)
        except Exception:
            log.exception("%s: a bug in telling of %d pilots that ended", self.name, len(ended))

    def _settle(self, snapshot: Snapshot[Tally]) -> None:
        missing: list[Entry] = []
        for entry in self._ledger.unsettled(self.name):
            if entry.outcome is Outcome.OPEN or snapshot.began <= entry.ended:
                continue
            shown = snapshot.value.shown.get(entry.id, 0)
            if entry.outcome is Outcome.AMBIGUOUS:
                # A batch system that was hung may still take it: wait as long as a call may last.
                if shown >= entry.count or snapshot.began > entry.ended + self._deadline:
                    log.info("%s: of %d pilots submitted without an answer %d exist", self.name, entry.count, shown)
                    # Those not shown may have run and ended unseen: until the demand is younger, they took their jobs.
                    self._ledger.settle(entry.id, entry.count, snapshot.began)
            elif shown:
                self._ledger.settle(entry.id, entry.count, snapshot.began)
            else:
                missing.append(entry)
        self._look_for_ends(missing, snapshot.began)

    def _look_for_ends(self, missing: Sequence[Entry], at: float) -> None:
        try:
            ended = self.batch.ended(frozenset(entry.id for entry in missing)) if missing else frozenset()
        except SourceError as error:
            log.warning("%s", error)
            ended = frozenset()
        now = self._clock.now()
        since = {entry.id: self._doubted.get(entry.id, now) for entry in missing if entry.id not in ended}
        self._doubted = {name: began for name, began in since.items() if now <= began + DOUBT}
        for entry in missing:
            if entry.id in ended:
                self._ledger.settle(entry.id, entry.count, at)
            elif entry.id not in self._doubted:
                log.error(
                    "%s shows neither the %d pilots of submission %s nor their end; they are given up, counted no more",
                    *(self.name, entry.count, entry.id),
                    extra={"queue": entry.queue},
                )
                self._ledger.settle(entry.id, 0, at)

    @staticmethod
    def _missing(entry: Entry, snapshot: Snapshot[Tally]) -> bool:
        return snapshot.began > entry.ended and entry.id not in snapshot.value.shown

    def _remember(self, snapshot: Snapshot[Tally]) -> None:
        """Keep what waited by this answer: shown ones, and those of earlier submissions that it does not show."""
        waiting: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (queue, resource_type), counts in snapshot.value.by_type.items():
            waiting[queue][resource_type] += counts.waiting
        for entry in self._ledger.unsettled(self.name):
            if entry.outcome is not Outcome.OPEN and entry.ended <= snapshot.began:
                waiting[entry.queue][entry.resource_type] += _lacking(entry, snapshot.value)
        with self._lock:
            self._polls.append((snapshot.began, waiting))
            while self._polls[0][0] < snapshot.began - REMEMBER:
                self._polls.pop(0)

    def _waited(self, poll: Mapping[str, Mapping[str, int]], queue: str, resource_type: str) -> int:
        """Return how many pilots of a queue waited by a poll; where a type is named those of it or of none."""
        mine = [poll.get(name, {}) for name in self.names(queue)]
        counts = [pair for types in mine for pair in types.items()]
        return sum(number for at, number in counts if not resource_type or at in ("", resource_type))


def _lacking(entry: Entry, tally: Tally) -> int:
    """Return how many pilots of a submission an answer does not show."""
    return max(0, entry.count - tally.shown.get(entry.id, 0))
