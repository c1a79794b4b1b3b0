"""What the fork backend keeps on disk: one file per submission, a claim and an end per pilot.

    BASE.json         the order, written whole before the submission counts as accepted
    BASE.N.claim      who runs pilot N (written by its guard), or that nobody ever will
    BASE.N.end        how it ended

Each file is made once and never changed. A claim can be made by one only: by the guard that starts the
pilot, or by the factory that drops it; so no pilot is started twice, whatever died in between.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autopyfactory.batch import fork_shim
from autopyfactory.batch.cids import base36
from autopyfactory.batch.fork_shim import identity, keep, stat_fields

_children: set[str] = set()
"""Guards that this process has started, by identity: a reload makes new objects, the children stay ours."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the factory itself needs of a submission's file; the guard reads the rest."""

    base: str
    count: int
    factory: str
    host: str
    submission: str
    queue: str
    endpoint: str
    shape: str
    cores: int
    queued: float

    def cids(self) -> tuple[str, ...]:
        """Return the cids of its pilots, in order."""
        return tuple(f"{self.base}.{index}" for index in range(self.count))


class ForkFiles:
    """The folder of one fork source. Everything in it raises OSError as the file system does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None

    def open(self) -> bool:
        """Take the folder for this process; return False when another process has it.

        A record lock is used, for it dies with the process and no child inherits it.
        """
        if self._lock is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("a", encoding="utf-8")
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                return False
            self._lock = lock
        return True

    def close(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def records(self) -> list[Record]:
        """Return what was submitted and not cleaned, oldest first, and clear away what a crash left over.

        Raises ValueError naming a file that cannot be read: its pilots are unknown then, not none.
        """
        records = self.submissions()
        bases = {record.base for record in records}
        for path in self.folder.iterdir():
            if "." in path.name and path.name.partition(".")[0] not in bases:
                path.unlink(missing_ok=True)
        return records

    def submissions(self) -> list[Record]:
        """Return the same and clear nothing away; the folder need not be ours. Raises ValueError."""
        return [self._read(file) for file in sorted(self.folder.glob("*.json"))]

    def _read(self, file: Path) -> Record:
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return Record(**{name: data[name] for name in Record.__slots__})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error}), look into it and move it away") from None

    def add(self, stamp: float, prefix: str, order: Mapping[str, Any]) -> Record:
        """Write a submission for good, under the first free base from the time `stamp` on."""
        milliseconds = int(stamp * 1000)
        while True:
            base = prefix + base36(milliseconds)
            if keep(str(self.folder / f"{base}.json"), {"base": base, **order}):
                break
            milliseconds += 1
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._read(self.folder / f"{base}.json")

    def claim(self, cid: str) -> str | None:
        """Return the identity of the guard that claimed a pilot ("" for a dropped one), None if nobody did."""
        claim = self._json(f"{cid}.claim")
        return None if claim is None else str(claim.get("process", ""))

    def claimed(self, cid: str) -> float | None:
        """Return when a pilot was claimed, None if nobody did."""
        try:
            return (self.folder / f"{cid}.claim").stat().st_mtime
        except FileNotFoundError:
            return None

    def end(self, cid: str) -> dict[str, Any] | None:
        """Return `rc` and `fault` of a pilot that has ended, and `at` where its guard saw it end."""
        return self._json(f"{cid}.end")

    def drop(self, cid: str, fault: str) -> bool:
        """Make sure that a pilot never starts; return False when it has been claimed."""
        if not keep(str(self.folder / f"{cid}.claim"), {"process": ""}):
            return False
        self.finish(cid, fault)
        return True

    def finish(self, cid: str, fault: str) -> None:
        """Write the end of a pilot whose guard did not."""
        keep(str(self.folder / f"{cid}.end"), {"rc": None, "fault": fault})

    def forget(self, record: Record) -> None:
        """Remove the files of a submission, the order first: without it nothing starts the pilots again."""
        (self.folder / f"{record.base}.json").unlink(missing_ok=True)
        for path in self.folder.glob(f"{record.base}.*"):
            path.unlink(missing_ok=True)

    def _json(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error}), look into it and remove it") from None

    def start(self, record: Record, cid: str) -> str:
        """Start the guard of a pilot and return its identity at once, without waiting for anything."""
        null = os.devnull
        argv = [sys.executable, "-I", "-S", fork_shim.__file__, "guard", str(self.folder), record.base]
        pid = os.posix_spawn(
            sys.executable,
            [*argv, cid.rpartition(".")[2]],
            {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, null, os.O_RDWR, 0) for fd in (0, 1, 2)],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD],
        )
        process = identity(pid)
        _children.add(process)
        return process


class ForkFilesView(ForkFiles):
    """The folder as another process sees it, beside the daemon: no lock is taken and nothing is written."""

    def open(self) -> bool:
        """Look only."""
        return True

    def records(self) -> list[Record]:
        """Return what was submitted and not cleaned, oldest first."""
        return self.submissions()

    def drop(self, cid: str, fault: str) -> bool:
        """Leave it to the daemon."""
        return False

    def finish(self, cid: str, fault: str) -> None:
        """Leave it to the daemon."""

    def forget(self, record: Record) -> None:
        """Leave it to the daemon."""


def reap() -> None:
    """Take guards of this process that are dead off the process table, and no other child."""
    for process in list(_children):
        if not alive(process):
            _children.discard(process)


def alive(process: str) -> bool:
    """Return whether the process of this identity runs; one that is a dead child of ours is reaped."""
    if not process:
        return False
    pid = int(process.split()[1])
    if identity(pid) != process:
        return False
    fields = stat_fields(pid)
    if fields is None or fields[0] not in "ZX":
        return fields is not None
    if int(fields[1]) == os.getpid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return False


def terminate(process: str) -> None:
    """Ask the guard of this identity to end its pilot; it sees to the rest."""
    if alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process.split()[1]), signal.SIGTERM)
