"""What a daemon holds on its host: the account it runs as, its folders, its lock, its PID file, systemd's ear."""

import errno
import fcntl
import hashlib
import os
import pwd
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autopyfactory.errors import FactoryError


class StartError(FactoryError):
    """The daemon cannot start; `code` is the exit code: 2 for a wrong command line, 1 for all else."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the daemon runs as; `switch` is true when it must still become that user."""

    name: str
    uid: int
    gid: int
    home: str
    switch: bool

    @classmethod
    def of(cls, runas: str) -> "Account":
        """Find the account; root must name another one. Raises StartError."""
        uid = os.geteuid()
        if not runas and uid == 0:
            raise StartError("refusing to run as root, name an ordinary account with --runas USER", 2)
        try:
            entry = pwd.getpwnam(runas) if runas else pwd.getpwuid(uid)
        except KeyError:
            raise StartError(f"there is no account '{runas or uid}' on this host, see --runas", 2) from None
        if entry.pw_uid == 0:
            raise StartError("refusing to run as root, --runas must name an ordinary account", 2)
        if uid not in {0, entry.pw_uid}:
            raise StartError(f"only root can become '{runas}', start as root or without --runas", 2)
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, uid == 0)

    def announce(self) -> None:
        """Let the environment name the account, for all that asks it who we are."""
        os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Be the account for a while, as it will be for good: what it cannot read then cannot be read now."""
        if not self.switch:
            yield
            return
        groups, gids = os.getgroups(), os.getresgid()
        try:
            os.initgroups(self.name, self.gid)
            os.setresgid(self.gid, self.gid, gids[2])
            # The real id too, for access(2) asks that one.
            os.setresuid(self.uid, self.uid, 0)
        except OSError as error:
            raise StartError(f"cannot become '{self.name}': {error.strerror}") from None
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(*gids)
            os.setgroups(groups)

    def become(self) -> None:
        """Drop every privilege for good, and leave a folder the account may not be able to read."""
        if not self.switch:
            return
        try:
            os.initgroups(self.name, self.gid)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        except OSError as error:
            raise StartError(f"cannot become '{self.name}': {error.strerror}") from None
        os.chdir("/")


def _only_root_writes(folder: Path) -> bool:
    """Tell whether nobody but root can change any part of this path (resolved)."""
    stats = (part.stat() for part in (folder, *folder.parents))
    return all(stat.st_uid == 0 and not stat.st_mode & 0o022 for stat in stats)


def make_for(account: Account, folders: Iterable[Path]) -> None:
    """As root, make missing folders and give them to the account; existing ones stay as they are.

    Only below folders that nobody but root can write, where no link can lead us astray. Elsewhere the
    account makes its own folders, with its own rights. Raises StartError.
    """
    for folder in folders:
        if os.path.lexists(folder):
            continue
        try:
            base = next(parent for parent in folder.parents if parent.exists()).resolve()
            if _only_root_writes(base):
                folder.mkdir(mode=0o755, parents=True)
                os.chown(folder, account.uid, account.gid)
        except OSError as error:
            raise StartError(f"cannot make {folder} for '{account.name}': {error.strerror}") from None


def ensure(option: str, folder: Path) -> None:
    """Make a folder if it is missing and see that we can write there. Raises StartError naming the option."""
    remedy = f"make it and give it to '{pwd.getpwuid(os.geteuid()).pw_name}', or change {option}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise StartError(f"{option}: {folder} is no folder, change {option}") from None
    except OSError as error:
        raise StartError(f"{option}: cannot make {folder}: {error.strerror}, {remedy}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"{option}: cannot write in {folder}, {remedy}")


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
    """A file that holds our pid while we run.

    It is opened before privileges are dropped, so it may lie in a folder of root's. Raises StartError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StartError(f"cannot write the PID file {path}: {error.strerror}") from None

    @classmethod
    def early(cls, path: Path | None) -> "PidFile | None":
        """As root, open it where nobody but root can have laid a trap; elsewhere wait for `__init__`."""
        if (
            path is None
            or os.geteuid() != 0
            or not path.parent.is_dir()
            or not _only_root_writes(path.parent.resolve())
        ):
            return None
        return cls(path)

    def sign(self) -> None:
        """Write our pid into it; a reader sees the old first line or the new one."""
        _write_pid(self.fd)

    def remove(self) -> None:
        """Remove it at a clean end, or empty it where the folder is not ours."""
        with suppress(OSError):
            os.ftruncate(self.fd, 0)
            self.path.unlink()


def _write_pid(fd: int) -> None:
    line = b"%d\n" % os.getpid()
    os.pwrite(fd, line, 0)
    os.ftruncate(fd, len(line))


def notify(state: str) -> None:
    """Tell systemd, if it listens (protocol: sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.setblocking(False)
        ear.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)
