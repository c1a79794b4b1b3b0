"""What a queue remembers from one cycle to the next."""

from dataclasses import dataclass, field, replace

from autopyfactory.endpoints import Endpoints
from autopyfactory.report import Decision
from autopyfactory.sched import ramp_free

RAMP_END = 1024
"""A ramp that has doubled beyond this limits nothing any more."""


@dataclass(slots=True)
class Memory:
    """What one queue remembers. `ramp` is the most it may submit now, `cycle` the number of the present one, from 0.

    `holes` are the endpoints that swallow pilots.
    """

    ramp: int | None = None
    last_submission: float = field(default=float("-inf"))
    endpoints: Endpoints = field(default_factory=Endpoints)
    holes: frozenset[str] = frozenset()
    cycle: int = -1

    def copy(self) -> "Memory":
        """Return the same for another thread; what either learns from now on is its own."""
        return replace(self, endpoints=self.endpoints.copy())

    def climb(self, decision: Decision, *, slowed: bool) -> None:
        """Double the ramp after what it let through; it is over when it lowered nothing, or has grown enough.

        While the queue is `slowed` it stays at the bottom.
        """
        if slowed:
            self.ramp = 1
        elif self.ramp is not None:
            if ramp_free(decision) or self.ramp >= RAMP_END:
                self.ramp = None
            elif decision.count:
                self.ramp *= 2

    def note_holes(self, holes: frozenset[str]) -> None:
        """Note the endpoints that swallow pilots now; when one no longer does, the queue begins slowly."""
        if self.holes - holes:
            self.ramp = 1
        self.holes = holes
