import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch.condor_child import Ad
from autopyfactory.batch.condor_ends import Ends


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(2, 40))
def test_every_pilot_that_a_poll_could_see_completed_is_told_exactly_once(seed: int, pilots: int, polls: int) -> None:
    chance = random.Random(seed)
    ends = Ends("")
    status = dict.fromkeys(range(pilots), 1)
    told: list[str] = []
    seen: set[str] = set()
    for _ in range(polls):
        # What happens between two polls; a completed pilot is listed for at least one of them.
        for proc, now in list(status.items()):
            if now == 4 and f"7.{proc}" in seen and chance.random() < 0.5:
                del status[proc]
            elif now in (1, 2) and chance.random() < 0.3:
                status[proc] = chance.choice([2, 3, 4, 4])
            elif now == 3:
                del status[proc]
        groups: list[Ad] = [{"APF_SUBMISSION": "s", "JobStatus": now, "JobCount": 1} for now in status.values()]
        completed: list[Ad] = [
            {"APF_SUBMISSION": "s", "ClusterId": 7, "ProcId": proc} for proc, now in status.items() if now == 4
        ]
        seen |= {f"7.{ad['ProcId']}" for ad in completed}
        if ends.hidden_in(groups):
            ends.tell_completed(completed)
        told += [pilot.cid for pilot in ends.take()]
        assert sorted(told) == sorted(seen)


def test_a_fault_has_no_exit_code() -> None:
    ends = Ends("1-")
    ends.tell_removed([{"ClusterId": 1, "ProcId": 0, "ExitCode": 0}], "removed")
    assert [(pilot.cid, pilot.exit_code, pilot.fault) for pilot in ends.take()] == [("1-1.0", None, "removed")]
    assert ends.take() == ()


RAN: Ad = {"QDate": 100, "JobStartDate": 150, "CompletionDate": 200, "RemoteWallClockTime": 50.0}


@pytest.mark.parametrize(
    ("job", "fault", "lived", "at"),
    [
        (RAN, "", 50.0, 200.0),
        (RAN | {"RemoteWallClockTime": 0.0}, "", 0.0, 200.0),
        ({"QDate": 100, "CompletionDate": 130}, "", 30.0, 130.0),
        ({"QDate": 100, "CompletionDate": 0, "EnteredCurrentStatus": 130}, "removed", None, 130.0),
        (RAN | {"CompletionDate": 0, "EnteredCurrentStatus": 190}, "removed", 50.0, 190.0),
        ({"JobStartDate": 150}, "", None, 0.0),
        ({}, "", None, 0.0),
    ],
)
def test_how_long_a_pilot_ran_and_where(job: Ad, fault: str, lived: float | None, at: float) -> None:
    ends = Ends("")
    tags: Ad = {"ClusterId": 1, "ProcId": 0, "APF_ENDPOINT": "ce1", "LastRemoteHost": "slot1_2@n7.example.org"}
    ends.tell_removed([tags | job], fault)
    pilot = ends.take()[0]
    assert (pilot.lived, pilot.at, pilot.endpoint, pilot.node) == (lived, at, "ce1", "n7.example.org")
