"""What an operator did at run time: pauses and drains, kept beside the state, so that they survive the daemon.

Announced downtimes are kept by `downtimes`, in a file of their own.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from autopyfactory.downtimes import ALL, Downtimes
from autopyfactory.errors import OperateError
from autopyfactory.statefile import StateFile

log = logging.getLogger(__name__)

Action = Literal["pause", "drain", "run"]


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
        self.path = state_dir / "operator.json"
        self.downtimes = Downtimes(state_dir)
        self._file = StateFile(self.path)
        self._lock = threading.Lock()
        self._read_once = False
        self._states: States = {}
        self._damage: OperatorState | None = None

    def state(self, queue: str, now: float) -> OperatorState | None:
        """Return the pause or drain in force for a queue, None when it runs."""
        with self._lock:
            self._file.when_changed(partial(self._refresh, now))
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
            states = self._read()
            if self._read_once:
                _tell_resumed(self._states, states)
            self._states, self._damage, self._read_once = states, None, True
        except OperateError as error:
            if self._damage is None or self._damage.why != str(error):
                log.warning("every queue is paused: %s", error)
                self._damage = OperatorState("pause", "the factory", now, str(error))

    def _read(self) -> States:
        try:
            content = self._file.read()
            return {} if content is None else _FORMAT.validate_json(content)
        except ValidationError:
            raise OperateError(f"{self.path} is damaged, mend it or start afresh with 'resume --all'") from None

    def _change(self, change: Callable[[States], None], now: float, *, afresh: bool) -> None:
        with self._file.locked():
            try:
                states = self.states(now)
            except OperateError:
                if not afresh:
                    raise
                states = {}
            change(states)
            self._file.write(_FORMAT.dump_json(states, indent=1))


def _tell_resumed(before: States, now: States) -> None:
    """Log who let queues run again and why; a pause stands in the lines of the queues themselves."""
    for name, state in now.items():
        if state.action == "run" and before.get(name) != state:
            log.info("%s %s", "all queues" if name == ALL else name, state)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
