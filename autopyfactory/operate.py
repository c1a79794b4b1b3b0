"""What an operator did at run time: pauses and drains, kept beside the state, so that they survive the daemon."""

import fcntl
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from autopyfactory.errors import FactoryError

log = logging.getLogger(__name__)

ALL = "*"
_LOCK_WAIT_S = 5.0
Action = Literal["pause", "drain", "run"]


class OperateError(FactoryError):
    """What the operator asked for cannot be written down; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class OperatorState:
    """What an operator wants of a queue. `until` None: until it is resumed.

    "run" exempts a queue from a pause of all, or only records why it was resumed; `Operator.state` never
    returns it.
    """

    action: Action
    who: str
    when: float
    why: str
    until: float | None = None

    def expired(self, now: float) -> bool:
        """Tell whether its time is over."""
        return self.until is not None and self.until <= now

    def __str__(self) -> str:
        word = {"pause": "paused", "drain": "draining", "run": "resumed"}[self.action]
        until = "" if self.until is None else f" until {_stamp(self.until)}"
        return f"{word}{until} by {self.who} since {_stamp(self.when)}: {self.why}"


States = dict[str, OperatorState]
_FORMAT = TypeAdapter(States)


class Operator:
    """Read and change `<state_dir>/operator.json`: states by queue name, `*` for all queues.

    Any number of threads and processes may use it: a change holds a lock on the folder and replaces the
    file whole. `state` costs one stat as long as nothing changed. A file that cannot be read pauses
    every queue, for a forgotten pause can do harm and a superfluous one only waits.
    """

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self.path = state_dir / "operator.json"
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._states: States = {}
        self._damage: OperatorState | None = None

    def state(self, queue: str, now: float) -> OperatorState | None:
        """Return the pause or drain in force for a queue, None when it runs."""
        with self._lock:
            self._refresh(now)
            states, damage = self._states, self._damage
        if damage is not None:
            return damage
        for name in (queue, ALL):
            state = states.get(name)
            if state is not None and not state.expired(now):
                return None if state.action == "run" else state
        return None

    def states(self, now: float) -> States:
        """Return everything in force by queue name, `*` for all; raises OperateError for a damaged file."""
        return {name: state for name, state in self._read().items() if not state.expired(now)}

    def set(self, queue: str, state: OperatorState) -> None:
        """Pause or drain one queue, or all of them (`*`), which ends every exemption. Raises OperateError."""

        def change(states: States) -> None:
            if queue == ALL:
                for name in [name for name, other in states.items() if other.action == "run"]:
                    del states[name]
            states[queue] = state

        self._change(change, state.when, afresh=queue == ALL)

    def resume(self, queue: str, who: str, now: float, why: str = "") -> None:
        """Let a queue run, also while all others are paused; `*` clears everything. Raises OperateError.

        A reason is kept until the next pause of the queue, or of all.
        """

        def change(states: States) -> None:
            others = states.get(ALL)
            until = others.until if others and others.action != "run" else None
            exempt = queue != ALL and others is not None and others.action != "run"
            if queue == ALL:
                states.clear()
            states.pop(queue, None)
            if why or exempt:
                states[queue] = OperatorState("run", who, now, why or "resumed by name", until)

        self._change(change, now, afresh=queue == ALL)

    def _refresh(self, now: float) -> None:
        try:
            stat = self.path.stat()
            seen = (stat.st_ctime_ns, stat.st_ino, stat.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        except OSError:
            seen = (-1, -1, -1)
        if seen == self._seen and seen[0] >= 0:
            return
        try:
            states = self._read()
            if self._seen is not None:
                _tell_resumed(self._states, states)
            self._states, self._damage = states, None
        except OperateError as error:
            if self._damage is None or self._damage.why != str(error):
                log.warning("every queue is paused: %s", error)
                self._damage = OperatorState("pause", "the factory", now, str(error))
        self._seen = seen

    def _read(self) -> States:
        try:
            return _FORMAT.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OperateError(f"cannot read {self.path}: {error.strerror}") from None
        except ValidationError:
            raise OperateError(f"{self.path} is damaged, mend it or start afresh with 'resume --all'") from None

    def _change(self, change: Callable[[States], None], now: float, *, afresh: bool) -> None:
        with self._locked():
            try:
                states = self.states(now)
            except OperateError:
                if not afresh:
                    raise
                states = {}
            change(states)
            self._write(_FORMAT.dump_json(states, indent=1))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            folder = os.open(self._dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            hint = f"the factory makes it at its start ([factory] state_dir), {error.strerror}"
            raise OperateError(f"cannot open {self._dir}: {hint}") from None
        try:
            self._lock_folder(folder)
            yield
        finally:
            os.close(folder)

    def _lock_folder(self, folder: int) -> None:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OperateError(f"another command holds {self._dir}, nothing was changed") from None
                time.sleep(0.05)

    def _write(self, data: bytes) -> None:
        owner = self._dir.stat()
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self._dir, prefix=".operator-")
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


def _tell_resumed(before: States, now: States) -> None:
    """Log who let queues run again and why; a pause stands in the lines of the queues themselves."""
    for name, state in now.items():
        if state.action == "run" and before.get(name) != state:
            log.info("%s %s", "all queues" if name == ALL else name, state)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
