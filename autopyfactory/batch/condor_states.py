"""What a schedd's jobs are in the factory's words, and how a schedd is asked for some of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from autopyfactory.batch.condor_child import GRID, SPOOLING, UNSENT, Ad, Survey, may_be_unsent, of_factory
from autopyfactory.batch.condor_pilots import RELEASES
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.model import Pilot, PilotGroup, PilotState

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

_COMPLETED = 4


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
    # Those of which the CE tells something are not the unsent ones, as far as others are enough.
    for ad in sorted(survey.groups, key=lambda ad: "GridJobStatus" in ad):
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
        word="" if state is PilotState.UNSENT else str(ad.get("GridJobStatus", "")),
    )


def at_ces(survey: Survey) -> Survey:
    """Return what a survey says of pilots that go on to a CE, without those that have completed."""
    ads = tuple(ad for ad in survey.groups if ad.get("JobUniverse") == GRID and ad.get("JobStatus") != _COMPLETED)
    return replace(survey, groups=ads)
