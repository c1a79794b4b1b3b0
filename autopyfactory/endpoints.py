"""Which endpoint a queue's next pilots go to, by what waits, is held and was refused at each."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from autopyfactory.batch.tally import Tally
from autopyfactory.clock import utc
from autopyfactory.model import Snapshot

LONGEST_PAUSE = 3600.0
"""Seconds to which the pause of an endpoint doubles that is tried again and again, unless it began longer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a queue's next pilots go, "" where it names no endpoint.

    `trouble` is what is wrong there, `trial` why it gets a single pilot all the same, each "" for nothing. `held` are
    the held pilots that count against it, None: all of the queue.
    """

    endpoint: str = ""
    trouble: str = ""
    trial: str = ""
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when an endpoint is left alone, and for how many seconds."""

    at: float
    length: float

    def over(self, now: float) -> bool:
        """Tell whether it may be tried again."""
        return now >= self.at + self.length

    def again(self, at: float) -> "Pause":
        """Return the one that follows when it was tried for nothing, twice as long."""
        return Pause(at, max(self.length, min(2 * self.length, LONGEST_PAUSE)))


@dataclass(slots=True)
class Endpoints:
    """What one queue remembers of its endpoints. Used by one thread at a time."""

    chosen: str = ""
    _names: tuple[str, ...] = ()
    _sent: list[tuple[float, str, int]] = field(default_factory=list)
    _refusals: dict[str, Pause] = field(default_factory=dict)
    _holds: dict[str, Pause] = field(default_factory=dict)
    _tried: bool = False

    def choose(
        self,
        names: Sequence[str],
        queues: Sequence[str],
        snapshot: Snapshot[Tally],
        now: float,
        *,
        max_held: int,
        probe: float,
        avoid: Collection[str] = (),
    ) -> Choice:
        """Choose one that works, with the fewest pilots waiting or held there; else one that is tried again.

        One that refused, or holds pilots, gets a single one when its pause is over, as long as others take the rest:
        they have every second cycle at least. The pause of one that holds pilots begins with `probe` seconds. Where
        all refuse it is hardly their fault: they are tried in turn, at the pace of the ramp. Those in `avoid` are in
        trouble by another rule. `queues` are the queue's name and its former ones.
        """
        self._names, answer = tuple(names), snapshot.value
        self._sent = [sent for sent in self._sent if sent[0] >= snapshot.began]
        self._refusals = {name: refusal for name, refusal in self._refusals.items() if name in names}
        held = {name: sum(answer.held_at.get((queue, name), 0) for queue in queues) for name in names}
        load = self._load(queues, answer)
        out = {name for name in names if name in avoid or name in answer.troubles}
        holding = {name for name in names if _trouble(answer, queues, name) or held[name] > max_held} - out
        self._holds = {name: self._holds.get(name, Pause(now, probe)) for name in holding - self._refusals.keys()}
        free = [name for name in names if name not in self._refusals]
        working = [name for name in free if name not in out | holding]
        due = {name: pause for name, pause in self._refusals.items() if free and name not in out and pause.over(now)}
        due |= {name: pause for name, pause in self._holds.items() if working and not load[name] and pause.over(now)}
        trial = ""
        if due and not self._tried:
            self.chosen = min(due, key=lambda name: due[name].at)
            trial = self._why(self.chosen, held[self.chosen])
        elif free:
            self.chosen = min(free, key=lambda name: (name in out | holding, load[name] + held[name]))
        else:
            self.chosen = min(names, key=lambda name: (name in out | holding, self._refusals[name].at), default="")
        self._tried = bool(trial)
        trouble = "" if trial else _trouble(answer, queues, self.chosen)
        return Choice(self.chosen, trouble, trial, (0 if trial else held[self.chosen]) if len(names) > 1 else None)

    def unasked(self) -> None:
        """Note that nothing was asked for: a trial that is due stays so, and the next cycle is like this one."""
        self._tried = False

    def copy(self) -> "Endpoints":
        """Return the same for another thread; what either learns from now on is its own."""
        return replace(self, _sent=list(self._sent), _refusals=dict(self._refusals), _holds=dict(self._holds))

    def sent(self, endpoint: str, at: float, count: int) -> None:
        """Note that so many pilots went to an endpoint, or may have."""
        self._sent.append((at, endpoint, count))
        if endpoint in self._holds:
            self._holds[endpoint] = self._holds[endpoint].again(at)

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
        self._refusals[endpoint] = before.again(at) if before else Pause(at, pause)
        return any(name not in self._refusals for name in self._names)

    def _why(self, name: str, held: int) -> str:
        """Return why an endpoint gets a single pilot."""
        if name in self._refusals:
            return f"{name} took no pilots at {utc(self._refusals[name].at):%H:%M:%S}, one tries it again"
        return f"{name} holds {held} pilots, one tries it again"

    def _load(self, queues: Sequence[str], answer: Tally) -> Counter[str]:
        """Count the pilots that wait at each endpoint, with those that the answer cannot show yet."""
        load = Counter({name: sum(answer.waiting_at.get((queue, name), 0) for queue in queues) for name in self._names})
        for _, name, count in self._sent:
            load[name] += count
        return load


def _trouble(answer: Tally, queues: Sequence[str], name: str) -> str:
    trouble = next(filter(None, (answer.trouble(queue, name) for queue in queues)), None)
    return f"{name or 'its source'} is {trouble.word} since {utc(trouble.since):%H:%M:%S}" if trouble else ""
