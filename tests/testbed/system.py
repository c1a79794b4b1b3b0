"""What the systems share that a test starts by hand: entering and leaving them, their processes, their commands."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class System(ABC):
    """A system that runs while it is entered; what a failed beginning left is ended too."""

    @abstractmethod
    def start(self) -> None:
        """Start its daemons."""

    @abstractmethod
    def stop(self) -> None:
        """End its daemons."""

    def begin(self) -> None:
        """Do all that is done on entering."""
        self.start()

    def end(self) -> None:
        """Do all that is done on leaving."""
        self.stop()

    def __enter__(self) -> Self:
        try:
            self.begin()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def comes(true: Callable[[], bool], seconds: float, step: float = 0.1) -> bool:
    """Wait until something is true; return False when it is not within the time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def pid_in(file: Path, name: str = "") -> int:
    """Return the process id in a file, 0 when no such process lives, or none of that name."""
    try:
        number = int(file.read_text())
        stat = Path(f"/proc/{number}/stat").read_text()
    except (OSError, ValueError):
        return 0
    lives = stat.rpartition(")")[2].split()[0] not in "ZX"
    return number if lives and (not name or f"({name})" in stat) else 0


def processes(ours: Callable[[Sequence[bytes], Path], bool]) -> Iterator[int]:
    """Return the processes that `ours` knows by the words of their environment or their folder of /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        # Zombies have no environment, and the next one may just have ended.
        with suppress(OSError):
            if ours((folder / "environ").read_bytes().split(b"\0"), folder):
                yield int(folder.name)


def kill_all(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to those of the processes that still are."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def run_as(user: str, argv: Sequence[str], env: Mapping[str, str], *, check: bool = True) -> str:
    """Return what a command prints that is run by a user; we are root."""
    done = subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *argv],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
