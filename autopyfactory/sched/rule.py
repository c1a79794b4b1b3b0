"""What a rule is: its kind, its needs, the state it reads and the number it hands on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autopyfactory.model import Downtime, PilotCounts, Site
from autopyfactory.sched.demand import Demand
from autopyfactory.sched.endings import Endings
from autopyfactory.sched.options import RuleOptions


class Kind(StrEnum):
    """What a rule may do to the number."""

    MAKER = "maker"
    GATE = "gate"
    LIMIT = "limit"


class Need(StrEnum):
    """What a rule reads beside the pilot counts, which every queue must know."""

    DEMAND = "demand"
    SITE = "site"


@dataclass(frozen=True, slots=True)
class Ask:
    """A number of pilots on its way through the chain: `count` is max(0, gross - deduct)."""

    gross: int = 0
    deduct: int = 0

    @property
    def count(self) -> int:
        """Return the number as it stands."""
        return max(0, self.gross - self.deduct)


@dataclass(frozen=True, slots=True)
class Budget:
    """What `max_per_factory` leaves: `free` pilots for all queues, and what the other queues still wish.

    Of `unheard` queues nobody knows yet: each is taken to wish as much as the one that asks.
    """

    maximum: int
    free: int
    wishes: Mapping[str, int] = field(default_factory=dict)
    unheard: int = 0


@dataclass(frozen=True, slots=True)
class QueueState:
    """All that the rules of one queue may read. What a rule declares in `needs` is never None.

    `left` are pilots that left pending after the time the demand figures speak of less `first_job_after`. `ramp` is
    the most that may be submitted while a queue comes back from an outage; None: no ramp. `trouble` tells what is
    wrong with the endpoint that pilots would go to, "" when nothing is; `trial` why it gets a single pilot now.
    `held` are the held pilots that count, None: all of the queue's. `quiet` are the seconds since the
    queue last submitted, `cycle` counts its cycles from 0, `transferring` its jobs whose output is on its way.
    `downtimes` are those announced, `walltime` is that of a pilot where it is known, `endings` tells how its last
    pilots there ended.
    """

    queue: str
    options: RuleOptions
    pilots: PilotCounts
    demand: Demand | None = None
    left: int = 0
    site: Site | None = None
    ramp: int | None = None
    budget: Budget | None = None
    trouble: str = ""
    trial: str = ""
    held: int | None = None
    quiet: float = math.inf
    cycle: int = 0
    transferring: int | None = None
    now: float = 0.0
    downtimes: tuple[Downtime, ...] = ()
    walltime: float | None = None
    endings: Endings = field(default_factory=Endings)

    def probe_due(self, every: float) -> bool:
        """Tell whether it is time for a single pilot to try: none waits, and none was sent for so many seconds."""
        return self.pilots.waiting == 0 and self.quiet >= every


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule made of the number, and why; None instead of it means that the rule is not set."""

    ask: Ask
    why: str
    inputs: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: `apply` is pure and total on every state that meets `needs`.

    `option` names the option without which the rule does nothing, "" when it always acts. The rest is its page
    of the reference: `formula` computes n, the number so far; `example`; what it does when something is `unknown`.
    """

    name: str
    kind: Kind
    apply: Callable[[Ask, QueueState], Ruling | None]
    needs: frozenset[Need] = frozenset()
    option: str = ""
    formula: str = ""
    example: str = ""
    unknown: str = "needs nothing that can be unknown"
