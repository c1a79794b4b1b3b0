"""CEs that do not work, as the jobs of a schedd show it: dead, silent, and how long either is remembered."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autopyfactory.batch.condor_child import Ad
from autopyfactory.model import PilotGroup, PilotState, Trouble

MEANING = {
    "unreachable": "HTCondor's gridmanager cannot talk to it, see its log",
    "silent": "pilots wait and nothing has moved there",
}
"""What is known of an endpoint by the word for its trouble."""

_ALIVE = frozenset({1, 2})
_ARRIVED = frozenset({PilotState.PENDING, PilotState.RUNNING, PilotState.SUSPENDED})
_FORGOTTEN = 3600.0


def unreachable(ads: Iterable[Ad]) -> dict[str, float]:
    """Return since when the gridmanager cannot reach the CE of pilots that are not at their end, by endpoint.

    Every job of a dead CE has the attribute; no other sign is ever set, and none of them is held.
    """
    since: dict[str, float] = {}
    for ad in ads:
        time = ad.get("GridResourceUnavailableTime")
        if time is not None and ad.get("JobStatus") in _ALIVE:
            endpoint = str(ad.get("APF_ENDPOINT", ""))
            since[endpoint] = min(float(time), since.get(endpoint, float(time)))
    return since


Places = Mapping[str, Mapping[PilotState, int]]


@dataclass(frozen=True, slots=True)
class Silence:
    """Since when nothing has moved at an endpoint, and how many pilots each submission has in each state there."""

    since: float
    places: Places


class Watch:
    """Notice CEs that neither refuse nor answer: for `patience` seconds nothing moves there while pilots wait.

    A movement is a pilot that ended by itself, or a change within a submission that was already known, other than
    what our own hand does without the CE: submitting, removing and releasing pilots.
    What was `known` to be silent before a restart stays so if the first look finds everything where it was.
    """

    def __init__(self, patience: float, known: Mapping[str, Silence] | None = None) -> None:
        self._patience = patience
        self._moved = {endpoint: silence.since for endpoint, silence in (known or {}).items()}
        self._last = {endpoint: silence.places for endpoint, silence in (known or {}).items()}

    def look(self, at: float, groups: Iterable[PilotGroup], ended: Mapping[str, float] = {}) -> dict[str, float]:
        """Return since when each silent endpoint has not moved.

        `groups` are all pilots at CEs, `FINISHING` removed; `ended` tells when one last ended by itself.
        """
        now = dict(_by_endpoint(groups))
        for endpoint, places in now.items():
            before = self._last.get(endpoint)
            if before is None or not _waits(places) or _moved(before, places):
                self._moved[endpoint] = at
        self._moved = {name: max(self._moved[name], min(at, ended.get(name, self._moved[name]))) for name in now}
        self._last = now
        return {endpoint: since for endpoint, since in self._moved.items() if at - since >= self._patience}

    def at(self, endpoints: Iterable[str]) -> dict[str, Silence]:
        """Return what the last look found at these endpoints."""
        return {endpoint: Silence(self._moved[endpoint], self._last[endpoint]) for endpoint in endpoints}


def _by_endpoint(groups: Iterable[PilotGroup]) -> Iterator[tuple[str, Places]]:
    found: dict[str, dict[str, dict[PilotState, int]]] = {}
    for group in groups:
        places = found.setdefault(group.endpoint, {}).setdefault(group.submission, {})
        places[group.state] = places.get(group.state, 0) + group.count
    yield from found.items()


def _waits(places: Places) -> bool:
    return any(states.get(PilotState.UNSENT, 0) + states.get(PilotState.PENDING, 0) for states in places.values())


def _moved(before: Places, now: Places) -> bool:
    return any(_answered(states, now.get(submission, {})) for submission, states in before.items())


def _answered(before: Mapping[PilotState, int], now: Mapping[PilotState, int]) -> bool:
    """Tell whether only the CE can have made such a change in a submission."""
    more = {state: now.get(state, 0) - before.get(state, 0) for state in PilotState}
    started = any(more[state] > 0 for state in (PilotState.RUNNING, PilotState.SUSPENDED, PilotState.HELD))
    taken = more[PilotState.PENDING] > max(0, -more[PilotState.HELD])
    gone = -sum(more[state] for state in _ARRIVED)
    # A removed one stays listed until the CE has heard of it; one whose input is still coming counts as pending.
    return started or taken or gone > max(0, more[PilotState.FINISHING]) + max(0, more[PilotState.UNSENT])


def troubles(dead: Mapping[str, float], silent: Mapping[str, float]) -> dict[str, Trouble]:
    """Return what is wrong with endpoints, by endpoint; a dead one is not called silent too."""
    found = {endpoint: Trouble("silent", since) for endpoint, since in silent.items()}
    return found | {endpoint: Trouble("unreachable", since) for endpoint, since in dead.items()}


class Lasting:
    """Remember a trouble until a pilot arrives at the CE or ends: that its last pilots were removed proves nothing.

    Where no pilot goes any more it is forgotten after an hour.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Trouble, float]] = {}

    def look(
        self, at: float, found: Mapping[str, Trouble], groups: Sequence[PilotGroup], ended: Mapping[str, float] = {}
    ) -> dict[str, Trouble]:
        """Return the troubles found and those that last, from what `Watch.look` gets."""
        there = {group.endpoint for group in groups}
        arrived = {group.endpoint for group in groups if group.state in _ARRIVED}
        for endpoint, (trouble, seen) in list(self._known.items()):
            gone = endpoint not in there and at - seen > _FORGOTTEN
            works = endpoint in arrived or ended.get(endpoint, trouble.since) > trouble.since
            if endpoint not in found and (works or gone):
                del self._known[endpoint]
            elif endpoint in there:
                self._known[endpoint] = (trouble, at)
        for endpoint, trouble in found.items():
            before = self._known.get(endpoint, (trouble, at))[0]
            since = min(before.since, trouble.since) if before.word == trouble.word else trouble.since
            self._known[endpoint] = (Trouble(trouble.word, since), at)
        return {endpoint: trouble for endpoint, (trouble, _) in self._known.items()}
