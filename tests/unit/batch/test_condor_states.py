from autopyfactory.batch.condor_child import Ad, Survey
from autopyfactory.batch.condor_states import at_ces, pilot_groups
from autopyfactory.model import PilotState


def ad(status: int, count: int, submission: str = "s1", **more: str | int) -> Ad:
    tags: Ad = {"APF_SUBMISSION": submission, "APF_QUEUE": "Q", "APF_ENDPOINT": "ce1"}
    return tags | {"JobUniverse": 9, "JobStatus": status, "JobCount": count} | more


def states(survey: Survey) -> list[tuple[str, PilotState, int]]:
    return [(group.submission, group.state, group.count) for group in pilot_groups(survey)]


def test_idle_pilots_without_a_job_at_the_ce_are_unsent() -> None:
    survey = Survey((ad(1, 5), ad(2, 4), ad(1, 3, "s2")), unsent={"s1": 2, "s2": 3})
    assert states(survey) == [
        ("s1", PilotState.UNSENT, 2),
        ("s1", PilotState.PENDING, 3),
        ("s1", PilotState.RUNNING, 4),
        ("s2", PilotState.UNSENT, 3),
    ]


def test_unsent_ones_are_shared_by_the_groups_of_a_submission_and_never_more_than_there_are() -> None:
    survey = Survey((ad(1, 2), ad(1, 2, GridResourceUnavailableTime=9)), unsent={"s1": 7})
    assert states(survey) == [("s1", PilotState.UNSENT, 2), ("s1", PilotState.UNSENT, 2)]


def test_pending_pilots_have_their_ces_word_and_unsent_ones_none() -> None:
    ads = (ad(1, 4, GridJobStatus="INLRMS:Q"), ad(1, 3), ad(2, 1, GridJobStatus="INLRMS:R"))
    survey = Survey(ads, unsent={"s1": 4})
    assert [(group.state, group.count, group.word) for group in pilot_groups(survey)] == [
        (PilotState.UNSENT, 3, ""),
        (PilotState.UNSENT, 1, ""),
        (PilotState.PENDING, 3, "INLRMS:Q"),
        (PilotState.RUNNING, 1, "INLRMS:R"),
    ]


def test_pilots_of_a_pool_are_never_unsent() -> None:
    assert states(Survey((ad(1, 2, JobUniverse=5),), unsent={"s1": 2})) == [("s1", PilotState.PENDING, 2)]


def test_pilots_at_ces_are_neither_those_of_a_pool_nor_completed() -> None:
    survey = at_ces(Survey((ad(1, 3), ad(3, 1), ad(4, 1), ad(1, 1, "s2", JobUniverse=5)), unsent={"s1": 1}))
    assert states(survey) == [
        ("s1", PilotState.UNSENT, 1),
        ("s1", PilotState.PENDING, 2),
        ("s1", PilotState.FINISHING, 1),
    ]
