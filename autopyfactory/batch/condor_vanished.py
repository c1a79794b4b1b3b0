"""What became of submissions that a schedd does not show any more, from memory, its queue and its history."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from autopyfactory.batch.condor_child import Ad
from autopyfactory.batch.condor_ends import COMPLETED, REMOVED, Ends
from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError

T = TypeVar("T")

_REMEMBERED = 20_000
_ASKED_AT_ONCE = 100
_RECORDS_AT_MOST = 1_000
_FIRST_WAIT = 30.0
_LONGEST_WAIT = 600.0

Listed = Callable[[float, Sequence[str]], tuple[Ad, ...]]
"""Return the jobs of these submissions that the queue lists, at most so many seconds."""

Records = Callable[[float, str, int], tuple[Ad, ...]]
"""Return the newest records of a submission in the history, at most so many seconds and so many records."""


class Vanished:
    """Find out whether all pilots of a submission have ended. Safe from many threads.

    A history without a record of it is read to its end, which may take seconds: a submission is asked for
    again only after a wait that doubles from 30 s to 10 minutes, and all questions of a call share its time.
    `say` gets what went wrong with the questions of a call, or "".
    """

    def __init__(self, ends: Ends, clock: Clock, listed: Listed, records: Records, say: Callable[[str], None]) -> None:
        self._ends = ends
        self._clock = clock
        self._listed = listed
        self._records = records
        self._say = say
        self._lock = threading.Lock()
        self._accepted: OrderedDict[str, int] = OrderedDict()
        self._live: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._waits: dict[str, tuple[float, float]] = {}

    def accepted(self, submission: str, count: int) -> None:
        """Note that none of so many pilots has been shown yet."""
        with self._lock:
            _remember(self._accepted, submission, count)

    def shown(self, groups: Iterable[Ad]) -> None:
        """Note what a poll shows; call it before the ends that this poll found are told."""
        live: Counter[str] = Counter()
        listed: Counter[str] = Counter()
        for ad in groups:
            submission, status, count = str(ad.get("APF_SUBMISSION", "")), ad.get("JobStatus"), int(ad["JobCount"])
            live[submission] += 0 if status in (COMPLETED, REMOVED) else count
            listed[submission] += 0 if status == REMOVED else count
        with self._lock:
            for submission, count in listed.items():
                # Once shown, a submission may outlive the history of its first pilots.
                self._accepted.pop(submission, None)
                # Those completed by now may be told already; counting them again only costs a question.
                _remember(self._live, submission, (live[submission], self._ends.told(submission) + count))

    def ended(self, submissions: frozenset[str], seconds: float) -> frozenset[str]:
        """Return those of which no pilot is alive and all never shown ones, or else one, have a record of their end.

        What was not reached within the time stays for the next call. Raises SourceError when the factory stops.
        """
        now = self._clock.now()
        found = {name for name in submissions if self._all_told(name)}
        asked = self._due(submissions - found, now)[:_ASKED_AT_ONCE]
        trouble = ""
        try:
            for name in self._at_their_end(asked, now + seconds) if asked else ():
                found.add(name)
        except SourceError as error:
            if error.stopped:
                raise
            trouble = f"{error.reason} (asked for the end of pilots that it does not show any more)"
        if asked:
            self._say(trouble)
        return frozenset(found)

    def _all_told(self, submission: str) -> bool:
        with self._lock:
            count = self._accepted.get(submission) or self._live.get(submission, (0, 0))[1]
        return 0 < count <= self._ends.told(submission)

    def _due(self, submissions: frozenset[str], now: float) -> list[str]:
        with self._lock:
            self._waits = {name: wait for name, wait in self._waits.items() if name in submissions}
            due = [name for name in sorted(submissions) if self._waits.get(name, (now, 0.0))[0] <= now]
            # New ones first: their records are the newest, found at the beginning of the history.
            return sorted(due, key=lambda name: self._waits.get(name, (now, 0.0))[1])

    def _at_their_end(self, asked: Sequence[str], end: float) -> Iterator[str]:
        half = (end - self._clock.now()) / 2
        alive: Counter[str] = Counter()
        at_end: Counter[str] = Counter()
        for job in self._listed(2 * half, asked):
            counts = at_end if job.get("JobStatus") in (COMPLETED, REMOVED) else alive
            counts[str(job.get("APF_SUBMISSION", ""))] += 1
        for name in asked:
            self._wait_longer(name)
            if not alive[name] and self._on_record(name, at_end[name], end):
                yield name
            if self._clock.now() > end - half:
                return

    def _on_record(self, submission: str, at_end: int, end: float) -> bool:
        with self._lock:
            never_shown = self._accepted.get(submission, 0)
            last_live = self._live.get(submission, (1, 0))[0]
            again = self._waits[submission][1] > _FIRST_WAIT
        wanted = (never_shown or 1) - at_end
        if wanted <= 0:
            return True
        # The first question about pilots that were seen alive also learns which of them were removed.
        more = 0 if never_shown or again else min(last_live, _RECORDS_AT_MOST)
        records = self._records(max(1.0, end - self._clock.now()), submission, max(wanted, more))
        self._ends.tell_records(records)
        return len(records) >= wanted

    def _wait_longer(self, submission: str) -> None:
        with self._lock:
            wait = min(_LONGEST_WAIT, 2 * self._waits[submission][1]) if submission in self._waits else _FIRST_WAIT
            self._waits[submission] = (self._clock.now() + wait, wait)


def _remember(memory: OrderedDict[str, T], name: str, value: T) -> None:
    memory[name] = value
    memory.move_to_end(name)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)
