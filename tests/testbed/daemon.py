"""The real daemon in a test: started as an ordinary user, watched by its log, and nothing left of it."""

import os
import pwd
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

from tests.testbed.patience import patience

_MARK = "APF_TEST_DAEMON"


def processes_with(mark: str) -> dict[int, str]:
    """Return the processes with `NAME=value` in their environment, by pid with their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


class _AsUser(TypedDict):
    user: int
    group: int
    extra_groups: list[int]
    cwd: str
    env: dict[str, str]


class Daemon:
    """`autopyfactory run` of the test bed's virtual environment, in the foreground, with its log in a file.

    Every process it starts inherits a mark in its environment, by which `leftovers` finds them. As a
    context manager it kills whatever is left. All times are in seconds.
    """

    def __init__(
        self, testbed: Path, conf: Path, log: Path, *, user: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.conf = conf
        self.log = log
        self._command = [str(testbed / "venv" / "bin" / "autopyfactory")]
        self._account = pwd.getpwnam(user)
        self._mark = f"{_MARK}={uuid.uuid4()}"
        self._environment = dict([self._mark.split("=")]) | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": self._account.pw_dir,
            "USER": user,
            "LOGNAME": user,
            "LANG": "C.UTF-8",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """The process id of the daemon that was started last."""
        assert self._process is not None, "not started"
        return self._process.pid

    def run(self, *words: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run any command of the command line as the daemon's user; `--conf` comes after its name."""
        command = [*self._command, words[0], "--conf", str(self.conf), *words[1:]]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **self._as_user(),
        )

    def start(self, *options: str, wait_for: str = r" serves \d+ queues?$", timeout: float = 20.0) -> Self:
        """Start it, and wait until a line of its log matches `wait_for` ("" does not wait)."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        since = self.mark()
        with self.log.open("ab") as output:
            os.chown(self.log, self._account.pw_uid, self._account.pw_gid)
            self._process = subprocess.Popen(
                [*self._command, "run", "--conf", str(self.conf), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._as_user(),
            )
        if wait_for:
            self.wait_for(wait_for, timeout, since=since)
        return self

    def mark(self) -> int:
        """Return the present end of the log, for `since` of the other methods."""
        return self.log.stat().st_size if self.log.exists() else 0

    def lines(self, pattern: str = "", *, since: int = 0) -> list[str]:
        """Return the whole lines of the log that match, from the position `since` on."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(since)
            text = file.read().decode("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1].splitlines()
        return [line for line in whole if re.search(pattern, line)]

    def wait_for(self, pattern: str, timeout: float = 30.0, *, since: int = 0, count: int = 1) -> str:
        """Return the `count`-th line that matches as soon as it is there; fail when the daemon ends before."""
        deadline = time.monotonic() + patience(timeout)
        while True:
            ended = self._process is not None and self._process.poll() is not None
            found = self.lines(pattern, since=since)
            if len(found) >= count:
                return found[count - 1]
            if ended or time.monotonic() > deadline:
                what = f"the daemon ended with {self.exit_code}" if ended else f"not within {timeout:.0f} s"
                raise AssertionError(f"no line {count} like {pattern!r}, {what}; the log ends:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, count: int = 40) -> str:
        """Return the last lines of the log, for the message of an assertion."""
        return "\n".join(self.lines()[-count:])

    @property
    def exit_code(self) -> int | None:
        """The exit code of the daemon started last, None while it runs."""
        return None if self._process is None else self._process.poll()

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def reload(self, *, accepted: bool = True, timeout: float = 10.0) -> str:
        """Send HUP and wait for its verdict in the log; return that line."""
        since = self.mark()
        self.send(signal.SIGHUP)
        line = self.wait_for(r" (reloaded|reload refused)\b", timeout, since=since)
        assert ("reloaded" in line) == accepted, self.tail()
        return line

    def kill(self) -> None:
        """End it by KILL, as a crash would."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10.0)

    def stop(self, *, within: float = 3.0, number: int = signal.SIGTERM) -> float:
        """Stop it by a signal; return the seconds it took. Fails when it takes longer or exits badly."""
        assert self._process is not None, "not started"
        began = time.monotonic()
        self.send(number)
        try:
            code = self._process.wait(within + 10.0)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not stop; the log ends:\n{self.tail()}") from None
        took = time.monotonic() - began
        assert code == 0, f"exit code {code}; the log ends:\n{self.tail()}"
        assert took <= within, f"the stop took {took:.1f} s; the log ends:\n{self.tail()}"
        return took

    def wait(self, timeout: float) -> int:
        """Wait until it ends by itself (`--once`, `--cycles`); return its exit code."""
        assert self._process is not None, "not started"
        try:
            return self._process.wait(patience(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {timeout:.0f} s; the log ends:\n{self.tail()}") from None

    def leftovers(self) -> dict[int, str]:
        """Return the processes that come from this daemon, itself included, by pid with their command lines."""
        return processes_with(self._mark)

    def assert_nothing_left(self, *, timeout: float = 3.0) -> None:
        """Fail unless every process that comes from it ends within the timeout."""
        deadline = time.monotonic() + timeout
        while left := self.leftovers():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.05)

    def end(self) -> None:
        """Kill it and whatever comes from it; used for cleaning up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10.0)
        for pid in self.leftovers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _as_user(self) -> _AsUser:
        account = self._account
        return {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": os.getgrouplist(account.pw_name, account.pw_gid),
            "cwd": "/",
            "env": self._environment,
        }
