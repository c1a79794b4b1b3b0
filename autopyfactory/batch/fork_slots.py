"""Whose turn it is: the waiting and the running pilots of one host, and the slots they share."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from autopyfactory.batch.fork_files import Record
from autopyfactory.model import EndedPilot, PilotState


@dataclass(slots=True, eq=False)
class SlotPilot:
    """A pilot that has a slot or waits for one; `process` is the identity of its guard, "" while it waits."""

    cid: str
    record: Record
    process: str = ""
    ended: EndedPilot | None = None

    @property
    def state(self) -> PilotState:
        """Return pending or running, of a pilot that has not ended."""
        return PilotState.RUNNING if self.process else PilotState.PENDING


class Slots:
    """Deal out `size` slots, one per core. Not safe from several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running: dict[str, SlotPilot] = {}
        self._waiting: dict[str, deque[SlotPilot]] = {}
        self._turns: dict[str, int] = {}
        self._turn = 0

    @property
    def free(self) -> int:
        """Return the free slots; negative when there are fewer than at the last start of the factory."""
        return self.size - sum(pilot.record.cores for pilot in self.running.values())

    def waiting(self, queue: str = "") -> Iterator[SlotPilot]:
        """Yield the waiting pilots of one queue or of all."""
        for line in [self._waiting.get(queue, deque())] if queue else list(self._waiting.values()):
            yield from tuple(line)

    def add(self, pilot: SlotPilot) -> None:
        """Let a pilot wait behind all others of its queue."""
        self._turn += 1
        self._turns[pilot.cid] = self._turn
        self._waiting.setdefault(pilot.record.queue, deque()).append(pilot)

    def run(self, pilot: SlotPilot, process: str) -> None:
        """Note the process of a pilot that waited, or another one of a pilot that runs."""
        self.leave(pilot)
        pilot.process = process
        self.running[pilot.cid] = pilot

    def leave(self, pilot: SlotPilot) -> None:
        """Forget a pilot."""
        self._turns.pop(pilot.cid, None)
        if self.running.pop(pilot.cid, None) is None:
            line = self._waiting[pilot.record.queue]
            line.remove(pilot)
            if not line:
                del self._waiting[pilot.record.queue]

    def next(self) -> SlotPilot | None:
        """Return the pilot to start now: the oldest of the queue with the fewest cores running, if it fits.

        A smaller one does not overtake it, else a large one would wait for ever; one that never fits is
        returned too, so that somebody ends it.
        """
        busy: Counter[str] = Counter()
        for pilot in self.running.values():
            busy[pilot.record.queue] += pilot.record.cores
        heads = (line[0] for line in self._waiting.values())
        first = min(heads, key=lambda pilot: (busy[pilot.record.queue], self._turns[pilot.cid]), default=None)
        if first is None or (self.free < first.record.cores <= self.size):
            return None
        return first
