"""What each queue last knew and wished, for the rules that look across queues: siblings and the factory's budget.

A queue decides while it holds `turn`, and writes its submission into the ledger before it lets go; so two
queues never spend the same pilot of `max_per_factory`, and siblings see each other's latest word.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from autopyfactory.batch.source import PilotSource
from autopyfactory.config.models import QueueConfig
from autopyfactory.sched.demand import Claim
from autopyfactory.sched.rule import Budget


@dataclass(frozen=True, slots=True)
class Standing:
    """A queue's last word: its claim on a wmsqueue, and how many pilots it wished for and did not get.

    A queue that has not had its first cycle claims its part, and what its last submission on record may have
    left waiting: to be asked for twice is worse than late.
    """

    wms: str
    wmsqueue: str
    claim: Claim
    wish: int | None = None


def claim_of(queue: QueueConfig, waiting: int = 0, *, active: bool = True) -> Claim:
    """Return a queue's claim as its configuration makes it."""
    options = queue.options
    return Claim(
        queue.name,
        options.weight,
        options.cores,
        frozenset(options.labels),
        frozenset(options.resource_types),
        waiting,
        active,
    )


class Board:
    """Share the standings of all queues. Use it while holding `turn`, except for `configure`.

    `recorded` tells the most pilots of a queue that may wait, as far as the ledger knows, and `fresh` how many
    were submitted so lately that they may still be believed to start.
    """

    def __init__(
        self,
        max_per_factory: int | None,
        recorded: Callable[[str], int] = lambda queue: 0,
        fresh: Callable[[str], int | None] = lambda queue: None,
    ) -> None:
        self.turn = threading.RLock()
        self._maximum = max_per_factory
        self._recorded = recorded
        self._fresh = fresh
        self._sources: tuple[PilotSource, ...] = ()
        self._standings: dict[str, Standing] = {}
        self._by_wmsqueue: dict[tuple[str, str], list[str]] = {}

    def configure(
        self, queues: Mapping[str, QueueConfig], sources: Iterable[PilotSource], max_per_factory: int | None
    ) -> None:
        """Take over the queues and sources of a configuration; queues that stay keep their standing."""
        with self.turn:
            self._maximum = max_per_factory
            self._sources = tuple(sources)
            old = self._standings
            self._standings, self._by_wmsqueue = {}, {}
            for name, queue in queues.items():
                before = old.get(name)
                waiting = before.claim.waiting if before else self._recorded(name)
                claim = claim_of(queue, waiting, active=before is None or before.claim.active)
                wish = before.wish if before else None
                self._standings[name] = Standing(queue.options.wms, queue.options.wmsqueue, claim, wish)
                self._by_wmsqueue.setdefault((queue.options.wms, queue.options.wmsqueue), []).append(name)

    def siblings(self, queue: str) -> list[Claim]:
        """Return the claims of all other queues on the same wmsqueue."""
        me = self._standings.get(queue)
        if me is None:
            return []
        names = self._by_wmsqueue[me.wms, me.wmsqueue]
        others = (self._standings[name].claim for name in names if name != queue)
        return [replace(claim, fresh=self._fresh(claim.queue)) for claim in others]

    def elsewhere(self, queue: str, source: PilotSource) -> int:
        """Return a queue's pilots in flight at other sources than its present one: a reload may have moved it."""
        return sum(other.in_flight_of(queue) for other in self._sources if other is not source)

    def budget(self, queue: str) -> Budget | None:
        """Return what `max_per_factory` leaves over all sources; None when it is not set."""
        if self._maximum is None:
            return None
        free = self._maximum - sum(source.in_flight() for source in self._sources)
        others = {name: standing.wish for name, standing in self._standings.items() if name != queue}
        wishes = {name: wish for name, wish in others.items() if wish}
        return Budget(self._maximum, free, wishes, sum(wish is None for wish in others.values()))

    def decided(self, queue: str, waiting: int, wish: int, *, able: bool = True) -> None:
        """Note a queue's decision: so many pilots wait, so many the budget denied; not `able`: it takes no jobs now."""
        self._change(queue, waiting, active=able, wish=wish)

    def blocked(self, queue: str, waiting: int | None = None) -> None:
        """Note that a queue cannot submit now; `waiting` None: its pilots are unknown, the last word stays."""
        self._change(queue, waiting, active=False, wish=0)

    def refused(self, queue: str, count: int) -> None:
        """Note that so many of the pilots that a queue decided on do not come, and that it cannot submit now."""
        standing = self._standings.get(queue)
        if standing is not None:
            self.blocked(queue, max(0, standing.claim.waiting - count))

    def _change(self, queue: str, waiting: int | None, *, active: bool, wish: int) -> None:
        standing = self._standings.get(queue)
        if standing is None:
            return
        known = standing.claim.waiting if waiting is None else waiting
        self._standings[queue] = replace(
            standing, claim=replace(standing.claim, waiting=known, active=active), wish=wish
        )
