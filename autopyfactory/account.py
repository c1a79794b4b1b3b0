"""The account that the daemon runs as, and the folders that are made for it."""

import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autopyfactory.errors import StartError


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


def only_root_writes(folder: Path) -> bool:
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
            if only_root_writes(base):
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
