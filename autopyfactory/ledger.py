"""What this factory has submitted: the memory behind laws 2, 3 and 4.

Every submission is written down before it begins and again when its answer is known, one JSON line each in
`<state_dir>/submissions.jsonl`; what has no answer when the factory starts again is ambiguous. A poll that
is newer than a submission settles it by its tag. The file is not synced to disk: it survives the death of
the process, and after a crash of the host the pilots are still counted by their factory tag.
"""

import json
import logging
import secrets
import threading
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from autopyfactory.clock import Clock, utc
from autopyfactory.errors import ConfigError
from autopyfactory.statefile import rewrite

log = logging.getLogger(__name__)

KEEP = 3600.0
"""Seconds that a settled submission is remembered; far beyond the age of any demand figure in use."""

SPARE_LINES = 10_000
"""Lines of the file beyond four per remembered submission, at which it is written anew."""


class Outcome(StrEnum):
    """What is known of a submission."""

    OPEN = "open"
    ACCEPTED = "accepted"
    AMBIGUOUS = "ambiguous"
    SETTLED = "settled"
    """A poll showed it, or its end, or that it never was."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission. `waiting` and `in_flight` are the queue's pilots just before it, without its own.

    `ended` is when its answer came, or when the factory gave up waiting for it; `began` until then. `settled`
    is when the poll began that told what became of it. Where the queue counts each resource type alone,
    `waiting` are those of the submission's `resource_type`; `in_flight` are always the whole queue's.
    """

    id: str
    queue: str
    source: str
    count: int
    began: float
    ended: float
    waiting: int
    in_flight: int
    outcome: Outcome = Outcome.OPEN
    settled: float = 0.0
    resource_type: str = ""

    def of_type(self, resource_type: str) -> bool:
        """Tell whether its pilots count for a resource type: "" means all, and one without a type takes any job."""
        return not resource_type or self.resource_type in ("", resource_type)


_FORMAT = TypeAdapter(Entry)


def stamp(at: float) -> str:
    """Return how the id of a submission begins that was made at a time: ids go by time, to the second."""
    return f"{utc(at):%Y%m%dT%H%M%S}"


def _line(entry: Entry) -> str:
    # Not by dump_json, which would leave characters as they are at which a reader divides lines.
    return f"{json.dumps(_FORMAT.dump_python(entry))}\n"


def sources_of(path: Path, queue: str) -> frozenset[str]:
    """Return the sources that a queue's recorded submissions went through; another process may be writing the file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    entries = (entry for line in lines if (entry := _entry(line)) is not None)
    return frozenset(entry.source for entry in entries if entry.queue == queue)


def _entry(line: str) -> Entry | None:
    """Return what a line holds, None for a broken one."""
    try:
        return _FORMAT.validate_json(line)
    except ValueError:
        return None


FILE = "submissions.jsonl"
"""The ledger's name in `state_dir`."""


class Ledger:
    """Remember submissions, in memory and in a file. Safe from many threads.

    Raises ConfigError when the file exists and cannot be read or written anew.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._by_queue: dict[str, dict[str, Entry]] = {}
        self._unsettled: dict[str, Entry] = {}
        self._heirs: Mapping[str, str] = {}
        self._lines = 0
        self._torn = False
        try:
            self._load()
        except OSError as error:
            raise ConfigError([f"{path}: cannot keep what is submitted: {error.strerror}"]) from error

    def open(
        self, queue: str, source: str, count: int, *, waiting: int, in_flight: int, resource_type: str = ""
    ) -> str:
        """Write down that a submission begins and return its id. Raises OSError: then it must not begin."""
        now = self._clock.now()
        name = f"{stamp(now)}-{secrets.token_hex(6)}"
        entry = Entry(name, queue, source, count, now, now, waiting, in_flight, resource_type=resource_type)
        with self._lock:
            self._append(entry)
            self._keep(entry)
        return name

    def close(self, name: str, outcome: Outcome, count: int) -> None:
        """Write down what became of a submission: `count` pilots exist, or may exist."""
        with self._lock:
            self._change(replace(self._entries[name], outcome=outcome, count=count, ended=self._clock.now()))

    def settle(self, name: str, count: int, at: float) -> None:
        """Write down that the poll which began at `at` told what became of a submission: `count` pilots."""
        with self._lock:
            if name in self._unsettled:
                self._change(replace(self._entries[name], outcome=Outcome.SETTLED, count=count, settled=at))

    def doubt(self, name: str, count: int) -> None:
        """Take a settled submission for one that a poll must tell of again: `count` were shown, and are not now."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.outcome is Outcome.SETTLED:
                self._change(replace(entry, outcome=Outcome.ACCEPTED, count=count))

    def mine(self, name: str) -> bool:
        """Tell whether this factory made a submission, as far as its file remembers."""
        with self._lock:
            return name in self._entries

    def of_queue(self, queue: str, resource_type: str = "") -> list[Entry]:
        """Return the remembered submissions of a queue, oldest first; those of a resource type where one is named."""
        with self._lock:
            return [entry for entry in self._by_queue.get(queue, {}).values() if entry.of_type(resource_type)]

    def unsettled(self, source: str) -> list[Entry]:
        """Return the submissions through a source of which no poll has told yet."""
        with self._lock:
            return [entry for entry in self._unsettled.values() if entry.source == source]

    def most_waiting(self, queue: str, resource_type: str = "", source: str = "") -> int:
        """Return the most of a queue that may wait, at one source or all, by the last submission of each type."""
        mine = [entry for entry in self.of_queue(queue, resource_type) if source in ("", entry.source)]
        last = {entry.resource_type: entry for entry in mine}
        return sum(entry.waiting + entry.count for entry in last.values())

    def submitted_since(self, queue: str, at: float, resource_type: str = "") -> int:
        """Return how many pilots of a queue were submitted after a time."""
        return sum(entry.count for entry in self.of_queue(queue, resource_type) if entry.ended > at)

    def bound(self, source: str, queue: str = "") -> int:
        """Return the most pilots, of one queue or all, that may be in flight at a source, by the last submissions."""
        with self._lock:
            last = {entry.queue: entry for entry in self._entries.values() if entry.source == source}
        return sum(entry.in_flight + entry.count for name, entry in last.items() if queue in ("", name))

    def adopt(self, heirs: Mapping[str, str]) -> None:
        """Take the submissions of former queues for those of their heirs, by former name."""
        with self._lock:
            self._heirs = dict(heirs)
            entries, self._by_queue = sorted(self._entries.values(), key=lambda entry: entry.began), {}
            for entry in entries:
                self._keep(entry)

    def sources(self) -> frozenset[str]:
        """Return the sources of all remembered submissions."""
        with self._lock:
            return frozenset(entry.source for entry in self._entries.values())

    def hand_over(self, source: str, heir: str) -> None:
        """Take the submissions through a source for those through another, which is the same batch system."""
        with self._lock:
            for entry in [entry for entry in self._entries.values() if entry.source == source]:
                self._keep(replace(entry, source=heir))
            self._compact()

    def leave(self, source: str) -> bool:
        """Drop the old settled submissions through a source that has none of our pilots; tell whether any stays."""
        limit = self._clock.now() - KEEP
        with self._lock:
            mine = [entry for entry in self._entries.values() if entry.source == source]
            past = [entry for entry in mine if self._is_past(entry, limit)]
            for entry in past:
                del self._entries[entry.id]
                del self._by_queue[entry.queue][entry.id]
            if past:
                self._compact()
        return len(past) < len(mine)

    def forget(self, source: str, shown: Container[str]) -> None:
        """Drop a source's settled submissions that are old and no longer shown; keep each queue's last of a type."""
        limit = self._clock.now() - KEEP
        with self._lock:
            for queue in list(self._by_queue.values()):
                newest = {entry.resource_type: entry.id for entry in queue.values()}
                for entry in list(queue.values()):
                    if entry.id == newest[entry.resource_type] or entry.id in shown:
                        continue
                    if entry.source == source and self._is_past(entry, limit):
                        del self._entries[entry.id]
                        del queue[entry.id]
            if self._lines > 4 * len(self._entries) + SPARE_LINES:
                self._compact()

    @staticmethod
    def _is_past(entry: Entry, limit: float) -> bool:
        return entry.outcome is Outcome.SETTLED and entry.ended < limit

    def _change(self, entry: Entry) -> None:
        self._keep(entry)
        try:
            self._append(entry)
        except OSError as error:
            log.error("%s: cannot write, after a restart %s counts as ambiguous: %s", self._path, entry.id, error)

    def _keep(self, entry: Entry) -> None:
        if entry.queue in self._heirs:
            entry = replace(entry, queue=self._heirs[entry.queue])
        self._entries[entry.id] = entry
        self._by_queue.setdefault(entry.queue, {})[entry.id] = entry
        if entry.outcome is Outcome.SETTLED:
            self._unsettled.pop(entry.id, None)
        else:
            self._unsettled[entry.id] = entry

    def _append(self, entry: Entry) -> None:
        """Add a line, on a line of its own also where a full disk has cut the last one short."""
        start, self._torn = "\n" if self._torn else "", True
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{start}{_line(entry)}")
        self._torn = False
        self._lines += 1

    def _compact(self) -> None:
        try:
            self._write()
        except OSError as error:
            log.warning("%s: cannot write it anew, it goes on growing: %s", self._path, error)
            self._lines = 0

    def _load(self) -> None:
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines() if self._path.exists() else []
        found: dict[str, Entry] = {}
        for line in filter(None, lines):
            entry = _entry(line)
            if entry is None:
                log.warning("%s: skipped a broken line: %.60s", self._path, line)
                continue
            found[entry.id] = entry
        now = self._clock.now()
        # Of each source, for a queue that has moved may still have pilots where it was.
        newest = {(entry.queue, entry.resource_type, entry.source): entry.id for entry in found.values()}
        for entry in found.values():
            if entry.id == newest[entry.queue, entry.resource_type, entry.source] or not self._is_past(
                entry, now - KEEP
            ):
                self._keep(self._reopened(entry, now))
        self._write()

    @staticmethod
    def _reopened(entry: Entry, now: float) -> Entry:
        """Return an entry as it counts after a restart.

        One without an answer may have been handed over just before the end, long after it was written down:
        the time in which it may still appear begins now. The host's clock may have been set back meanwhile.
        """
        if entry.outcome is Outcome.OPEN:
            return replace(entry, outcome=Outcome.AMBIGUOUS, ended=now)
        return replace(entry, ended=min(entry.ended, now))

    def _write(self) -> None:
        """Write the file anew with what is remembered."""
        rewrite(self._path, "".join(map(_line, self._entries.values())))
        self._lines = len(self._entries)


class LedgerView(Ledger):
    """The ledger as another process sees it, beside the daemon: nothing is written."""

    def mine(self, name: str) -> bool:
        """Tell whether this factory made a submission; the daemon may have made it since the file was read."""
        if super().mine(name):
            return True
        with self._lock:
            self._load()
        return super().mine(name)

    def _append(self, entry: Entry) -> None:
        pass

    def _write(self) -> None:
        pass
