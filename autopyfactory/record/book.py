"""The file of the decision record: SQLite, one writer, any number of readers of any account.

Each cycle is a row of `cycle`; one that says the same as the queue's last only moves `queue.until` on. When a queue
has `PACK` rows, all but its newest become one row of `pack`: their lines, compressed together, take a
tenth of the room. Readers see both as one.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from autopyfactory.errors import FactoryError
from autopyfactory.record.packing import packed, unpacked
from autopyfactory.record.paper import Recorded, recorded

VERSION = 1

PACK = 128
"""Cycles of one queue that are packed together."""

APART = 3.0
"""Intervals without a cycle that end a run of equal ones: nobody knows what was in between."""

_SCHEMA = f"""
CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT UNIQUE, at REAL, until REAL, ages TEXT);
CREATE TABLE cycle (queue INTEGER, at REAL, until REAL, ages TEXT, paper TEXT, PRIMARY KEY (queue, at)) WITHOUT ROWID;
CREATE TABLE pack (queue INTEGER, first REAL, last REAL, cycles BLOB, PRIMARY KEY (queue, first));
CREATE INDEX pack_last ON pack (last);
PRAGMA user_version = {VERSION};
"""
_ENDED = """
UPDATE cycle SET until = queue.until FROM queue WHERE queue.id = ?1 AND cycle.queue = ?1 AND cycle.at = queue.at
"""
_FORGET = """
DELETE FROM cycle WHERE (until < ?1 AND at < (SELECT at FROM queue WHERE id = cycle.queue))
OR queue IN (SELECT id FROM queue WHERE until < ?1)
"""

Row = tuple[float, float, str, str]
"""One cycle in the file: at, until, ages, paper."""


class _Queue(NamedTuple):
    """A queue and its newest cycle, of which the row knows only the beginning."""

    id: int
    at: float
    until: float
    ages: str


class RecordError(FactoryError):
    """The decision record cannot be read; the message says why."""


class Writer:
    """Write the file; of one thread. Everything raises sqlite3.Error, DatabaseError when the file is no good."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(path)
        except BaseException:
            self._base.close()
            raise

    def _prepare(self, path: Path) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        [version] = self._base.execute("PRAGMA user_version").fetchone()
        if not version:
            self._base.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"{path} has the form {version}, this version writes {VERSION}")
        self._ids: dict[str, int] = dict(self._base.execute("SELECT name, id FROM queue"))
        self._rows: dict[int, int] = dict(self._base.execute("SELECT queue, count(*) FROM cycle GROUP BY queue"))
        # What another process wrote is never moved on: between the two nobody knows.
        self._last: dict[str, tuple[float, str]] = {}

    def write(self, cycles: Iterable[tuple[str, float, float, str, str]], *, forget: float | None = None) -> None:
        """Write cycles (queue, at, interval, ages, paper) in one transaction; drop those that ended before `forget`."""
        known = dict(self._ids), dict(self._rows), dict(self._last)
        self._base.execute("BEGIN IMMEDIATE")
        try:
            for queue, at, interval, ages, paper in cycles:
                self._add(queue, at, interval, ages, paper)
            if forget is not None:
                self._forget(forget)
            self._base.execute("COMMIT")
        except BaseException:
            self._ids, self._rows, self._last = known
            with suppress(sqlite3.Error):
                self._base.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file, which then is one file again."""
        with suppress(sqlite3.Error):
            self._base.close()

    def _add(self, queue: str, at: float, interval: float, ages: str, paper: str) -> None:
        at = math.floor(at * 10) / 10
        until, last = self._last.get(queue, (0.0, ""))
        if paper == last and until < at <= until + APART * interval + 60.0:
            self._base.execute("UPDATE queue SET until = ?, ages = ? WHERE id = ?", (at, ages, self._ids[queue]))
            self._last[queue] = at, paper
            return
        id_ = self._ids.get(queue) or self._new(queue)
        self._base.execute(_ENDED, (id_,))
        self._base.execute("INSERT OR REPLACE INTO cycle VALUES (?, ?, ?, ?, ?)", (id_, at, at, ages, paper))
        self._base.execute("UPDATE queue SET at = ?, until = ?, ages = ? WHERE id = ?", (at, at, ages, id_))
        self._last[queue] = at, paper
        self._rows[id_] = self._rows.get(id_, 0) + 1
        if self._rows[id_] > PACK:
            self._pack(id_, at)

    def _new(self, queue: str) -> int:
        self._ids[queue] = id_ = max(self._ids.values(), default=0) + 1
        self._base.execute("INSERT INTO queue VALUES (?, ?, 0, 0, '')", (id_, queue))
        return id_

    def _pack(self, id_: int, newest: float) -> None:
        where = (id_, newest)
        rows = self._base.execute(
            "SELECT at, until, ages, paper FROM cycle WHERE queue = ? AND at < ? ORDER BY at", where
        ).fetchall()
        if not rows:
            # The clock was set back: all others are of times to come, and are packed when those are there.
            return
        values = (id_, rows[0][0], max(until for _, until, _, _ in rows), packed(map(json.dumps, rows)))
        self._base.execute("INSERT OR REPLACE INTO pack VALUES (?, ?, ?, ?)", values)
        self._base.execute("DELETE FROM cycle WHERE queue = ? AND at < ?", where)
        self._rows[id_] = 1

    def _forget(self, before: float) -> None:
        self._base.execute("DELETE FROM pack WHERE last < ?", (before,))
        # A queue's newest row lasts until its `queue.until`.
        self._base.execute(_FORGET, (before,))
        self._rows = dict(self._base.execute("SELECT queue, count(*) FROM cycle GROUP BY queue"))


class Record:
    """Read the file, also while it is written and as another account. Raises RecordError.

    One object sees the file as it was at its first question.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base = self._open()
        try:
            self._base.execute("BEGIN")
            found = self._ask("SELECT name, id, at, until, ages FROM queue")
        except BaseException:
            self._base.close()
            raise
        self._queues = {name: _Queue(*rest) for name, *rest in found}

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def queues(self) -> list[str]:
        """Return the names of all queues that ever had a cycle, as far as it is remembered."""
        return sorted(self._queues)

    def last(self, queue: str | None = None) -> float | None:
        """Return when the newest cycle was, of one queue or of all; None when there is none."""
        times = [one.until for name, one in self._queues.items() if queue in (None, name) and one.until]
        return max(times, default=None)

    def first(self) -> float | None:
        """Return when the oldest cycle was that is remembered."""
        [[cycle, pack]] = self._ask("SELECT (SELECT min(at) FROM cycle), (SELECT min(first) FROM pack)")
        return min((at for at in (cycle, pack) if at is not None), default=None)

    def at(self, queue: str, time: float) -> Recorded | None:
        """Return the last cycle of a queue that began at or before a time."""
        return next(self.back(queue, time), None)

    def back(self, queue: str, time: float) -> Iterator[Recorded]:
        """Return the cycles of a queue that began at or before a time, newest first."""
        if queue not in self._queues:
            return
        id_ = self._queues[queue].id
        rows = "SELECT at, until, ages, paper FROM cycle WHERE queue = ? AND at <= ? ORDER BY at DESC"
        for row in self._ask(rows, id_, time):
            yield self._recorded(queue, row)
        packs = "SELECT cycles FROM pack WHERE queue = ? AND first <= ? ORDER BY first DESC"
        for [cycles] in self._ask(packs, id_, time):
            for row in reversed(self._unpacked(cycles)):
                if row[0] <= time:
                    yield self._recorded(queue, row)

    def forward(self, queue: str, first: float, last: float) -> Iterator[Recorded]:
        """Return the cycles of a queue that touch a span of time, oldest first."""
        id_ = self._queues[queue].id
        packs = "SELECT cycles FROM pack WHERE queue = ? AND first <= ? AND last >= ? ORDER BY first"
        rows = "SELECT at, until, ages, paper FROM cycle WHERE queue = ? AND at <= ? ORDER BY at"
        for [cycles] in self._ask(packs, id_, last, first):
            yield from self._touching(queue, self._unpacked(cycles), first, last)
        yield from self._touching(queue, self._ask(rows, id_, last), first, last)

    def _touching(self, queue: str, rows: Iterable[Row], first: float, last: float) -> Iterator[Recorded]:
        found = (self._recorded(queue, row) for row in rows if row[0] <= last)
        return (one for one in found if one.until >= first)

    def _recorded(self, queue: str, row: Row) -> Recorded:
        at, until, ages, paper = row
        if at == self._queues[queue].at:
            until, ages = self._queues[queue].until, self._queues[queue].ages
        try:
            return recorded(queue, at, until, ages, paper)
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self._path}: a cycle of {queue} cannot be read: {error!r}") from None

    def _unpacked(self, cycles: bytes) -> list[Row]:
        try:
            return [json.loads(line) for line in unpacked(cycles)]
        except ValueError as error:
            raise RecordError(f"{self._path}: cycles cannot be unpacked: {error}") from None

    def _ask(self, question: str, *values: object) -> list[Any]:
        try:
            return self._base.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise RecordError(f"{self._path}: cannot be read: {error}") from None

    def _open(self) -> sqlite3.Connection:
        """Open it as a reader; where nobody writes and we may not make the files beside it, as what never changes."""
        if not self._path.exists():
            raise RecordError(f"there is no decision record {self._path}")
        trouble = ""
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            base = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?{mode}", uri=True, timeout=5.0, isolation_level=None
            )
            try:
                [version] = base.execute("PRAGMA user_version").fetchone()
                base.execute("SELECT count(*) FROM queue").fetchone()
            except sqlite3.Error as error:
                base.close()
                trouble = trouble or str(error)
                continue
            if version == VERSION:
                return base
            base.close()
            raise RecordError(f"{self._path} has the form {version}, this version reads {VERSION}")
        raise RecordError(f"{self._path}: cannot be read: {trouble}")


def aside(path: Path) -> Path:
    """Move the file away, over one moved before, and what lies beside it; return where it is. Raises OSError."""
    broken = path.with_name(f"{path.name}.broken")
    path.replace(broken)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return broken
