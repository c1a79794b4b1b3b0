"""Pilots added up by queue, submission and endpoint."""

from autopyfactory.batch.tally import Tally, tally
from autopyfactory.model import PilotCounts, PilotGroup, PilotState

PENDING, RUNNING = PilotState.PENDING, PilotState.RUNNING


def test_tally() -> None:
    answer = tally(
        [
            PilotGroup("s1", "Q", PENDING, 3, "here"),
            PilotGroup("s1", "Q", RUNNING, 2, "here"),
            PilotGroup("s2", "Q", PENDING, 4, "there"),
            PilotGroup("s3", "R", PilotState.FINISHING, 9, "here"),
        ]
    )
    assert answer.by_queue == {"Q": PilotCounts(pending=7, running=2), "R": PilotCounts(finishing=9)}
    assert answer.shown == {"s1": 5, "s2": 4, "s3": 9}
    assert answer.hosts == {"s1": "here", "s2": "there", "s3": "here"}
    assert answer.in_flight == 9
    assert tally([]) == Tally()


def test_pending_pilots_by_their_ces_word() -> None:
    answer = tally(
        [
            PilotGroup("s1", "Q", PENDING, 5, word="INLRMS:Q"),
            PilotGroup("s2", "Q", PENDING, 2, word="INLRMS:Q"),
            PilotGroup("s2", "Q", PENDING, 1, word="ACCEPTING"),
            PilotGroup("s2", "Q", PENDING, 4),
            PilotGroup("s2", "Q", RUNNING, 9, word="INLRMS:R"),
        ]
    )
    assert answer.words == {"Q": {"INLRMS:Q": 7, "ACCEPTING": 1}}


def test_pilots_by_endpoint() -> None:
    answer = tally(
        [
            PilotGroup("s1", "Q", PENDING, 5, endpoint="a"),
            PilotGroup("s2", "Q", PilotState.UNSENT, 2, endpoint="a"),
            PilotGroup("s3", "Q", PilotState.HELD, 3, endpoint="b"),
            PilotGroup("s4", "R", RUNNING, 9, endpoint="c"),
        ]
    )
    assert answer.waiting_at == {("Q", "a"): 7}
    assert answer.held_at == {("Q", "b"): 3}
