"""What only one daemon of a host can hold: its locks, its name, and the PID file that tells of it."""

import errno
import fcntl
import hashlib
import os
import socket
import struct
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from autopyfactory.account import only_root_writes
from autopyfactory.errors import StartError


class Lock:
    """A file that the kernel keeps locked until our process dies. Raises StartError, beginning with `taken`.

    It holds the pid for humans only; one that was left behind locks nothing.
    """

    def __init__(self, path: Path, taken: str) -> None:
        self.path = path
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            hint = "remove it if another account left it there"
            raise StartError(f"cannot open the lock {self.path}: {error.strerror}, {hint}") from None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self.fd, 32, 0).split(b"\n")[0].decode("ascii", "replace") or "unknown"
            os.close(self.fd)
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise StartError(f"cannot lock {self.path}: {error.strerror}") from None
            raise StartError(f"{taken} process {holder} (lock {self.path})") from None

    def sign(self) -> None:
        """Write our pid into it."""
        _write_pid(self.fd)

    def close(self) -> None:
        """Let it go before our process ends."""
        os.close(self.fd)


def holder(path: Path) -> int | None:
    """Return the process that holds a lock file, None when there is none; the kernel tells, nothing is locked for it.

    Raises OSError when it cannot be told.
    """
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return None
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:393303 0 EOF
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


class Name:
    """A name that one process of a host can have, whatever folders it uses: an abstract socket (unix(7)).

    Raises StartError, beginning with `taken`.
    """

    def __init__(self, text: str, taken: str) -> None:
        name = text.encode()
        # The kernel takes 107 bytes.
        self.address = b"\0" + (name if len(name) < 107 else hashlib.sha256(name).hexdigest().encode())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(self.address)
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise StartError(f"cannot have the name '{text}' on this host: {error.strerror}") from None
            raise StartError(f"{taken} process {self._holder()} (socket @{text})") from None
        self.fd = self._socket.fileno()

    def sign(self) -> None:
        """Let the kernel tell our pid to whoever connects."""
        self._socket.listen(128)

    def close(self) -> None:
        """Let it go before our process ends."""
        self._socket.close()

    def _holder(self) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.setblocking(False)
            try:
                caller.connect(self.address)
                who = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            except OSError:
                return "unknown"
        return str(struct.unpack("3i", who)[0])


def claim(factory_id: str, host: str, run_dir: Path, state_dir: Path) -> tuple[Lock | Name, ...]:
    """Claim to be the one factory of this id on this host, and the one that writes into `state_dir`.

    The lock in `run_dir` also keeps those out who share it from other hosts or network namespaces. Raises
    StartError.
    """
    runs = f"factory '{factory_id}' runs already on this host as"
    writes = f"state_dir {state_dir} serves another factory, give each its own; it is used by"
    with ExitStack() as undo:
        lock = undo.enter_context(closing(Lock(run_dir / f"{factory_id}.lock", runs)))
        name = undo.enter_context(closing(Name(f"autopyfactory-{factory_id}@{host}", runs)))
        state = Lock(state_dir / "lock", writes)
        undo.pop_all()
    return lock, name, state


class PidFile:
    """A file that holds our pid while we run, and `PATH.reload` beside it, for what became of the last reload.

    Scripts take every word of a PID file for a number to signal, so nothing else is written there. Both are
    opened before privileges are dropped, so they may lie in a folder of root's. Raises StartError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._beside = path.with_name(f"{path.name}.reload")
        self.fd = _open(path)
        self.beside_fd = _open(self._beside)

    @classmethod
    def early(cls, path: Path | None) -> "PidFile | None":
        """As root, open it where nobody but root can have laid a trap; elsewhere wait for `__init__`."""
        if path is None or os.geteuid() != 0 or not path.parent.is_dir() or not only_root_writes(path.parent.resolve()):
            return None
        return cls(path)

    def sign(self) -> None:
        """Write our pid into it; a reader sees the old one or the new one."""
        _write_pid(self.fd)
        self.note("")

    def note(self, text: str) -> None:
        """Write a line into the file beside it, for who waits for it."""
        with suppress(OSError):
            _write(self.beside_fd, b"%s\n" % text.encode())

    def remove(self) -> None:
        """Remove both at a clean end, or empty them where the folder is not ours."""
        for path, fd in ((self.path, self.fd), (self._beside, self.beside_fd)):
            with suppress(OSError):
                os.ftruncate(fd, 0)
                path.unlink()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StartError(f"cannot write the PID file {path}: {error.strerror}") from None


def _write_pid(fd: int) -> None:
    _write(fd, b"%d\n" % os.getpid())


def _write(fd: int, content: bytes) -> None:
    os.pwrite(fd, content, 0)
    os.ftruncate(fd, len(content))
