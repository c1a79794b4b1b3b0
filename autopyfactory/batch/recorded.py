"""What batch systems share of which the factory keeps a record of its own pilots: those by commands, and GRAM."""

import logging
import threading
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar
from urllib.parse import quote

from autopyfactory.batch import Context, Order
from autopyfactory.batch.cids import Cids
from autopyfactory.batch.commands_pilots import Pilots
from autopyfactory.batch.commands_record import Record, RecordView
from autopyfactory.batch.commands_words import Tags
from autopyfactory.command import Run, Runner
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.model import Submitted


class Recorded(ABC):
    """Keeps the record, makes the cids and submits one by one. Safe from many threads."""

    source_kind: ClassVar[str]
    log: ClassVar[logging.Logger]

    def __init__(self, name: str, context: Context, deadline: float, run: Run | None) -> None:
        self._source = f"{self.source_kind} {name}"
        self._context = context
        self._clock = context.clock
        self._deadline = deadline
        self._run = run or Runner()
        self._folder = context.factory.state_dir.absolute() / self.source_kind / quote(name, safe="")
        record = RecordView(self._folder) if context.looking else Record(self._folder)
        self._pilots = Pilots(context.factory.id, record)
        self._lock = threading.Lock()
        self._loaded = False
        self._cids = Cids(context.position)
        self._said: dict[str, str] = {}

    @classmethod
    def carries(cls, _type: str, _subtype: str) -> tuple[str, ...]:
        """Return the kinds of credentials that pilots are given."""
        return ("proxy",)

    @property
    def endpoint(self) -> str:
        """Return this host's name, for queues that name no endpoint: its commands find the system."""
        return self._context.factory.host

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        """Return those whose pilots have all ended, as far as the system has told. Raises SourceError."""
        with self._book() as pilots:
            return pilots.over(submissions)

    def close(self) -> None:
        """Kill the commands under way; who waits gets SourceError(stopped), a submission Ambiguous."""
        self._run.close()

    @contextmanager
    def _book(self) -> Iterator[Pilots]:
        """Hold the pilots' record, read at its first use."""
        with self._lock:
            try:
                if not self._loaded:
                    self._pilots.load(self._clock.now())
                    self._loaded = True
                self._catch_up()
                yield self._pilots
            except OSError as error:
                raise SourceError(self._source, f"cannot keep the record of its pilots: {error}") from error

    def _catch_up(self) -> None:
        """Take into the record what came meanwhile; called with the lock, may raise OSError."""
        return

    def _one_by_one(self, order: Order, submit: Callable[[str, float], None]) -> Submitted:
        """Submit the pilots of an order by (cid, seconds left), as many as half the deadline allows to begin.

        Raises Refused, with the cids accepted before, or Ambiguous.
        """
        began = self._clock.now()
        base = self._cids.base(began)
        cids: list[str] = []
        for number in range(order.count):
            spent = self._clock.now() - began
            if cids and spent > self._deadline / 2:
                self._once("slow", f"took {len(cids)} of {order.count} pilots in {spent:.0f} s, the rest comes later")
                break
            cid = f"{base}.{number}"
            try:
                submit(cid, self._deadline - spent)
            except Refused as refusal:
                raise Refused(f"{self._source}: {refusal.reason}", cids=cids, stopped=refusal.stopped) from None
            except Ambiguous as unclear:
                raise Ambiguous(f"{self._source}: {unclear.reason}", stopped=unclear.stopped) from None
            cids.append(cid)
        return Submitted(order.id, tuple(cids))

    def _tags(self, order: Order, cid: str) -> Tags:
        factory = self._context.factory
        return Tags(factory.id, order.queue.name, order.id, cid, factory.host, order.endpoint, order.shape.tag())

    def _once(self, topic: str, text: str) -> None:
        """Log a text when it is another one than the last on the topic."""
        if text and self._said.get(topic) != text:
            self.log.warning("%s: %s", self._source, text)
        self._said[topic] = text
