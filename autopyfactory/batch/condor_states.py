"""What a schedd's groups of jobs mean: pilots in the factory's words, and CEs that do not work."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from autopyfactory.batch.condor_child import GRID, SPOOLING, UNSENT, Ad, Survey, may_be_unsent, of_factory
from autopyfactory.batch.condor_pilots import RELEASES
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.model import Pilot, PilotGroup, PilotState, Trouble

STATES = {
    1: PilotState.PENDING,
    2: PilotState.RUNNING,
    3: PilotState.FINISHING,
    4: PilotState.FINISHING,
    5: PilotState.HELD,
    6: PilotState.RUNNING,
    7: PilotState.SUSPENDED,
}
"""The factory's word for each JobStatus (3 removed, 4 completed, 6 transferring output)."""

_INPUT_COMING = f"JobStatus == 5 && HoldReasonCode =?= {SPOOLING}"
WORDS = {
    PilotState.UNSENT: UNSENT,
    PilotState.PENDING: f"(JobStatus == 1 && !({UNSENT})) || ({_INPUT_COMING})",
    PilotState.RUNNING: "JobStatus == 2 || JobStatus == 6",
    PilotState.SUSPENDED: "JobStatus == 7",
    PilotState.HELD: f"JobStatus == 5 && HoldReasonCode =!= {SPOOLING}",
    PilotState.FINISHING: "JobStatus == 3 || JobStatus == 4",
    PilotState.UNKNOWN: "JobStatus < 1 || JobStatus > 7",
}
"""What a schedd calls the pilots in a state."""

AT_ONCE = 500
"""Pilots that one constraint names."""

MEANING = {
    "unreachable": "HTCondor's gridmanager cannot talk to it, see its log",
    "silent": "pilots wait and nothing has moved there",
}
"""What is known of an endpoint by the word for its trouble."""

_ALIVE = frozenset({1, 2})
_COMPLETED = 4
_ARRIVED = frozenset({PilotState.PENDING, PilotState.RUNNING, PilotState.SUSPENDED})
_FORGOTTEN = 3600.0


def those(factory: str, queue: str, states: frozenset[PilotState]) -> str:
    """Return the constraint that chooses a factory's pilots in some states, of one queue or ("") of all."""
    parts = [of_factory(factory)]
    if queue:
        parts.append(f"APF_QUEUE =?= {class_ad_string(queue)}")
    if states != frozenset(PilotState):
        parts.append(f"({' || '.join(f'({WORDS[state]})' for state in sorted(states)) or 'False'})")
    return " && ".join(parts)


def these(factory: str, pilots: Sequence[Pilot]) -> Iterator[str]:
    """Return constraints that choose pilots by their ids, of these the ones that are still in the same state."""
    by_state: dict[PilotState, list[str]] = {}
    for pilot in pilots:
        by_state.setdefault(pilot.state, []).append(pilot.id)
    for state, ids in by_state.items():
        for start in range(0, len(ids), AT_ONCE):
            names = ", ".join(f'"{id_}"' for id_ in ids[start : start + AT_ONCE])
            yield f'{those(factory, "", frozenset({state}))} && member(strcat(ClusterId, ".", ProcId), {{{names}}})'


def pilot_of(ad: Ad, cid: str) -> Pilot:
    """Return a listed job as a pilot."""
    state = PilotState.PENDING if is_coming(ad) else STATES.get(int(ad.get("JobStatus", 0)), PilotState.UNKNOWN)
    if may_be_unsent(ad) and "GridJobId" not in ad:
        state = PilotState.UNSENT
    held = state is PilotState.HELD
    return Pilot(
        id=f"{ad['ClusterId']}.{ad['ProcId']}",
        queue=str(ad.get("APF_QUEUE", "")),
        state=state,
        cid=cid,
        submission=str(ad.get("APF_SUBMISSION", "")),
        endpoint=str(ad.get("APF_ENDPOINT", "")),
        submitted=_number(ad.get("QDate")),
        since=_number(ad.get("EnteredCurrentStatus")),
        hold_code=int(ad.get("HoldReasonCode", 0)) if held else None,
        hold_subcode=int(ad.get("HoldReasonSubCode", 0)) if held else None,
        hold_reason=" ".join(str(ad.get("HoldReason", "")).split()) if held else "",
        releases=int(ad.get(RELEASES, 0)),
        word=str(ad.get("GridJobStatus", "")),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def is_coming(ad: Ad) -> bool:
    """Tell whether the input of a group is still on its way to the schedd."""
    return ad.get("JobStatus") == 5 and ad.get("HoldReasonCode") == SPOOLING


def pilot_groups(survey: Survey) -> tuple[PilotGroup, ...]:
    """Return a survey's groups as pilots; idle ones that have not reached their CE are unsent.

    Raises ValueError for a group without a count: unknown is not zero.
    """
    left = dict(survey.unsent)
    groups: list[PilotGroup] = []
    for ad in survey.groups:
        count = ad.get("JobCount")
        if type(count) is not int:
            raise ValueError(f"its grouped answer has no JobCount for {ad.get('APF_SUBMISSION', '')}")
        state = PilotState.PENDING if is_coming(ad) else STATES.get(int(ad.get("JobStatus", 0)), PilotState.UNKNOWN)
        group = _group(ad, state, count)
        unsent = min(left.get(group.submission, 0), group.count) if may_be_unsent(ad) else 0
        if unsent:
            left[group.submission] -= unsent
            groups.append(_group(ad, PilotState.UNSENT, unsent))
        if group.count > unsent:
            groups.append(_group(ad, state, group.count - unsent))
    return tuple(groups)


def _group(ad: Ad, state: PilotState, count: int) -> PilotGroup:
    return PilotGroup(
        submission=str(ad.get("APF_SUBMISSION", "")),
        queue=str(ad.get("APF_QUEUE", "")),
        state=state,
        count=count,
        host=str(ad.get("APF_HOST", "")),
        endpoint=str(ad.get("APF_ENDPOINT", "")),
        shape=str(ad.get("APF_SHAPE", "")),
    )


def unreachable(ads: Iterable[Ad]) -> dict[str, float]:
    """Return since when the gridmanager reaches the CE of pilots that are not at their end, by endpoint.

    Every job of a dead CE has the attribute; no other sign is ever set, and none of them is held.
    """
    since: dict[str, float] = {}
    for ad in ads:
        time = ad.get("GridResourceUnavailableTime")
        if time is not None and ad.get("JobStatus") in _ALIVE:
            endpoint = str(ad.get("APF_ENDPOINT", ""))
            since[endpoint] = min(float(time), since.get(endpoint, float(time)))
    return since


def at_ces(survey: Survey) -> Survey:
    """Return what a survey says of pilots that go on to a CE, without those that have completed."""
    ads = tuple(ad for ad in survey.groups if ad.get("JobUniverse") == GRID and ad.get("JobStatus") != _COMPLETED)
    return replace(survey, groups=ads)


Places = Mapping[str, Mapping[PilotState, int]]


@dataclass(frozen=True, slots=True)
class Silence:
    """Since when nothing has moved at an endpoint, and how many pilots each submission has in each state there."""

    since: float
    places: Places


class Watch:
    """Notice CEs that neither refuse nor answer: for `patience` seconds nothing moves there while pilots wait.

    A movement is a change within a submission that was already known, other than what our own hand does without
    the CE: submitting, removing and releasing pilots.
    What was `known` to be silent before a restart stays so if the first look finds everything where it was.
    """

    def __init__(self, patience: float, known: Mapping[str, Silence] | None = None) -> None:
        self._patience = patience
        self._moved = {endpoint: silence.since for endpoint, silence in (known or {}).items()}
        self._last = {endpoint: silence.places for endpoint, silence in (known or {}).items()}

    def look(self, at: float, groups: Iterable[PilotGroup]) -> dict[str, float]:
        """Return since when each silent endpoint has not moved; `groups` are all pilots at CEs, `FINISHING` removed."""
        now = dict(_by_endpoint(groups))
        for endpoint, places in now.items():
            before = self._last.get(endpoint)
            if before is None or not _waits(places) or _moved(before, places):
                self._moved[endpoint] = at
        self._moved = {endpoint: self._moved[endpoint] for endpoint in now}
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
    """Remember a trouble until a pilot shows that the CE works: that its last pilots were removed does not.

    Where no pilot goes any more it is forgotten after an hour.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Trouble, float]] = {}

    def look(self, at: float, found: Mapping[str, Trouble], groups: Sequence[PilotGroup]) -> dict[str, Trouble]:
        """Return the troubles found and those that last; `groups` are all pilots at CEs."""
        there = {group.endpoint for group in groups}
        arrived = {group.endpoint for group in groups if group.state in _ARRIVED}
        for endpoint, (trouble, seen) in list(self._known.items()):
            gone = endpoint not in there and at - seen > _FORGOTTEN
            if endpoint not in found and (endpoint in arrived or gone):
                del self._known[endpoint]
            elif endpoint in there:
                self._known[endpoint] = (trouble, at)
        for endpoint, trouble in found.items():
            before = self._known.get(endpoint, (trouble, at))[0]
            since = min(before.since, trouble.since) if before.word == trouble.word else trouble.since
            self._known[endpoint] = (Trouble(trouble.word, since), at)
        return {endpoint: trouble for endpoint, (trouble, _) in self._known.items()}
