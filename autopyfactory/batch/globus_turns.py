"""Ask for each pilot of a source by its contact, as many as a poll's time allows, the longest unasked first.

GRAM answers for one job at a time. A CE that does not answer costs one round of calls and no more; its pilots keep
their last state until that is too old, and are of unknown state then. A job that is said to be DONE has ended only
when its gatekeeper, asked to take it up again, knows it no more.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from autopyfactory.batch.commands_record import KnownPilot
from autopyfactory.batch.commands_words import Answer, End, Seen, Unbelievable
from autopyfactory.batch.globus_rsl import restart
from autopyfactory.batch.globus_words import Perhaps, Unreachable, address, gatekeeper, restarted, state
from autopyfactory.clock import Clock
from autopyfactory.command import NotStarted, Silent
from autopyfactory.model import PilotState
from autopyfactory.statefile import rewrite

Call = Callable[[str, Sequence[str], float], Answer]
"""Runs globusrun with a proxy and some words for at most so many seconds. Raises NotStarted or Silent."""

SURE = 3
"""Turns in which a job is DONE although its gatekeeper has it taken up: then it has ended."""

UNKNOWN_WORD = "no answer of its CE"
PERHAPS = "DONE, perhaps"

UNANSWERED = frozenset({UNKNOWN_WORD, PERHAPS})
"""Words of pilots of which no CE has told; who only looks on cannot know more of one that may have ended."""


class _NoTime(Exception):
    """This pilot's turn comes in the next poll."""


@dataclass(slots=True)
class _Known:
    """What is known of one pilot: its present contact, when it was last heard of, why the last call failed.

    `unreachable`: it failed because its CE does not answer at all. `done` counts the turns in a row in which its
    gatekeeper took it up again and it was DONE all the same.
    """

    contact: str
    heard: float | None = None
    failure: str = ""
    unreachable: bool = False
    done: int = 0


class Turns:
    """Remembers who was asked when. Used by one poll at a time, `heard_of` by any thread.

    `file` holds the contacts that have changed, for the next start and for who looks on; a lost one is no loss, for
    the gatekeeper tells again. With `looking` no gatekeeper is asked to take a job up again, so one that is DONE is
    of unknown state.
    """

    def __init__(self, call: Call, clock: Clock, at_once: int, file: Path, *, looking: bool = False) -> None:
        self._looking = looking
        self._file = file
        self._moved: dict[str, str] | None = None
        self._call = call
        self._clock = clock
        self._at_once = at_once
        self._known: dict[str, _Known] = {}
        self._down: dict[tuple[str, ...], str] = {}

    def heard_of(self, id_: str) -> None:
        """Note that a pilot surely exists now."""
        self._of(id_).heard = self._clock.now()

    def contact(self, id_: str) -> str:
        """Return the present contact of a pilot."""
        return self._of(id_).contact

    def ask(self, pilots: Sequence[KnownPilot], deadline: float) -> list[Seen]:
        """Return what was told of pilots within `deadline` seconds. Raises NotStarted or Silent when we are closed."""
        if not pilots:
            return []
        self._down = {}
        limit = deadline / 3
        last = self._clock.now() + deadline - limit
        order = sorted(pilots, key=lambda pilot: (bool(self._of(pilot.id).failure), self._of(pilot.id).heard or 0.0))
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="globus") as pool:
            told = [seen for seen in pool.map(lambda pilot: self._turn(pilot, last, limit), order) if seen is not None]
        self._note(pilots)
        return told

    def failures(self, pilots: Iterable[KnownPilot]) -> Mapping[str, str]:
        """Return the reason of a failed call by the endpoints that pilots were submitted to, "" where all went well."""
        found: dict[str, str] = {}
        for pilot in pilots:
            found[pilot.tags.endpoint] = found.get(pilot.tags.endpoint) or self._of(pilot.id).failure
        return found

    def unreachable(self, pilots: Iterable[KnownPilot]) -> set[str]:
        """Return the endpoints of pilots whose CE does not answer at all."""
        return {pilot.tags.endpoint for pilot in pilots if self._of(pilot.id).unreachable}

    def waiting(self, pilots: Iterable[KnownPilot]) -> int:
        """Return how many pilots have not had a turn at all."""
        return sum(known.heard is None and not known.failure for known in map(self._of_pilot, pilots))

    def oldest(self, pilots: Iterable[KnownPilot]) -> float | None:
        """Return when the pilot was asked that was asked the longest ago, those of a silent CE left out."""
        asked = [known.heard for known in map(self._of_pilot, pilots) if not known.failure]
        return min((at for at in asked if at is not None), default=None)

    def lost_sight_of(self, pilots: Iterable[KnownPilot], since: float) -> list[Seen]:
        """Return as unknown the pilots whose CE does not answer and of whom nothing was heard since a time."""
        lost = [pilot for pilot in pilots if self._of(pilot.id).failure and (self._of(pilot.id).heard or 0.0) < since]
        return [Seen(pilot.id, None, PilotState.UNKNOWN, UNKNOWN_WORD) for pilot in lost]

    def _of(self, id_: str) -> _Known:
        if self._moved is None:
            self._moved = _read(self._file)
        return self._known.setdefault(id_, _Known(self._moved.get(id_, id_)))

    def _note(self, pilots: Iterable[KnownPilot]) -> None:
        """Write down the contacts that have changed."""
        present = {pilot.id: self._of(pilot.id).contact for pilot in pilots if pilot.id in self._known}
        moved = {id_: contact for id_, contact in present.items() if contact != id_}
        if moved == self._moved or self._looking:
            return
        self._moved = moved
        with contextlib.suppress(OSError):
            rewrite(self._file, json.dumps(moved))

    def _of_pilot(self, pilot: KnownPilot) -> _Known:
        return self._of(pilot.id)

    def _turn(self, pilot: KnownPilot, last: float, limit: float) -> Seen | None:
        known = self._of(pilot.id)
        began = self._clock.now()
        try:
            found, word = self._state(pilot, known, last, limit)
        except _NoTime:
            return None
        except Unbelievable as error:
            known.failure, known.unreachable = error.reason, isinstance(error, Unreachable)
            return None
        known.heard, known.failure, known.unreachable = began, "", False
        if isinstance(found, End):
            self._known.pop(pilot.id, None)
        return Seen(pilot.id, None, found, word)

    def _state(self, pilot: KnownPilot, known: _Known, last: float, limit: float) -> tuple[PilotState | End, str]:
        found, word = self._status(pilot, known.contact, last, limit)
        if not isinstance(found, Perhaps):
            known.done = 0
            return found, word
        if self._looking:
            return PilotState.UNKNOWN, PERHAPS
        keeper = gatekeeper(pilot.tags.endpoint, known.contact)
        words = ["-F", "-q", "-r", keeper, restart(pilot.id)]
        contact = restarted(self._try((keeper, pilot.user), pilot.user, words, last, limit))
        if not contact:
            return End(), word
        if contact != known.contact:
            # Its job manager died, and another one has taken it up.
            known.contact = contact
            found, word = self._status(pilot, contact, last, limit)
        if not isinstance(found, Perhaps):
            return found, word
        # Taken up again by the gatekeeper, a job that has ended is forgotten there, so the next turn tells; but a job
        # manager that has lost its job's end on the way may keep it for ever, and have nothing else to say of it.
        known.done += 1
        return (End(), word) if known.done >= SURE else (pilot.state or PilotState.PENDING, pilot.word)

    def _status(
        self, pilot: KnownPilot, contact: str, last: float, limit: float
    ) -> tuple[PilotState | End | Perhaps, str]:
        return state(self._try((address(contact), pilot.user), pilot.user, ["-status", contact], last, limit))

    def _try(self, place: tuple[str, ...], proxy: str, words: Sequence[str], last: float, limit: float) -> Answer:
        """Make a call, unless another one to the same place has run out of time in this poll."""
        if place in self._down:
            raise Unreachable(self._down[place])
        if self._clock.now() > last:
            raise _NoTime
        try:
            return self._call(proxy, words, limit)
        except (NotStarted, Silent) as error:
            if error.stopped:
                raise
            self._down[place] = f"{place[0]}: {error.reason}"
            raise Unreachable(self._down[place]) from None


def _read(file: Path) -> dict[str, str]:
    try:
        paper = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(id_): str(contact) for id_, contact in paper.items()} if isinstance(paper, dict) else {}
