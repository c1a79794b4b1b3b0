"""Look after single pilots of one source: the held ones, by the table in `held`, and those that are too old.

It works in a thread of its own, which every good count wakes and no queue waits for: one listing of the pilots
concerned, then what has to be done with them. Its calls have the source's deadline like all others.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from autopyfactory.batch import Batch
from autopyfactory.batch.attempts import Attempts
from autopyfactory.batch.held import Rows, row_of, summary
from autopyfactory.clock import Clock
from autopyfactory.config.models import HeldOptions, QueueConfig
from autopyfactory.errors import SourceError
from autopyfactory.model import Pilot, PilotCounts, PilotState, Trouble

log = logging.getLogger(__name__)

PART = 20
"""One in so many waiting pilots of a queue is removed per cycle for its age, at least one."""

BURST = 60.0
"""Seconds of a rate that may be used at once after a time without use."""

SETTLED = 5.0
"""Seconds before a held pilot is released: HTCondor may leave one idle for ever whose shadow still goes (25.14)."""

PATIENCE = 10.0
"""Seconds of a round after which a failure ends it: a source that hangs would hang with each further order."""

UNLISTED = 600.0
"""Seconds for which pilots found held at the start slow their endpoints down although they cannot be listed."""

WAITING = frozenset({PilotState.UNSENT, PilotState.PENDING})
STARTED = frozenset({PilotState.RUNNING, PilotState.SUSPENDED})


@dataclass(frozen=True, slots=True)
class Ages:
    """How old pilots of a queue may become, in seconds, and the queue's interval."""

    pending: float | None
    running: float | None
    interval: float


@dataclass(slots=True)
class _Allowance:
    """What a rate allows; a little is saved up."""

    left: float = 1.0
    at: float = field(default=float("-inf"))

    def take(self, wanted: int, rate: float, now: float) -> int:
        """Return how many of the wanted may be dealt with now."""
        most = max(1.0, rate * BURST)
        self.left = min(most, self.left + rate * (now - self.at)) if self.at > 0 else self.left
        granted = min(wanted, int(self.left))
        self.left, self.at = self.left - granted, now
        return granted


class Tender:
    """Look after the pilots of one source, those of former names as their heirs'. `tend` runs in one thread.

    It does nothing before it is configured. `may_act` tells whether pilots may be touched now. `paused` are queues
    at endpoints that get probes only, `held` says by queue why pilots are held; both are replaced whole.
    """

    def __init__(self, name: str, batch: Batch, clock: Clock, *, may_act: Callable[[], bool] = lambda: True) -> None:
        self.name = name
        self.paused: Mapping[tuple[str, str], Trouble] = {}
        self.held: Mapping[str, str] = {}
        self._batch = batch
        self._clock = clock
        self._may_act = may_act
        self._rows: Rows = {}
        self._acts = False
        self._ages: Mapping[str, Ages] = {}
        self._heirs: Mapping[str, str] = {}
        self._changed = threading.Condition()
        self._wanted: frozenset[PilotState] = frozenset()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._allowances: dict[tuple[str, str], _Allowance] = {}
        self._attempts = Attempts(clock)
        self._aged: dict[str, float] = {}
        self._newest_hold: dict[tuple[str, str], float] = {}
        self._cured: dict[tuple[str, str], float] = {}
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._began = 0.0
        self._unlisted = float("inf")
        self._troubles: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    def configure(self, rows: Rows, queues: Iterable[QueueConfig], *, act: bool = True) -> None:
        """Take over the table, in the order in which it is asked, and the queues' ages; not `act`: only look."""
        served = list(queues)
        self._rows, self._acts = rows, act
        self._heirs = {old: queue.name for queue in served for old in queue.options.formerly}
        self._ages = {
            queue.name: Ages(queue.options.max_pending_age, queue.options.max_running_age, queue.options.interval)
            for queue in served
        }

    def notice(self, counts: Mapping[str, PilotCounts]) -> None:
        """Take note of a good count and return at once; the thread goes to work where there is something to do."""
        wanted = self.wanted(counts)
        if PilotState.HELD not in wanted or self._clock.now() > self._unlisted + UNLISTED:
            self.paused, self.held, self._told = {}, {}, frozenset()
        if not wanted:
            return
        with self._changed:
            self._wanted = wanted
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=f"tender {self.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def look(self, held_at: Mapping[tuple[str, str], int]) -> None:
        """Learn what is paused from the held pilots that the first count shows, before anybody sees it; touch none.

        Where they cannot be listed, the queues that have some get probes only at their endpoints, until they are
        listed or for ten minutes. Called before the thread is there.
        """
        places = [(self._heirs.get(queue, queue), at) for (queue, at), count in held_at.items() if count]
        if not (self._rows and places):
            return
        self._unlisted = self._clock.now()
        trouble = Trouble("holding pilots that cannot be listed", self._unlisted)
        self.paused = {place: trouble for queue, at in places for place in ((queue, at), (queue, ""))}
        with self._round():
            self._see_held(self._listed(frozenset({PilotState.HELD})))

    def wanted(self, counts: Mapping[str, PilotCounts]) -> frozenset[PilotState]:
        """Return the states of the pilots that have to be listed: nothing is asked that nobody needs."""
        states: set[PilotState] = set()
        if not self._rows:
            return frozenset()
        for queue, one in counts.items():
            ages = self._ages.get(self._heirs.get(queue, queue))
            if one.held:
                states.add(PilotState.HELD)
            if one.running and any(name == self._heirs.get(queue, queue) for name, _ in self.paused):
                states.add(PilotState.RUNNING)
            if ages and ages.pending is not None and one.unsent + one.pending:
                states |= WAITING
            if ages and ages.running is not None and one.running + one.suspended:
                states |= STARTED
        return frozenset(states)

    def close(self) -> None:
        """Do nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted)
                if self._closed:
                    return
                wanted, self._wanted = self._wanted, frozenset()
            self.tend(wanted)

    def tend(self, states: frozenset[PilotState]) -> None:
        """List the pilots in these states and deal with them; without an answer nothing is done.

        What is done with some of them and fails keeps nothing from the others, unless the source is slow to fail.
        """
        with self._round():
            pilots = self._listed(states)
            self._note_cures(pilots)
            for name, (row, held) in self._see_held(pilots).items():
                self._deal_with(name, row, held)
            self._tend_old([pilot for pilot in pilots if pilot.state is not PilotState.HELD])

    @contextmanager
    def _round(self) -> Iterator[None]:
        self._troubles, self._began = (self._troubles[1], frozenset()), self._clock.now()
        try:
            with self._trying():
                yield
        except SourceError:
            return
        except Exception:
            log.exception("%s: a bug in looking after its pilots", self.name)

    def _listed(self, states: frozenset[PilotState]) -> list[Pilot]:
        return [
            replace(pilot, queue=self._heirs.get(pilot.queue, pilot.queue)) for pilot in self._batch.pilots("", states)
        ]

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """Log, on change, what the source refuses; go on unless it is closed, or the round has lasted."""
        try:
            yield
        except SourceError as error:
            before, now = self._troubles
            if not error.stopped and error.reason not in before | now:
                log.warning("%s (looking after single pilots; it is tried again with the next count)", error)
            self._troubles = (before, now | {error.reason})
            if error.stopped or self._clock.now() > self._began + PATIENCE:
                raise

    def _see_held(self, pilots: Iterable[Pilot]) -> dict[str, tuple[HeldOptions, list[Pilot]]]:
        """Tell of the held ones and of what they pause; return them by the row that speaks of them."""
        held = [pilot for pilot in pilots if pilot.state is PilotState.HELD]
        by_row: dict[str, tuple[HeldOptions, list[Pilot]]] = {}
        by_queue: dict[str, list[Pilot]] = {}
        for pilot in held:
            name, row = row_of(self._rows, pilot)
            by_row.setdefault(name, (row, []))[1].append(pilot)
            by_queue.setdefault(pilot.queue, []).append(pilot)
        self.held = {queue: summary(those) for queue, those in by_queue.items()}
        self._unlisted = float("inf")
        self.paused = dict(self._paused(by_row))
        self._tell(by_row)
        return by_row

    def _note_cures(self, pilots: Sequence[Pilot]) -> None:
        """Note where a pilot runs that was submitted after the last hold: whatever was wrong there is cured."""
        for pilot in pilots:
            place = (pilot.queue, pilot.endpoint)
            hold = self._newest_hold.get(place)
            if hold is not None and pilot.state is PilotState.RUNNING and (pilot.submitted or 0.0) > hold:
                self._cured[place] = hold
        self._newest_hold = {}

    def _paused(self, by_row: Mapping[str, tuple[HeldOptions, list[Pilot]]]) -> dict[tuple[str, str], Trouble]:
        paused: dict[tuple[str, str], Trouble] = {}
        for row, pilots in by_row.values():
            for pilot in pilots if row.action == "pause" else ():
                since = pilot.since or self._clock.now()
                held_at = (pilot.queue, pilot.endpoint)
                self._newest_hold[held_at] = max(since, self._newest_hold.get(held_at, since))
                if since <= self._cured.get(held_at, float("-inf")):
                    continue
                # Also for a queue that names no endpoint: whatever the tag says, it is its source.
                for place in ((pilot.queue, pilot.endpoint), (pilot.queue, "")):
                    paused[place] = Trouble("paused", min(since, paused[place].since if place in paused else since))
        return paused

    def _tell(self, by_row: Mapping[str, tuple[HeldOptions, list[Pilot]]]) -> None:
        """Log, on change, what has a remedy or waits for one."""
        told = set()
        for name, (row, pilots) in by_row.items():
            for queue in sorted({pilot.queue for pilot in pilots}) if row.remedy or row.action == "tell" else ():
                told.add((name, queue))
                if (name, queue) not in self._told:
                    text = summary([pilot for pilot in pilots if pilot.queue == queue], 200)
                    remedy = f"; {row.remedy}" if row.remedy else ""
                    log.warning("%s: %s%s", self.name, text, remedy, extra={"queue": queue})
        self._told = frozenset(told)

    def _deal_with(self, name: str, row: HeldOptions, pilots: Sequence[Pilot]) -> None:
        if row.action not in {"release", "remove"} or not (self._acts and self._may_act()):
            return
        now = self._clock.now()
        after = max(row.after, SETTLED) if row.action == "release" else row.after
        due = [pilot for pilot in pilots if pilot.since is not None and now - pilot.since >= after]
        fresh = [pilot for pilot in due if row.action == "release" and self._attempts.releases(pilot) < row.times]
        released = self._limited((name, "release"), row, fresh)
        if released:
            with self._trying(), self._attempts.order(released, release=True):
                self._say("released", self._batch.release_pilots(released), released)
        removed = self._limited((name, "remove"), row, [pilot for pilot in due if pilot not in fresh])
        if removed:
            with self._trying(), self._attempts.order(removed):
                self._say("removed", self._batch.remove_pilots(removed), removed)

    def _limited(self, key: tuple[str, str], row: HeldOptions, pilots: Sequence[Pilot]) -> Sequence[Pilot]:
        """Return as many of the pilots as the row's rate allows now, in the order of their turn."""
        if not pilots:
            return ()
        granted = self._allowances.setdefault(key, _Allowance()).take(len(pilots), row.rate, self._clock.now())
        return sorted(pilots, key=lambda pilot: (self._attempts.failed(pilot), pilot.since or 0.0))[:granted]

    def _say(self, word: str, count: int, pilots: Sequence[Pilot]) -> None:
        if count:
            log.info("%s: %s %d held pilots; of %s", self.name, word, count, summary(pilots))

    def _tend_old(self, pilots: Sequence[Pilot]) -> None:
        if not (self._acts and self._may_act()):
            return
        for queue, ages in self._ages.items():
            mine = [pilot for pilot in pilots if pilot.queue == queue]
            if ages.running is not None:
                old = self._older(mine, STARTED, ages.running)
                self._remove_old(queue, old, f"running for more than {ages.running / 3600:g} h")
            if ages.pending is not None and self._is_turn(queue, ages.interval):
                old = self._older(mine, WAITING, ages.pending)
                # What never reached its CE is cheapest, and has no place in a line there.
                old.sort(
                    key=lambda pilot: (self._attempts.failed(pilot), pilot.state is not PilotState.UNSENT, pilot.since)
                )
                most = max(1, sum(pilot.state in WAITING for pilot in mine) // PART)
                if old:
                    self._aged[queue] = self._clock.now()
                self._remove_old(queue, old[:most], f"waiting for more than {ages.pending / 3600:g} h")

    def _older(self, pilots: Sequence[Pilot], states: frozenset[PilotState], age: float) -> list[Pilot]:
        now = self._clock.now()
        return [
            pilot for pilot in pilots if pilot.state in states and pilot.since is not None and now - pilot.since > age
        ]

    def _is_turn(self, queue: str, interval: float) -> bool:
        return self._clock.now() - self._aged.get(queue, float("-inf")) >= interval

    def _remove_old(self, queue: str, old: Sequence[Pilot], why: str) -> None:
        if not old:
            return
        with self._trying(), self._attempts.order(old):
            unsent = sum(pilot.state is PilotState.UNSENT for pilot in old)
            count = self._batch.remove_pilots(old)
            log.info("%s: removed %d pilots %s (%d unsent)", self.name, count, why, unsent, extra={"queue": queue})
