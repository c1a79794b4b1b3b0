"""Credential files: looked at again when they have changed, at the cost of a stat."""

import os
import pwd
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autopyfactory.credentials import Validity, proxy, token
from autopyfactory.errors import CredentialError

_READ: Mapping[str, Callable[[bytes], Validity]] = {"proxy": proxy.read, "token": token.read}

_LONGEST = 1_000_000
"""Bytes of a file that are read; no chain of certificates comes near."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file was found to be: its validity or what is wrong with it, and a warning beside."""

    validity: Validity = field(default_factory=Validity)
    fault: str = ""
    warning: str = ""


class Files:
    """Read credential files of both kinds. Safe from many threads.

    No lock is held while a file is read: one on a file system that hangs keeps only those who want it.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Path], tuple[tuple[int, ...], Finding]] = {}

    def look(self, kind: str, path: Path) -> Finding:
        """Return what a file is, from memory as long as it has not changed."""
        try:
            status = path.stat()
            mark = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
            seen = self._seen.get((kind, path))
            if seen is not None and seen[0] == mark:
                return seen[1]
            finding = _finding(kind, path, status)
        except FileNotFoundError:
            return Finding(fault="does not exist, make it or correct the path")
        except OSError as error:
            return Finding(fault=f"cannot be read by {_name(os.geteuid())}: {error.strerror}{_owned(path)}")
        except OverflowError:
            return Finding(fault="tells a time that no clock reaches, renew it")
        self._seen[kind, path] = (mark, finding)
        return finding


def _finding(kind: str, path: Path, status: os.stat_result) -> Finding:
    if not stat.S_ISREG(status.st_mode):
        return Finding(fault="is no file, correct the path")
    with path.open("rb") as file:
        data = file.read(_LONGEST)
    try:
        validity = _READ[kind](data)
    except CredentialError as error:
        return Finding(fault=str(error))
    loose = status.st_mode & (stat.S_IRWXO | stat.S_IWGRP)
    mode = stat.S_IMODE(status.st_mode)
    return Finding(validity, warning=f"has mode {mode:04o}, keep other accounts out: chmod 600 it" if loose else "")


def _owned(path: Path) -> str:
    """Return whose the file is and its mode, for a message, as far as that can be seen."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f" (it belongs to {_name(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
