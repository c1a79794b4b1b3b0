"""Pilots as child processes of this host: the embedded default, and a workstation's batch system.

One slot is one core. Pilots beyond the slots wait, the next one is taken from the queue that has the fewest
cores running. Running ones belong to a guard process each (`fork_shim`), so they outlive the factory.
"""

import logging
import os
import shlex
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote

from autopyfactory.batch import ALL_STATES, Context, Order, fork_pilots, pilot_environment, pilot_tags
from autopyfactory.batch.cids import cid_prefix
from autopyfactory.batch.commands_options import own_account
from autopyfactory.batch.fork_files import ForkFiles, ForkFilesView, Record, alive, reap
from autopyfactory.batch.fork_options import ForkOptions, ForkQueueOptions, problems, same_allowed
from autopyfactory.batch.fork_shim import CID
from autopyfactory.batch.fork_slots import SlotPilot, Slots
from autopyfactory.batch.order import make_log_folder
from autopyfactory.config.fields import Options
from autopyfactory.config.models import CredentialOptions, FactoryOptions
from autopyfactory.config.models import QueueOptions as QueueOptionsOfAll
from autopyfactory.errors import Refused, SourceError
from autopyfactory.model import EndedPilot, Pilot, PilotGroup, PilotReport, PilotState, Submitted

log = logging.getLogger(__name__)

INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")
"""All that a pilot gets of the factory's own environment; HOME, USER, LOGNAME and SHELL are its account's."""

REMEMBER = 600.0
"""Seconds that a submission can be asked for after all its pilots have ended."""

_TICK = 0.25


@dataclass(slots=True)
class _Submission:
    """`over` is when it was first seen that all its pilots have ended."""

    record: Record
    pilots: list[SlotPilot] = field(default_factory=list)
    over: float | None = None


class ForkHost:
    """This host as a batch system.

    A thread starts the waiting pilots; the lock is held for short work on local files only.
    """

    source_kind: ClassVar[str] = "fork"
    reads_submit: ClassVar[bool] = False
    SourceOptions: ClassVar[type[Options]] = ForkOptions
    QueueOptions: ClassVar[type[Options]] = ForkQueueOptions

    @classmethod
    def check(
        cls,
        options: QueueOptionsOfAll,
        backend: Options,
        factory: FactoryOptions,
        credentials: Mapping[str, CredentialOptions],
    ) -> list[str]:
        """Return what is wrong with the account of a queue's pilots."""
        return problems(options, backend, factory, credentials)

    @classmethod
    def carries(cls, _type: str, _subtype: str) -> tuple[str, ...]:
        """Return the kinds of credentials that pilots are given: none."""
        return ()

    def __init__(self, name: str, options: ForkOptions, context: Context) -> None:
        self.name = name
        self._source = f"{self.source_kind} {name}"
        self._options = options
        self._context = context
        files = ForkFilesView if context.looking else ForkFiles
        self._files = files(context.factory.state_dir.absolute() / "fork" / quote(name, safe=""))
        self._changed = threading.Condition()
        self._starter: threading.Thread | None = None
        self._closed = False
        self._submissions: dict[str, _Submission] = {}
        self._slots = Slots(options.slots)
        self._news: list[EndedPilot] = []
        self._trouble = ""

    def shows(self, queue: str) -> list[str]:
        """Return the commands that show the pilots' files and the guards that run."""
        return [shlex.join(["ls", "-l", str(self._files.folder)]), "pgrep -af fork_shim"]

    @property
    def endpoint(self) -> str:
        """Return the name of this host."""
        return self._context.factory.host

    def poll(self) -> PilotReport:
        """Count the pilots of all queues. Raises SourceError when the files in `state_dir` cannot be read."""
        with self._changed, self._source_errors():
            self._open()
            reap()
            self._look_at(self._slots.waiting())
            self._look_at(self._slots.running.values())
            self._forget()
            news, self._news = self._news, []
            return PilotReport(groups=tuple(self._groups()), ended=tuple(news))

    def submit(self, order: Order) -> Submitted:
        """Write the order down; its pilots start as slots become free. Raises Refused."""
        self._refuse(order)
        make_log_folder(order)
        try:
            with self._changed, self._source_errors():
                self._open()
                prefix = cid_prefix(self._context.position)
                record = self._files.add(self._context.clock.now(), prefix, self._paper(order))
                self._take(record)
                self._changed.notify_all()
        except SourceError as error:
            raise Refused(str(error)) from error
        return Submitted(order.id, record.cids())

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        """Return those whose pilots have all ended, as far back as they are kept. Raises SourceError."""
        with self._changed, self._source_errors():
            self._open()
            self._look_at(self._slots.running.values())
            known = (self._submissions.get(submission) for submission in submissions)
            return frozenset(
                one.record.submission for one in known if one is not None and all(pilot.ended for pilot in one.pilots)
            )

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        """List our pilots in these states, of one queue or of all. Raises SourceError."""
        with self._source_errors():
            found = fork_pilots.listed(self._files.folder, self._context.factory.id)
            return [pilot for pilot in found if queue in {"", pilot.queue} and pilot.state in states]

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Drop waiting pilots, tell running ones to end (TERM, after the grace KILL). Raises SourceError."""
        with self._source_errors():
            count = sum(fork_pilots.remove(self._files.folder, pilot) for pilot in pilots)
            with self._changed:
                if self._starter is not None:
                    self._look_at(self._slots.waiting())
                self._changed.notify_all()
            return count

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Do nothing: this host holds no pilot."""
        return 0

    def close(self) -> None:
        """Start no more pilots; running ones go on, waiting ones are kept for the next start."""
        with self._changed:
            self._closed = True
            self._files.close()
            self._changed.notify_all()

    @contextmanager
    def _source_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise SourceError(self._source, f"no access to the pilots' files: {error}") from error

    def _open(self) -> None:
        if self._closed:
            raise SourceError(self._source, "the factory stops", stopped=True)
        if self._starter is not None:
            if not self._starter.is_alive():
                raise SourceError(self._source, "starts no pilots after a bug, see the log, restart the factory")
            return
        if not self._files.open():
            folder = self._files.folder
            raise SourceError(self._source, f"another process uses {folder}, give each factory a state_dir of its own")
        self._submissions, self._slots, self._news = {}, Slots(self._options.slots), []
        for record in self._files.records():
            self._take(record)
        self._look_at(self._slots.waiting())
        if not self._context.looking:
            self._starter = threading.Thread(target=self._start_pilots, name=f"fork-{self.name}", daemon=True)
            self._starter.start()

    def _refuse(self, order: Order) -> None:
        user = order.queue.options.submit_user
        if user in {"", own_account()} and not same_allowed(order.queue.backend):
            raise Refused("pilots need an account of their own, set submit_user (or allow_same_user = yes)")
        if order.shape.cores > self._options.slots:
            raise Refused(
                f"a pilot of {order.shape.cores} cores does not fit this host's {self._options.slots} slots, lower"
                f" cores of the queue or raise slots in [fork {self.name}]"
            )

    def describe(self, order: Order) -> str:
        """Return the command line of a pilot with all its environment."""
        paper = self._paper(order)
        environment = [f"{name}={value}" for name, value in paper["environment"].items()]
        return " \\\n  ".join(map(shlex.quote, ["env", "-i", *environment, *paper["argv"]]))

    def _paper(self, order: Order) -> dict[str, Any]:
        factory = self._context.factory
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            "count": order.count,
            "factory": factory.id,
            "host": factory.host,
            "submission": order.id,
            "queue": order.queue.name,
            "endpoint": order.endpoint,
            "shape": order.shape.tag(),
            "cores": order.shape.cores,
            "queued": self._context.clock.now(),
            "walltime": order.shape.walltime_s,
            "grace": self._options.grace,
            "user": order.queue.options.submit_user,
            "log_dir": str(order.log_dir.absolute()),
            "argv": [str(order.executable.absolute()), *order.arguments],
            "environment": inherited | pilot_environment(self._context, order, CID) | pilot_tags(self._context, order),
        }

    def _take(self, record: Record) -> None:
        one = self._submissions[record.submission] = _Submission(record)
        one.pilots += [SlotPilot(cid, record) for cid in record.cids()]
        for pilot in one.pilots:
            self._slots.add(pilot)

    def _look_at(self, pilots: Iterable[SlotPilot]) -> None:
        for pilot in tuple(pilots):
            self._look(pilot)

    def _look(self, pilot: SlotPilot) -> None:
        """Find out what became of a pilot: claimed by a guard, ended, or dead without a word."""
        if alive(pilot.process):
            return
        claim = self._files.claim(pilot.cid)
        if claim is None and not pilot.process:
            return
        if claim is None:
            self._files.drop(pilot.cid, "could not start: its guard process died at once")
            claim = self._files.claim(pilot.cid)
        if claim and claim != pilot.process and alive(claim):
            self._slots.run(pilot, claim)
            return
        # Only now, for a guard writes the end before it dies.
        if self._files.end(pilot.cid) is None:
            self._files.finish(pilot.cid, "lost: its guard process was killed or the host went down")
        end = self._files.end(pilot.cid) or {}
        self._slots.leave(pilot)
        fault = end.get("fault", "")
        began, ended = self._files.claimed(pilot.cid), end.get("at")
        pilot.ended = EndedPilot(
            pilot.cid,
            pilot.record.queue,
            pilot.record.submission,
            end.get("rc"),
            fault,
            endpoint=pilot.record.endpoint,
            node=self._context.factory.host,
            lived=None if began is None or ended is None else max(0.0, ended - began),
            at=ended or self._context.clock.now(),
        )
        if pilot.record.factory == self._context.factory.id:
            self._news.append(pilot.ended)

    def _start_pilots(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                try:
                    self._fill_slots()
                    self._trouble = ""
                except (OSError, ValueError) as error:
                    if str(error) != self._trouble:
                        log.warning("%s: cannot start pilots: %s", self._source, error)
                    self._trouble = str(error)
                except Exception:
                    log.exception("%s: no more pilots are started", self._source)
                    return
                self._changed.wait(_TICK if any(self._slots.waiting()) else None)

    def _fill_slots(self) -> None:
        self._look_at(self._slots.running.values())
        while (pilot := self._slots.next()) is not None:
            if pilot.record.cores > self._slots.size:
                self._files.drop(pilot.cid, f"needs {pilot.record.cores} cores, this host has fewer slots now")
                self._look(pilot)
            else:
                self._slots.run(pilot, self._files.start(pilot.record, pilot.cid))

    def _groups(self) -> Iterator[PilotGroup]:
        for one in self._submissions.values():
            record = one.record
            if record.factory != self._context.factory.id:
                continue
            states = Counter(pilot.state for pilot in one.pilots if pilot.ended is None)
            for state, count in states.items():
                yield PilotGroup(
                    record.submission, record.queue, state, count, record.host, record.endpoint, record.shape
                )

    def _forget(self) -> None:
        now = self._context.clock.now()
        for key, one in list(self._submissions.items()):
            if one.over is None and all(pilot.ended for pilot in one.pilots):
                one.over = now
            if one.over is not None and now - one.over > REMEMBER:
                self._files.forget(one.record)
                del self._submissions[key]
