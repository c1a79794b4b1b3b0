"""GRAM gatekeepers, by globusrun: `backend = globus`, types gt2 and gt5, which speak the same protocol.

GRAM lists no jobs and knows no tags: what the factory remembers of its pilots, below `state_dir`, is all there is. A
request runs only when it has been confirmed (two-phase commit), so one that got no answer becomes no pilot.
"""

import logging
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

from autopyfactory.batch import ALL_STATES, Context, Order
from autopyfactory.batch.commands_options import absent, hiding_lines
from autopyfactory.batch.commands_pilots import Pilots
from autopyfactory.batch.commands_words import Answer, End, Seen
from autopyfactory.batch.globus_call import Globusrun
from autopyfactory.batch.globus_lost import WRITTEN_OFF, Notes, Proxies
from autopyfactory.batch.globus_options import GlobusOptions, problems
from autopyfactory.batch.globus_rsl import GlobusQueueOptions, hiding, request
from autopyfactory.batch.globus_slips import KEEP, Slip, Slips
from autopyfactory.batch.globus_turns import UNANSWERED, Turns
from autopyfactory.batch.globus_words import accepted, cancelled, complaint, unreachable
from autopyfactory.batch.order import make_log_folder
from autopyfactory.batch.recorded import Recorded
from autopyfactory.batch.script import pilot_script, read_wrapper
from autopyfactory.command import NotStarted, Run, Silent
from autopyfactory.config.fields import Options
from autopyfactory.config.models import CredentialOptions, FactoryOptions
from autopyfactory.config.models import QueueOptions as QueueOptionsOfAll
from autopyfactory.config.problems import Fault
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.model import Pilot, PilotReport, PilotState, Submitted, Trouble

log = logging.getLogger(__name__)

RETRY = 120.0
"""Seconds after which an endpoint that did not take pilots is tried again like any other."""

REMOVED = "removed"


class Globus(Recorded):
    """The gatekeepers of some queues. Safe from many threads; the lock is never held while a command runs."""

    source_kind: ClassVar[str] = "globus"
    log = log
    SourceOptions: ClassVar[type[Options]] = GlobusOptions
    QueueOptions: ClassVar[type[Options]] = GlobusQueueOptions

    @classmethod
    def check(
        cls,
        options: QueueOptionsOfAll,
        backend: Options,
        factory: FactoryOptions,
        credentials: Mapping[str, CredentialOptions],
    ) -> list[str]:
        """Return what a queue lacks for GRAM, and what would hide its pilots."""
        return list(problems(options, backend))

    @classmethod
    def check_submit(cls, submit: Mapping[str, str]) -> Iterator[Fault]:
        """Say which of a queue's `submit.X` would hide its pilots."""
        return hiding_lines(name for name in submit if hiding(GlobusQueueOptions(), [name]))

    @classmethod
    def lacking(cls, _type: str, _subtype: str, sources: Sequence[Options] = ()) -> str:
        """Say which of the commands this host has not."""
        return "; ".join(filter(None, (absent(("globusrun",), sources), absent(("stdbuf",)))))

    def __init__(self, name: str, options: GlobusOptions, context: Context, *, run: Run | None = None) -> None:
        super().__init__(name, context, options.deadline, run)
        self._options = options
        self._globusrun = Globusrun(self._run, options.bin_dir)
        self._looking = context.looking
        folder = self._folder
        self._slips = Slips(folder / "slips")
        self._turns = Turns(
            self._globusrun, context.clock, options.at_once, folder / "contacts.json", looking=context.looking
        )
        self._proxies = Proxies()
        self._notes = Notes(folder / "written-off")
        self._began = context.clock.now()
        self._under_way: set[str] = set()
        self._settled: set[str] = set()
        self._silent: dict[str, float] = {}
        self._refusing: dict[str, float] = {}
        self._removed: set[str] = set()

    def describe(self, order: Order) -> str:
        """Return the command line of the order's first pilot, its RSL, and the script inside. Raises Refused."""
        cid = f"{self._cids.base(self._clock.now())}.0"
        script = self._script(order, cid, read_wrapper(order.executable))
        line = shlex.join(self._globusrun.argv(str(order.proxy or ""), self._submission(order, f"{cid}.rsl")))
        return f"{line}\n\n# {cid}.rsl\n{request(order, script, cid)}\n\n# the script inside\n{script}"

    def poll(self) -> PilotReport:
        """Ask for the pilots whose turn it is and report all. Raises SourceError while some were never asked for."""
        with self._round() as book:
            alive = book.alive()
            self._tell(self._turns.failures(alive))
            troubles = self._troubles(self._turns.unreachable(alive), self._clock.now())
            if waiting := self._turns.waiting(alive):
                reason = f"{waiting} of {len(alive)} pilots wait for their turn to be asked for, GRAM has no list"
                raise SourceError(self._source, reason)
            return PilotReport(tuple(book.groups(self._clock.now())), book.news(), troubles, self._turns.oldest(alive))

    def submit(self, order: Order) -> Submitted:
        """Submit the pilots of the order one by one, as many as half the deadline allows to begin.

        Raises Refused, with the cids accepted before, or Ambiguous.
        """
        wrapper = read_wrapper(order.executable)
        make_log_folder(order)

        def submit(cid: str, left: float) -> None:
            try:
                self._submit_one(order, cid, wrapper, left)
            except Ambiguous:
                self._refusing.setdefault(order.endpoint, self._clock.now())
                raise
            self._refusing.pop(order.endpoint, None)

        return self._one_by_one(order, submit)

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        """List our pilots in these states, of one queue or of all, after a round of questions. Raises SourceError."""
        with self._round() as book:
            return list(book.listed(queue, states))

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Cancel pilots, as many as the deadline allows to begin in its first half. Raises SourceError."""
        with self._book() as book:
            proxies = book.accounts(pilot.id for pilot in pilots)
        chosen = [(proxy, id_) for proxy, ids in proxies.items() for id_ in ids]
        last = self._clock.now() + self._options.deadline / 2
        with self._stopping(), ThreadPoolExecutor(self._options.at_once, thread_name_prefix="globus") as pool:
            results = list(pool.map(lambda pair: self._cancel(pair[0], pair[1], last), chosen))
        failures = [reason for reason in results if reason]
        if failures and len(failures) == len(chosen):
            raise SourceError(self._source, failures[0])
        self._once("remove", f"{len(failures)} of {len(chosen)} not removed: {failures[0]}" if failures else "")
        return len(chosen) - len(failures)

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Release nothing: GRAM has no held jobs."""
        return 0

    def lost(self, queue: str) -> list[Pilot]:
        """Return a queue's pilots that the factory's record calls unknown and of which no CE tells now either.

        What the factory has not lost sight of may be back at once. Raises SourceError.
        """
        listed = self.pilots(queue, frozenset({PilotState.UNKNOWN}))
        return [one for one in listed if one.word in UNANSWERED and one.since and one.since < self._began]

    def write_off(self, pilots: Sequence[Pilot]) -> None:
        """Count pilots that `lost` returned no more, wherever this factory runs. Raises SourceError."""
        with self._book():
            self._notes.write((pilot.cid, pilot.id) for pilot in pilots)

    def _catch_up(self) -> None:
        """Take in the slips that nobody waits for."""
        for slip in self._slips.left():
            if slip.tags.cid not in self._under_way:
                self._settle(slip)

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except (NotStarted, Silent) as error:
            raise SourceError(self._source, error.reason, stopped=error.stopped) from None

    @contextmanager
    def _round(self) -> Iterator[Pilots]:
        """Ask for pilots whose turn it is, and hold the record with what is known of all of them then."""
        with self._book() as book:
            asked = list(book.alive())
        self._proxies.renew(asked)
        with self._stopping():
            told = {one.id: self._judged(one) for one in self._turns.ask(asked, self._options.deadline)}
        strange = sorted({one.word for one in told.values() if one.state is PilotState.UNKNOWN})
        self._once("state", f"states that we do not know, counted as unknown: {', '.join(strange)}" if strange else "")
        with self._book() as book:
            now, alive = self._clock.now(), book.alive()
            kept = {pilot.id: Seen(pilot.id, None, pilot.state, pilot.word) for pilot in alive if pilot.state}
            lost = {one.id: one for one in self._turns.lost_sight_of(alive, now - self._options.max_age)}
            book.shown((kept | told | lost).values(), now)
            self._notes.take_in(book, now, looking=self._looking)
            self._give_up(book, lost, now)
            yield book

    def _give_up(self, book: Pilots, lost: Iterable[str], now: float) -> None:
        """Write off the pilots that have been of unknown state for too long; who only looks on does not."""
        limit = self._options.give_up
        since = {pilot.id: pilot.since for pilot in book.alive()}
        overdue = [id_ for id_ in lost if (at := since.get(id_)) is not None and now - at > limit]
        if overdue and not self._looking:
            book.write_off(overdue, WRITTEN_OFF, now)
            text = "wrote off %d pilots: no answer of their CE for %g h; they may still run, and are counted no more"
            log.error(f"%s: {text}", self._source, len(overdue), limit / 3600)

    def _judged(self, one: Seen) -> Seen:
        """Call removed what we removed."""
        if not isinstance(one.state, End) or one.id not in self._removed:
            return one
        self._removed.discard(one.id)
        return replace(one, state=End(fault=REMOVED))

    def _tell(self, failures: Mapping[str, str]) -> None:
        """Say on change where pilots cannot be asked for."""
        for endpoint, reason in failures.items():
            if self._said.get(endpoint) and not reason:
                log.info("%s: %s answers again for its pilots", self._source, endpoint)
            self._once(endpoint, f"{endpoint} does not answer for its pilots: {reason}" if reason else "")

    def _troubles(self, silent: Iterable[str], now: float) -> dict[str, Trouble]:
        """Return the endpoints that do not answer, or could not be reached for a recent submission."""
        self._silent = {name: self._silent.get(name, now) for name in silent}
        self._refusing = {name: since for name, since in self._refusing.items() if since > now - RETRY}
        return {name: Trouble("unreachable", since) for name, since in (self._refusing | self._silent).items()}

    def _submit_one(self, order: Order, cid: str, wrapper: str, deadline: float) -> None:
        rsl = request(order, self._script(order, cid, wrapper), cid)
        if order.proxy is None or not order.proxy.is_file():
            raise Refused(f"there is no proxy {order.proxy}, make one or correct the option proxy")
        self._proxies.chosen(order.queue.name, str(order.proxy))
        self._under_way.add(cid)
        try:
            slip = self._slips.write(self._tags(order, cid), str(order.proxy), self._clock.now(), rsl)
            self._exchange(order, slip, deadline)
        except OSError as error:
            raise Refused(f"cannot write down a submission, nothing was submitted: {error}") from None
        finally:
            self._under_way.discard(cid)

    def _exchange(self, order: Order, slip: Slip, deadline: float) -> None:
        """Run globusrun and find out what became of the request. Raises Refused or Ambiguous."""
        words = self._submission(order, str(slip.rsl))
        unclear, stopped = "", False
        try:
            answer = self._globusrun.noted(slip.answer, slip.proxy, words, deadline)
        except NotStarted as error:
            slip.drop()
            raise Refused(f"{error.reason}, nothing was submitted", stopped=error.stopped) from None
        except Silent as error:
            unclear, stopped, answer = error.reason, error.stopped, Answer(0)
        if slip.contact():
            self._accept(slip)
        elif accepted(answer) is False:
            slip.drop()
            if unreachable(answer):
                self._refusing.setdefault(order.endpoint, self._clock.now())
            raise Refused(complaint(answer))
        else:
            raise Ambiguous(unclear or complaint(answer), stopped=stopped)

    def _accept(self, slip: Slip) -> None:
        try:
            with self._book():
                self._settle(slip)
        except SourceError as error:
            # The slip stays, and with it the contact.
            self._once("record", error.reason)

    def _settle(self, slip: Slip) -> None:
        """Take the pilot of a slip into the record, or throw the slip away when no contact will come any more."""
        contact, now = slip.contact(), self._clock.now()
        if contact and contact not in self._settled:
            self._pilots.accepted(contact, slip.tags, slip.proxy, slip.at)
            self._pilots.shown([Seen(contact, None, PilotState.PENDING)], now)
            self._turns.heard_of(contact)
        if self._looking:
            self._settled.add(contact)
        elif contact or now > slip.at + KEEP:
            slip.drop()

    def _cancel(self, proxy: str, id_: str, last: float) -> str:
        """Cancel a job; return why it could not be done, or ""."""
        if self._clock.now() > last:
            return "there was no time, ask again"
        try:
            answer = self._globusrun(proxy, ["-k", self._turns.contact(id_)], self._options.deadline)
        except (NotStarted, Silent) as error:
            if error.stopped:
                raise
            return error.reason
        if not cancelled(answer):
            return complaint(answer)
        self._removed.add(id_)
        return ""

    def _script(self, order: Order, cid: str, wrapper: str) -> str:
        """Return the script of a pilot: GRAM brings a proxy of its own, and output comes only where it can."""
        backend = order.queue.backend
        kept = isinstance(backend, GlobusQueueOptions) and bool(backend.output_url)
        plain = replace(order, proxy=None, log_url=order.log_url if kept else "")
        return pilot_script(self._context, plain, cid, wrapper)

    def _submission(self, order: Order, file: str) -> list[str]:
        backend = order.queue.backend
        more = shlex.split(backend.extra_arguments) if isinstance(backend, GlobusQueueOptions) else []
        return ["-F", "-q", *more, "-r", order.endpoint, "-f", file]
