"""A second factory with our id, known by the pilots of our id that we did not submit."""

import logging

from autopyfactory.batch.tally import Tally
from autopyfactory.clock import Clock
from autopyfactory.ledger import KEEP, Ledger, stamp

log = logging.getLogger(__name__)


class Twin:
    """What one source's answers tell of a second factory; it outlives the source where a reload builds that anew.

    `started` is when this factory did, whatever the age of the source: pilots from before are adopted when the
    first answer shows them, younger ones have another author.
    """

    def __init__(self, ledger: Ledger, clock: Clock, started: float) -> None:
        self.text = ""
        """What is known of it; "" while there is none."""
        self._ledger = ledger
        self._clock = clock
        self._started = stamp(started)
        self._adopted: frozenset[str] | None = None

    def look(self, source: str, host: str, answer: Tally) -> None:
        """Look for it in a good answer of the source; `host` is our own."""
        foreign = frozenset(name for name in answer.shown if not self._ledger.mine(name))
        if self._adopted is None:
            # A submission's id begins with its time.
            self._adopted = frozenset(name for name in foreign if name < self._started)
            if self._adopted:
                log.info("%s: adopted the pilots of %d earlier submissions", source, len(self._adopted))
        new = sorted(name for name in foreign - self._adopted if not self._may_be_ours(name, host, answer.hosts[name]))
        there = answer.hosts[new[-1]] if new else ""
        text = f"{source} shows pilots of this factory's id from host {there} that it did not submit" if new else ""
        if text and text != self.text:
            log.error("%s: all submission is blocked", text)
        self.text = text

    def _may_be_ours(self, name: str, host: str, there: str) -> bool:
        """Tell whether a submission of our own host may be one that the ledger has forgotten."""
        forgotten = stamp(self._clock.now() - KEEP)
        return bool(there) and there == host and (name < forgotten or name < self._started)
