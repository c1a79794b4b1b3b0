"""What was tried with single pilots: how often each was released, and for which of them an order failed lately."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError, Unasked
from autopyfactory.model import Pilot

REMEMBER = 7 * 86400.0
"""Seconds for which releases are remembered where the system does not count them."""

LATELY = 600.0
"""Seconds for which a pilot whose order failed lets all others go first."""


class Attempts:
    """What one source's tender has tried. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._released: dict[str, tuple[int, float]] = {}
        self._failed: dict[str, float] = {}

    def releases(self, pilot: Pilot) -> int:
        """Return how often a pilot was released."""
        return max(pilot.releases, self._released.get(pilot.id, (0, 0.0))[0])

    def failed(self, pilot: Pilot) -> bool:
        """Tell whether an order for a pilot failed lately: it comes last, or it would keep others from their turn."""
        return self._clock.now() - self._failed.get(pilot.id, float("-inf")) < LATELY

    @contextmanager
    def order(self, pilots: Sequence[Pilot], *, release: bool = False) -> Iterator[None]:
        """Note what becomes of an order for pilots; releases count, but not of those that it surely did not reach."""
        unasked: frozenset[str] = frozenset()
        try:
            yield
        except SourceError as error:
            unasked = error.ids if isinstance(error, Unasked) else unasked
            self._note_failures(unasked or [pilot.id for pilot in pilots])
            raise
        finally:
            if release:
                self._note_releases([pilot for pilot in pilots if pilot.id not in unasked])

    def _note_failures(self, ids: Iterable[str]) -> None:
        now = self._clock.now()
        self._failed = {id_: at for id_, at in self._failed.items() if now - at < LATELY} | dict.fromkeys(ids, now)

    def _note_releases(self, pilots: Sequence[Pilot]) -> None:
        now = self._clock.now()
        self._released = {id_: entry for id_, entry in self._released.items() if now - entry[1] < REMEMBER}
        for pilot in pilots:
            self._released[pilot.id] = (self.releases(pilot) + 1, now)
