"""Files of `state_dir`, replaced whole: those of one writer, and those that commands and the daemon share.

A shared one is read at any time and changed under a lock.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autopyfactory.errors import OperateError

_LOCK_WAIT_S = 5.0


def rewrite(path: Path, text: str) -> None:
    """Replace a file that only we write, or make it: who reads it finds the old text or the new, never a part.

    Raises OSError.
    """
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


class StateFile:
    """A file that is shared. Any number of threads and processes may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, int, int] | None = None

    def when_changed(self, read: Callable[[], None]) -> None:
        """Call `read` unless the file is the same as when that last came back; it costs one stat.

        For one thread at a time.
        """
        there = self._stamp()
        if there is None or there != self._read:
            read()
            self._read = there

    def _stamp(self) -> tuple[int, int, int] | None:
        """Return what tells one version of the file from the next, None where that cannot be known."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        except OSError:
            return None
        return (stat.st_ctime_ns, stat.st_ino, stat.st_size)

    def read(self) -> bytes | None:
        """Return the content, None where there is no file. Raises OperateError."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OperateError(f"cannot read {self.path}: {error.strerror}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, so that nobody else changes a file in it. Raises OperateError."""
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            hint = f"the factory makes it at its start ([factory] state_dir), {error.strerror}"
            raise OperateError(f"cannot open {self.path.parent}: {hint}") from None
        try:
            self._lock(folder)
            yield
        finally:
            os.close(folder)

    def _lock(self, folder: int) -> None:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    text = f"another command holds {self.path.parent}, nothing was changed"
                    raise OperateError(text) from None
                time.sleep(0.05)

    def write(self, data: bytes) -> None:
        """Replace the content; written by root, it stays with the folder's owner. Raises OperateError."""
        owner = self.path.parent.stat()
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}-")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            Path(temporary).replace(self.path)
        except OSError as error:
            with suppress(OSError):
                Path(temporary).unlink()
            raise OperateError(f"cannot write {self.path}: {error.strerror}, nothing was changed") from None
