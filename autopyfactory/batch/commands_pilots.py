"""From listings to counts: which pilots of one source are in which state, and which have ended."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autopyfactory.batch.commands_record import KnownPilot, Record
from autopyfactory.batch.commands_words import End, Seen, Tags
from autopyfactory.model import EndedPilot, Pilot, PilotGroup, PilotState

PATIENCE = 2
"""Good listings in a row without a pilot, after which it counts as gone: one of them may have been cut short."""

HIDDEN = 3600.0
"""Seconds without a sign of a pilot whose account is hidden, after which it counts as one of unknown state.

Until then its queue is blocked, since its source does not show it; no longer than `source.DOUBT`, or it would be
given up there first, and counted nowhere.
"""

_WAITING = frozenset({PilotState.UNSENT, PilotState.PENDING, PilotState.HELD})

VANISHED = "vanished: it was accepted, and no listing ever showed it"


class Pilots:
    """All pilots of one factory in one system. Not safe from many threads. Raises OSError for its record."""

    def __init__(self, factory: str, record: Record) -> None:
        self._factory = factory
        self._record = record
        self._listed: frozenset[str] = frozenset()
        self._news: list[EndedPilot] = []
        self._unproven: set[str] = set()

    def load(self, now: float) -> None:
        """Read the record of earlier runs; an account of whose pilots none was ever shown is still unproven."""
        self._record.load(now)
        pilots = self._record.pilots.values()
        self._unproven = {pilot.user for pilot in self.alive()} - {pilot.user for pilot in pilots if pilot.entered}
        self._unproven.discard("")

    def accepted(self, id_: str, tags: Tags, user: str, at: float) -> None:
        """Keep a pilot that the system has just accepted."""
        self._record.add(KnownPilot(id_, tags, at, user))
        if user and not any(pilot.entered for pilot in self._record.pilots.values() if pilot.user == user):
            self._unproven.add(user)

    def shown(self, seen: Iterable[Seen], now: float) -> None:
        """Take in what a good listing shows."""
        ids: set[str] = set()
        for one in seen:
            self._unproven.discard(one.user)
            pilot = self._known(one, now)
            if pilot is not None:
                ids.add(one.id)
                self._see(pilot, one, now)
        self._listed = frozenset(ids)
        self._record.forget(now, self._listed)

    def lacking(self, began: float) -> list[str]:
        """Return the pilots that the last listing, which began at `began`, lacks, and count that against them."""
        lacking = [pilot for pilot in self.alive() if pilot.accepted < began and pilot.id not in self._listed]
        for pilot in lacking:
            pilot.missed += 1
        return [pilot.id for pilot in lacking]

    def told(self, ends: Mapping[str, End], now: float) -> int:
        """Take in the ends of pilots that are listed no more; one without a known end is given up after a while.

        Return how many of those a listing had shown.
        """
        lost = 0
        for pilot in list(self.alive()):
            end = ends.get(pilot.id) if pilot.missed else None
            if end is None and pilot.missed >= PATIENCE and pilot.user not in self._unproven:
                end = End(fault="" if pilot.state else VANISHED)
                lost += bool(pilot.state)
            if end is not None:
                self._finish(pilot, end, now)
        return lost

    def write_off(self, ids: Iterable[str], fault: str, now: float) -> None:
        """End those of the ids that are living pilots of unknown state, with a fault."""
        wanted = frozenset(ids)
        for pilot in list(self.alive()):
            if pilot.id in wanted and pilot.state is PilotState.UNKNOWN:
                self._finish(pilot, End(fault=fault), now)

    def groups(self, now: float) -> Iterator[PilotGroup]:
        """Return the living pilots that a listing has shown, or that the system has hidden for long, by submission."""
        states = [(pilot.tags.submission, pilot.state or self._hidden_state(pilot, now)) for pilot in self.alive()]
        counts = Counter((submission, state) for submission, state in states if state)
        tags = {pilot.tags.submission: pilot.tags for pilot in self.alive()}
        for (submission, state), count in counts.items():
            one = tags[submission]
            if state is not None:
                yield PilotGroup(submission, one.queue, state, count, one.host, one.endpoint, one.shape)

    def alive(self) -> Sequence[KnownPilot]:
        """Return the pilots that have not ended."""
        return [pilot for pilot in self._record.pilots.values() if pilot.end is None]

    def hidden(self) -> list[str]:
        """Return the accounts of pilots that were accepted, while no listing ever showed a job of that account.

        Such a system may hide them, and what it does not show has not ended for that.
        """
        return sorted({pilot.user for pilot in self.alive() if pilot.missed >= PATIENCE} & self._unproven)

    def strange(self) -> list[str]:
        """Return the system's words for the unknown states in which the last listing showed pilots."""
        unknown = [pilot for pilot in self.alive() if pilot.state is PilotState.UNKNOWN]
        return sorted({pilot.word for pilot in unknown if pilot.id in self._listed})

    def _hidden_state(self, pilot: KnownPilot, now: float) -> PilotState | None:
        """Return unknown for a pilot that was hidden for long enough; after a start with the first listing."""
        hidden = pilot.missed > 0 and pilot.user in self._unproven
        return PilotState.UNKNOWN if hidden and now - pilot.accepted >= HIDDEN else None

    def news(self) -> tuple[EndedPilot, ...]:
        """Return the pilots that have ended since the last question."""
        news, self._news = tuple(self._news), []
        return news

    def over(self, submissions: frozenset[str]) -> frozenset[str]:
        """Return those of the submissions whose pilots have all ended."""
        known = {pilot.tags.submission for pilot in self._record.pilots.values()}
        alive = {pilot.tags.submission for pilot in self.alive()}
        return (submissions & known) - alive

    def listed(self, queue: str, states: frozenset[PilotState]) -> Iterator[Pilot]:
        """Return the pilots that the last listing showed in these states, of one queue or ("") of all."""
        for pilot in self.alive():
            tags, state = pilot.tags, pilot.state
            ours = tags.factory == self._factory and queue in {"", tags.queue}
            if ours and state is not None and state in states and pilot.id in self._listed:
                reason = pilot.word if state is PilotState.HELD else ""
                yield Pilot(
                    *(pilot.id, tags.queue, state, tags.cid, tags.submission, tags.endpoint),
                    *(pilot.accepted, pilot.since),
                    hold_reason=reason,
                    word=pilot.word,
                )

    def accounts(self, ids: Iterable[str]) -> dict[str, list[str]]:
        """Return those of the ids that are living pilots, by the account they run as ("": our own)."""
        found: dict[str, list[str]] = {}
        alive = {pilot.id: pilot for pilot in self.alive()}
        for id_ in ids:
            if id_ in alive:
                found.setdefault(alive[id_].user, []).append(id_)
        return found

    def _known(self, one: Seen, now: float) -> KnownPilot | None:
        """Return the pilot of a listed job, None for a foreign one.

        A job of a recorded id without tags is ours: something at the site took them away. With other tags it
        is another job, whose system has begun to count from 1 again.
        """
        pilot = self._record.pilots.get(one.id)
        if one.tags is None or (pilot is not None and one.tags.cid == pilot.tags.cid):
            return pilot
        if pilot is not None and pilot.end is None:
            self._finish(pilot, End(), now)
        if one.tags.factory != self._factory:
            return None
        self._record.add(KnownPilot(one.id, one.tags, now, one.user))
        return self._record.pilots[one.id]

    def _see(self, pilot: KnownPilot, one: Seen, now: float) -> None:
        pilot.missed = 0
        pilot.node = one.node or pilot.node
        if one.state in _WAITING:
            pilot.waited = now
        if isinstance(one.state, PilotState):
            if pilot.state is not one.state:
                self._record.enter(pilot, one.state, now)
            pilot.word = one.word
            pilot.end = None
        elif pilot.end is None:
            pilot.state = pilot.state or PilotState.FINISHING
            self._finish(pilot, one.state, now)

    def _finish(self, pilot: KnownPilot, end: End, now: float) -> None:
        self._record.finish(pilot, end, now)
        tags = pilot.tags
        if tags.factory == self._factory and not pilot.told:
            pilot.told = True
            # It ran since the last listing in which it waited, at most.
            lived = None if pilot.state is None or (end.fault and pilot.state in _WAITING) else now - pilot.waited
            self._news.append(
                EndedPilot(
                    tags.cid,
                    tags.queue,
                    tags.submission,
                    end.exit_code,
                    end.fault,
                    endpoint=tags.endpoint,
                    node=pilot.node,
                    lived=lived,
                    at=now,
                )
            )
