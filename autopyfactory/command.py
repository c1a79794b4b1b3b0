"""Run one command of this host: a deadline for the whole of it, bounded output, C locale."""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Protocol

LIMIT = 64 * 1024 * 1024
"""Bytes of output that are read; a listing of 100,000 jobs is a third of it."""

_LINGER = 0.5
_TICK = 0.1
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said: exit code (negative: a signal) and its output in the C locale."""

    rc: int
    stdout: str = ""
    stderr: str = ""

    def said(self) -> str:
        """Return the complaint as one line: the last lines of stderr, else of stdout, else the exit code."""
        lines = [line.strip() for line in (self.stderr.strip() or self.stdout.strip()).splitlines() if line.strip()]
        return "; ".join(lines[-3:])[:400] or f"exit code {self.rc} without a word"


class NotStarted(Exception):
    """The command was surely not run."""

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


class Silent(Exception):
    """The command was started and its answer is not known: killed at the deadline or by `close`."""

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


class Run(Protocol):
    """Something that runs commands."""

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        """Run a command for at most `deadline` seconds. Raises NotStarted or Silent."""
        ...

    def close(self) -> None:
        """Kill what runs, at once and from any thread; nothing is started any more."""
        ...


class Runner:
    """Run commands as processes of this host, each in a group of its own. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        """Run a command for at most `deadline` seconds. Raises NotStarted or Silent."""
        end = time.monotonic() + deadline
        process = self._start(argv)
        try:
            with _Talk(process, stdin.encode()) as talk:
                talk.until(end)
            if self._closed and process.poll() in {None, -signal.SIGKILL}:
                raise Silent("closed", stopped=True)
            if process.poll() is None or talk.cut:
                reason = "says more than can be read" if talk.cut else f"no answer within {deadline:g} s"
                last = talk.text(process.stderr).strip().splitlines()[-1:]
                raise Silent(f"{argv[0]}: {reason}" + "".join(f"; it said: {line[:200]}" for line in last))
            return Answer(process.returncode, talk.text(process.stdout), talk.text(process.stderr))
        finally:
            self._end(process)

    def close(self) -> None:
        """Kill what runs, at once and from any thread; nothing is started any more."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill(process)

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise NotStarted("closed", stopped=True)
            self._running -= {process for process in self._running if process.poll() is not None}
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, "LC_ALL": "C", "LANG": "C"},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise NotStarted(f"cannot run {argv[0]}: {reason}") from None
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Leave nothing behind; what runs as another account may not be killed and is kept until it ends."""
        _kill(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            with self._lock:
                self._running.discard(process)


class _Talk:
    """Feed a process and gather what it says until it has ended or the time is over."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self._process = process
        self._rest = memoryview(stdin)
        self._said: dict[IO[bytes] | None, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
        self._selector = selectors.DefaultSelector()
        self.cut = False

    def __enter__(self) -> "_Talk":
        for pipe in self._pipes():
            os.set_blocking(pipe.fileno(), False)
            if pipe is self._process.stdin:
                self._selector.register(pipe, selectors.EVENT_WRITE, self._feed)
            else:
                self._selector.register(pipe, selectors.EVENT_READ, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for pipe in self._pipes():
            pipe.close()

    def until(self, end: float) -> None:
        """Talk until the process has ended and closed its output, at most until `end` (monotonic)."""
        gone = None
        while self._selector.get_map() and not self.cut and (now := time.monotonic()) < end:
            # A daemon that a command leaves behind may keep the pipes open for ever.
            if self._process.poll() is not None:
                gone = gone or now
                if now - gone > _LINGER:
                    return
            for key, _ in self._selector.select(min(_TICK, end - now)):
                key.data(key.fileobj)
        if self.cut:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, end - time.monotonic()))

    def text(self, pipe: IO[bytes] | None) -> str:
        """Return what came through a pipe."""
        return self._said[pipe].decode("utf-8", errors="replace")

    def _pipes(self) -> Iterator[IO[bytes]]:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                yield pipe

    def _feed(self, pipe: IO[bytes]) -> None:
        try:
            if self._rest:
                self._rest = self._rest[os.write(pipe.fileno(), self._rest[:_CHUNK]) :]
        except BrokenPipeError:
            self._rest = self._rest[:0]
        if not self._rest:
            self._selector.unregister(pipe)
            pipe.close()

    def _hear(self, pipe: IO[bytes]) -> None:
        data = os.read(pipe.fileno(), _CHUNK)
        if not data:
            self._selector.unregister(pipe)
        self._said[pipe] += data
        self.cut = sum(map(len, self._said.values())) > LIMIT


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
