"""Pilots of queues that are not served any more: renamed, removed, disabled or out; and the sources only they use."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields
from threading import Event, Thread

from autopyfactory.batch.source import PilotSource
from autopyfactory.clock import Clock
from autopyfactory.config.models import Config
from autopyfactory.errors import FactoryError
from autopyfactory.ledger import Ledger
from autopyfactory.model import PilotCounts

log = logging.getLogger(__name__)

PACE = 60.0
"""Seconds between two looks at sources that no queue asks."""

_REPEAT = 600.0
"""Seconds before a former queue is spoken of again, unless its last pilot is gone."""


class Former:
    """Watch over former queues. `idle` are the sources that no queue uses and that have pilots, by section name.

    One thread looks at them slowly, so that their pilots count for the factory's limit; those of sources in use
    are read from what the queues' threads have polled.
    """

    def __init__(self, ledger: Ledger, clock: Clock, *, pace: float = PACE) -> None:
        self.idle: dict[str, PilotSource] = {}
        self._ledger = ledger
        self._clock = clock
        self._pace = pace
        self._used: tuple[PilotSource, ...] = ()
        self._served: frozenset[str] = frozenset()
        self._words: Mapping[str, str] = {}
        self._said: dict[tuple[str, str], tuple[int, float]] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="former", daemon=True)

    def configure(self, config: Config, used: Iterable[PilotSource]) -> None:
        """Take over the queues and sources of a configuration."""
        self._used = tuple(used)
        names = {name for queue in config.queues.values() for name in (queue.name, *queue.options.formerly)}
        self._served = frozenset(names)
        self._words = dict.fromkeys(config.disabled, "disabled") | dict.fromkeys(config.out, "out")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._stopping.set()

    def pilots(self) -> dict[tuple[str, str], PilotCounts]:
        """Return the pilots of former queues by queue and source, from the newest answers whatever their age."""
        found = {}
        for source in (*self._used, *self.idle.values()):
            answer = source.latest()
            for queue, counts in answer.by_queue.items() if answer else ():
                if queue not in self._served and counts.in_flight:
                    found[queue, source.name] = counts
        return found

    def look(self) -> None:
        """Poll the idle sources, let go of those that have none of ours, and tell what has changed."""
        for name, source in list(self.idle.items()):
            try:
                answer = source.snapshot().value
            except FactoryError:
                continue
            if not answer.shown and not self._ledger.leave(source.name) and not self._stopping.is_set():
                log.info("%s has none of our pilots any more, and no queue uses it: it is not asked again", source.name)
                if self.idle.get(name) is source:
                    self.idle.pop(name, None)
                source.close()
        self._tell()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                log.exception("a bug in looking for pilots of former queues")
            self._stopping.wait(self._pace)

    def _tell(self) -> None:
        now, found = self._clock.now(), self.pilots()
        for key in [*found, *(key for key in self._said if key not in found)]:
            queue, source = key
            counts = found.get(key, PilotCounts())
            before, at = self._said.get(key, (0, float("-inf")))
            if counts.in_flight == before or (counts.in_flight and now < at + _REPEAT):
                continue
            self._said[key] = (counts.in_flight, now)
            if counts.in_flight:
                log.info("%s", self._sentence(queue, source, counts))
            else:
                log.info("former queue %s: no pilot is left at %s", queue, source)
                del self._said[key]

    def _sentence(self, queue: str, source: str, counts: PilotCounts) -> str:
        states = [(field.name, getattr(counts, field.name)) for field in fields(counts) if field.name != "finishing"]
        listed = ", ".join(f"{name} {count}" for name, count in states if count)
        word = self._words.get(queue, "")
        adopt = "" if word else f"'formerly = {queue}' in a queue adopts them, "
        count = counts.in_flight
        return (
            f"former queue {queue}{f' ({word})' if word else ''}: {count} pilot{'' if count == 1 else 's'} ({listed}) "
            f"at {source}; {adopt}'autopyfactory kill --queue {queue}' removes them"
        )
