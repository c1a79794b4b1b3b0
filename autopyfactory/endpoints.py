"""Which endpoint a queue's next pilots go to, by what waits, is held and was refused at each."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from autopyfactory.batch.tally import Tally
from autopyfactory.clock import utc
from autopyfactory.model import Snapshot

LONGEST_PAUSE = 3600.0
"""Seconds to which the pause of an endpoint doubles that refuses again and again, unless it began longer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a queue's next pilots go, "" where it names no endpoint.

    `trouble` is what is wrong there, `trial` why it gets a single pilot now, each "" for nothing. `held` are the
    held pilots that count against it, None: all of the queue.
    """

    endpoint: str = ""
    trouble: str = ""
    trial: str = ""
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last refusal of an endpoint: when it was, and for how many seconds it is left alone."""

    at: float
    pause: float


@dataclass(slots=True)
class Endpoints:
    """What one queue remembers of its endpoints. Used by one thread at a time."""

    chosen: str = ""
    _names: tuple[str, ...] = ()
    _sent: list[tuple[float, str, int]] = field(default_factory=list)
    _refusals: dict[str, Refusal] = field(default_factory=dict)

    def choose(
        self,
        names: Sequence[str],
        queues: Sequence[str],
        snapshot: Snapshot[Tally],
        now: float,
        *,
        max_held: int,
        avoid: Collection[str] = (),
    ) -> Choice:
        """Choose one that works, with the fewest pilots waiting or held there; else one that is tried again.

        One that refused gets a single pilot when its pause is over, as long as others take the rest. Where all
        refuse it is hardly their fault: they are tried in turn, at the pace of the ramp. Those in `avoid` are in
        trouble by another rule. `queues` are the queue's name and its former ones.
        """
        self._names, answer = tuple(names), snapshot.value
        self._sent = [sent for sent in self._sent if sent[0] >= snapshot.began]
        self._refusals = {name: refusal for name, refusal in self._refusals.items() if name in names}
        held = {name: sum(answer.held_at.get((queue, name), 0) for queue in queues) for name in names}
        bad = {name for name in names if _trouble(answer, queues, name) or name in avoid or held[name] > max_held}
        due = [
            name for name, refusal in self._refusals.items() if name not in bad and now >= refusal.at + refusal.pause
        ]
        free = [name for name in names if name not in self._refusals]
        trial = ""
        if due and free:
            self.chosen = min(due, key=lambda name: self._refusals[name].at)
            trial = (
                f"{self.chosen} took no pilots at {utc(self._refusals[self.chosen].at):%H:%M:%S}, one tries it again"
            )
        elif free:
            load = self._load(queues, answer)
            self.chosen = min(free, key=lambda name: (name in bad, load[name] + held[name]))
        else:
            self.chosen = min(names, key=lambda name: (name in bad, self._refusals[name].at), default="")
        return Choice(
            self.chosen, _trouble(answer, queues, self.chosen), trial, held[self.chosen] if len(names) > 1 else None
        )

    def copy(self) -> "Endpoints":
        """Return the same for another thread; what either learns from now on is its own."""
        return replace(self, _sent=list(self._sent), _refusals=dict(self._refusals))

    def sent(self, endpoint: str, at: float, count: int) -> None:
        """Note that so many pilots went to an endpoint, or may have."""
        self._sent.append((at, endpoint, count))

    def accepted(self, endpoint: str) -> None:
        """Note that an endpoint took pilots; if all refused before, all are as good as it."""
        if len(self._refusals) == len(self._names):
            self._refusals.clear()
        self._refusals.pop(endpoint, None)

    def refused(self, endpoint: str, at: float, pause: float) -> bool:
        """Note that an endpoint refused and tell whether others go on.

        It is left alone for `pause` seconds, and with each refusal twice as long as before.
        """
        before = self._refusals.get(endpoint)
        longer = min(2 * before.pause, max(pause, LONGEST_PAUSE)) if before else pause
        self._refusals[endpoint] = Refusal(at, longer)
        return any(name not in self._refusals for name in self._names)

    def _load(self, queues: Sequence[str], answer: Tally) -> Counter[str]:
        """Count the pilots that wait at each endpoint, with those that the answer cannot show yet."""
        load = Counter({name: sum(answer.waiting_at.get((queue, name), 0) for queue in queues) for name in self._names})
        for _, name, count in self._sent:
            load[name] += count
        return load


def _trouble(answer: Tally, queues: Sequence[str], name: str) -> str:
    trouble = next(filter(None, (answer.trouble(queue, name) for queue in queues)), None)
    return f"{name or 'its source'} is {trouble.word} since {utc(trouble.since):%H:%M:%S}" if trouble else ""
