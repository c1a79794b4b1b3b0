"""What each queue last knew and wished, for the rules that look across queues: siblings and the factory's budget.

A queue decides while it holds `turn`, and writes its submission into the ledger before it lets go; so two
queues never spend the same pilot of `max_per_factory`, and siblings see each other's latest word.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from autopyfactory.batch.source import PilotSource
from autopyfactory.config.models import QueueConfig
from autopyfactory.sched.demand import Claim
from autopyfactory.sched.rule import Budget


@dataclass(slots=True)
class Group:
    """Wmsqueues that are served by the same queues, directly or through each other, and the claims on them."""

    wmsqueues: dict[str, None] = field(default_factory=dict)
    claims: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Standing:
    """The last word of a queue, or of its part for one resource type: its claim on its wmsqueues.

    One that has not had its first cycle claims its part, and what its last submission on record may have
    left waiting: to be asked for twice is worse than late.
    """

    queue: str
    claim: Claim
    group: Group
    resource_type: str = ""
    by_drain: bool = False
    started: int | None = None
    """Pilots that started there lately; None: nobody has said yet."""


def claim_of(queue: QueueConfig, waiting: int = 0, *, active: bool = True) -> Claim:
    """Return a queue's claim as its configuration makes it."""
    options = queue.options
    return Claim(
        queue.claim,
        options.weight,
        options.cores,
        frozenset(options.labels),
        frozenset(options.resource_types),
        waiting,
        active,
        jobs_per_pilot=options.jobs_per_pilot,
        wmsqueues=frozenset(options.wmsqueues),
        test_labels=frozenset(options.test_labels),
        shares=frozenset(options.global_shares),
    )


class Board:
    """Share the standings of all queues. Use it while holding `turn`, except for `configure`.

    `recorded` tells the most pilots of a queue and resource type ("": all) that may wait, as far as the ledger
    knows, and `fresh` how many were submitted so lately that they may still be believed to start.
    """

    def __init__(
        self,
        max_per_factory: int | None,
        recorded: Callable[[str, str], int] = lambda queue, resource_type: 0,
        fresh: Callable[[str, str], int | None] = lambda queue, resource_type: None,
    ) -> None:
        self.turn = threading.RLock()
        self._maximum = max_per_factory
        self._recorded = recorded
        self._fresh = fresh
        self._sources: tuple[PilotSource, ...] = ()
        self._standings: dict[str, Standing] = {}
        self._wishes: dict[str, int | None] = {}

    def configure(
        self, queues: Mapping[str, QueueConfig], sources: Iterable[PilotSource], max_per_factory: int | None
    ) -> None:
        """Take over the queues and sources of a configuration; queues that stay keep their standing."""
        with self.turn:
            self._maximum = max_per_factory
            self._sources = tuple(sources)
            old = self._standings
            self._standings = {}
            self._wishes = {name: self._wishes.get(name) for name in queues}
            groups = _groups(queues.values())
            for part in (part for queue in queues.values() for part in queue.parts):
                before = old.get(part.claim)
                waiting = before.claim.waiting if before else self._recorded(part.name, part.resource_type)
                claim = claim_of(part, waiting, active=before is None or before.claim.active)
                self._standings[part.claim] = Standing(
                    part.name,
                    claim,
                    groups[part.name],
                    part.resource_type,
                    part.options.weight_by == "drain",
                    before.started if before else None,
                )

    def reach(self, queue: QueueConfig) -> tuple[str, ...]:
        """Return all wmsqueues that a queue's siblings serve, its own included."""
        standing = self._standings.get(queue.parts[0].claim)
        return tuple(standing.group.wmsqueues) if standing else queue.options.wmsqueues

    def siblings(self, claim: str) -> list[Claim]:
        """Return all other claims on the same wmsqueues, or on others that these claims connect."""
        me = self._standings.get(claim)
        if me is None:
            return []
        others = (self._standings[name] for name in me.group.claims if name != claim)
        return [
            replace(
                other.claim,
                weight=self.weight(other.claim),
                fresh=self._fresh(other.queue, other.resource_type),
            )
            for other in others
        ]

    def weight(self, claim: Claim) -> Fraction:
        """Return the weight of a claim among its siblings, which may go by how many pilots started there lately.

        The weights of those that do so are in proportion to that number, the least a tenth of the greatest, so
        that a place where nothing started is still tried; their mean factor is 1.
        """
        me = self._standings.get(claim.queue)
        if me is None or not me.by_drain:
            return claim.weight
        group = [self._standings[name] for name in me.group.claims]
        started = {one.claim.queue: one.started for one in group if one.by_drain}
        top = max((number for number in started.values() if number), default=1)
        factors = {
            name: Fraction(top) if number is None else max(Fraction(number), Fraction(top, 10))
            for name, number in started.items()
        }
        return claim.weight * factors[claim.queue] * len(factors) / sum(factors.values())

    def drained(self, claim: str, started: int) -> None:
        """Note how many pilots of a claim started lately."""
        standing = self._standings.get(claim)
        if standing is not None and standing.by_drain:
            self._standings[claim] = replace(standing, started=started)

    def related(self, queues: Iterable[str]) -> frozenset[str]:
        """Return these queues with all their siblings."""
        groups = [one.group for one in self._standings.values() if one.queue in set(queues)]
        return frozenset(self._standings[name].queue for group in groups for name in group.claims)

    def names_of(self, claims: Iterable[Claim], but: str) -> tuple[str, ...]:
        """Return the queues behind those of the claims that can submit now, one excepted."""
        names = dict.fromkeys(self._standings[claim.queue].queue for claim in claims if claim.active)
        return tuple(name for name in names if name != but)

    def awaited(self, queue: str, source: PilotSource, resource_type: str = "") -> int:
        """Return a queue's pilots that wait at other sources than its present one and will take jobs."""
        return sum(other.waiting(queue, resource_type) for other in self._heard(source))

    def left(self, queue: str, source: PilotSource, since: float, resource_type: str = "") -> int:
        """Return how many pilots of a queue left pending at other sources than its present one after a time."""
        return sum(
            other.left(queue, since, other.waiting(queue, resource_type), resource_type)
            for other in self._heard(source)
        )

    def _heard(self, source: PilotSource) -> Iterable[PilotSource]:
        """Return the other sources, without those that are silent: a queue may have moved for that very reason."""
        return (other for other in self._open() if other is not source and not other.silent)

    def _open(self) -> Iterable[PilotSource]:
        """Return the sources without those that were let go since the last reload: another shows their pilots."""
        return (source for source in self._sources if not source.closed)

    def elsewhere(self, queue: str, source: PilotSource) -> int:
        """Return a queue's pilots in flight at other sources than its present one: a reload may have moved it."""
        return sum(other.in_flight(queue) for other in self._open() if other is not source)

    def budget(self, queue: str) -> Budget | None:
        """Return what `max_per_factory` leaves over all sources; None when it is not set."""
        if self._maximum is None:
            return None
        free = self._maximum - sum(source.in_flight() for source in self._open())
        others = {name: wish for name, wish in self._wishes.items() if name != queue}
        wishes = {name: wish for name, wish in others.items() if wish}
        return Budget(self._maximum, free, wishes, sum(wish is None for wish in others.values()))

    def decided(self, claim: str, waiting: int, wish: int, *, able: bool = True) -> None:
        """Note a decision: so many pilots wait, so many the budget denied the queue; not `able`: takes no jobs now."""
        self._change(claim, waiting, active=able, wish=wish)

    def blocked(self, claim: str, waiting: int | None = None) -> None:
        """Note that a queue cannot submit now; `waiting` None: its pilots are unknown, the last word stays."""
        self._change(claim, waiting, active=False, wish=0)

    def refused(self, claim: str, count: int) -> None:
        """Note that so many of the pilots that a queue decided on do not come, and that it cannot submit now."""
        standing = self._standings.get(claim)
        if standing is not None:
            self.blocked(claim, max(0, standing.claim.waiting - count))

    def _change(self, claim: str, waiting: int | None, *, active: bool, wish: int) -> None:
        standing = self._standings.get(claim)
        if standing is None:
            return
        known = standing.claim.waiting if waiting is None else waiting
        self._standings[claim] = replace(standing, claim=replace(standing.claim, waiting=known, active=active))
        self._wishes[standing.queue] = wish


def _groups(queues: Iterable[QueueConfig]) -> dict[str, Group]:
    """Return the group of each queue by name: queues that share a wmsqueue are in one, with all that they serve."""
    listed = list(queues)
    at: dict[tuple[str, str], Group] = {}
    for queue in listed:
        options = queue.options
        met = {
            id(at[options.wms, name]): at[options.wms, name] for name in options.wmsqueues if (options.wms, name) in at
        }
        mine = Group(dict.fromkeys(options.wmsqueues), [part.claim for part in queue.parts])
        group = Group()
        for other in (*met.values(), mine):
            group.wmsqueues |= other.wmsqueues
            group.claims += other.claims
        at |= {(options.wms, name): group for name in group.wmsqueues}
    return {queue.name: at[queue.options.wms, queue.options.wmsqueues[0]] for queue in listed}
