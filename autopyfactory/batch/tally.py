"""What a source's listing comes to for its queues, endpoints and submissions."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autopyfactory.model import PilotCounts, PilotGroup, PilotState, Trouble, tagged_type

_WAITING = frozenset({PilotState.UNSENT, PilotState.PENDING})


@dataclass(frozen=True, slots=True)
class Tally:
    """A poll's answer, added up: pilots by queue and by submission, the host of each submission.

    `live` counts the pilots in flight of each submission that has any; `waiting_at` are pilots that have not
    started and `held_at` held ones, by queue and endpoint. `by_type` are a queue's pilots by the resource type of
    their shape. `paused` are queues at endpoints ("": the source itself) that get probes only, `held` says by queue
    why pilots are held, both as the tender of the source found them. `full` is the limit of each endpoint that has
    no room for pilots which are unsent. `words` are a queue's pending pilots by their CE's own word for their state.
    """

    by_queue: Mapping[str, PilotCounts] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    live: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    waiting_at: Mapping[tuple[str, str], int] = field(default_factory=dict)
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    by_type: Mapping[tuple[str, str], PilotCounts] = field(default_factory=dict)
    held_at: Mapping[tuple[str, str], int] = field(default_factory=dict)
    paused: Mapping[tuple[str, str], Trouble] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    full: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def trouble(self, queue: str, endpoint: str) -> Trouble | None:
        """Return what is wrong with an endpoint, for all queues or for this one."""
        return self.troubles.get(endpoint) or self.paused.get((queue, endpoint))

    def of(self, queue: str, resource_type: str = "") -> PilotCounts:
        """Return a queue's pilots, or those that answer the demand of one type: its own and those without a type."""
        if not resource_type:
            return self.by_queue.get(queue, PilotCounts())
        untyped = self.by_type.get((queue, ""), PilotCounts())
        return untyped + self.by_type.get((queue, resource_type), PilotCounts())


def tally(groups: Sequence[PilotGroup], troubles: Mapping[str, Trouble] | None = None) -> Tally:
    """Add up the groups of a poll."""
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    types: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    shown: dict[str, int] = {}
    hosts: dict[str, str] = {}
    live: Counter[str] = Counter()
    waiting_at: Counter[tuple[str, str]] = Counter()
    held_at: Counter[tuple[str, str]] = Counter()
    words: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group in groups:
        states[group.queue][group.state] += group.count
        types[group.queue, tagged_type(group.shape)][group.state] += group.count
        shown[group.submission] = shown.get(group.submission, 0) + group.count
        hosts[group.submission] = group.host
        if group.state is not PilotState.FINISHING:
            live[group.submission] += group.count
        if group.state in _WAITING:
            waiting_at[group.queue, group.endpoint] += group.count
        if group.state is PilotState.HELD:
            held_at[group.queue, group.endpoint] += group.count
        if group.state is PilotState.PENDING and group.word:
            words[group.queue][group.word] += group.count
    by_queue = {queue: PilotCounts(**counts) for queue, counts in states.items()}
    in_flight = sum(counts.in_flight for counts in by_queue.values())
    by_type = {key: PilotCounts(**counts) for key, counts in types.items()}
    return Tally(by_queue, shown, hosts, live, in_flight, waiting_at, troubles or {}, by_type, held_at, words=words)
