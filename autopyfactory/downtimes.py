"""Downtimes that an operator announced, in `<state_dir>/downtimes.json`: they survive restart and reload."""

import logging
import threading
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from autopyfactory.errors import OperateError
from autopyfactory.model import Downtime
from autopyfactory.statefile import StateFile

log = logging.getLogger(__name__)

ALL = "*"
"""Stands for all queues, also those to come."""

Announced = dict[str, list[Downtime]]
_FORMAT = TypeAdapter(Announced)


class Downtimes:
    """Read and change the downtimes by queue. Any number of threads and processes may use it.

    `of` costs one stat as long as nothing changed. With a file that cannot be read nobody knows what is
    announced: `damage` says so, and stops every queue.
    """

    def __init__(self, state_dir: Path) -> None:
        self._file = StateFile(state_dir / "downtimes.json")
        self._lock = threading.Lock()
        self._known: Announced = {}
        self._damage = ""

    def of(self, queue: str) -> tuple[Downtime, ...]:
        """Return the downtimes of a queue as far as they are known, its own and those of all."""
        with self._lock:
            self._file.when_changed(self._refresh)
            return (*self._known.get(queue, ()), *self._known.get(ALL, ()))

    def damage(self) -> str:
        """Return why the file cannot be read, "" when it can."""
        with self._lock:
            self._file.when_changed(self._refresh)
            return self._damage

    def all(self, now: float) -> Announced:
        """Return what is not over yet, by queue, the next first. Raises OperateError for a damaged file."""
        left = {
            queue: sorted((one for one in announced if one.end > now), key=lambda one: one.start)
            for queue, announced in self._read().items()
        }
        return {queue: announced for queue, announced in left.items() if announced}

    def add(self, queue: str, downtime: Downtime, now: float) -> None:
        """Announce a downtime. Raises OperateError."""
        with self._file.locked():
            announced = self.all(now)
            announced.setdefault(queue, []).append(downtime)
            self._file.write(_FORMAT.dump_json(announced, indent=1))

    def cancel(self, queue: str, now: float) -> int:
        """Take back what is announced for a queue and not over; return how many. Raises OperateError.

        `*` takes back those of all queues and of each, and begins a damaged file afresh.
        """
        with self._file.locked():
            try:
                announced = self.all(now)
            except OperateError:
                if queue != ALL:
                    raise
                announced = {}
            gone = list(announced) if queue == ALL else [queue]
            count = sum(len(announced.pop(name, ())) for name in gone)
            self._file.write(_FORMAT.dump_json(announced, indent=1))
            return count

    def _read(self) -> Announced:
        try:
            content = self._file.read()
            return {} if content is None else _FORMAT.validate_json(content)
        except ValidationError:
            text = f"{self._file.path} is damaged, mend it or start afresh with 'downtime --all --cancel'"
            raise OperateError(text) from None

    def _refresh(self) -> None:
        try:
            self._known, self._damage = self._read(), ""
        except OperateError as error:
            if self._damage != str(error):
                log.warning("nothing is submitted: %s", error)
            self._damage = str(error)
