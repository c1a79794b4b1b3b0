import os
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from autopyfactory.batch import condor_child
from autopyfactory.batch.condor_child import ENDED_KEYS, GROUP_KEYS, ScheddSaid, Target
from tests.unit.batch.bindings_stand_in import FakeSchedd, Undefined

TARGET = Target("ap1", "cm:9618")


def test_every_attribute_of_the_constraint_is_a_group_key(schedd: FakeSchedd) -> None:
    schedd.grouped = [{"APF_QUEUE": "Q", "JobStatus": 1, "JobCount": 3, "HoldReasonCode": Undefined.UNDEFINED}]
    survey = condor_child.survey(TARGET, "fac-1")
    constraint, projection, opts = schedd.asked[0]
    assert {"APF_FACTORY", "SubmitterId"} == set(re.findall(r"\w+(?= =[=?]=? )", constraint)) <= set(projection)
    assert opts == 2
    assert len(schedd.asked) == 1
    assert survey.groups == ({"APF_QUEUE": "Q", "JobStatus": 1, "JobCount": 3},)
    assert (survey.schedd, survey.bindings, survey.trusted) == ("25.14.1", "25.14.1", True)


@pytest.mark.parametrize(
    ("tags", "ours"), [({"APF_FACTORY": "BNL-1"}, True), ({"APF_FACTORY": "bnl-1"}, False), ({}, False)]
)
def test_a_factory_whose_id_differs_in_case_is_another_one(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, str], ours: bool
) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    classads = pytest.importorskip("classad2")
    constraint = classads.ExprTree(condor_child.of_factory("BNL-1"))
    assert constraint.eval(classads.ClassAd(tags)) is ours


def test_an_empty_grouped_answer_is_checked_and_counted_by_hand_when_it_lies(schedd: FakeSchedd) -> None:
    assert condor_child.survey(TARGET, "fac-1").trusted
    schedd.jobs = [{"APF_QUEUE": "Q", "JobStatus": 1}] * 2
    survey = condor_child.survey(TARGET, "fac-1")
    assert not survey.trusted
    assert survey.groups == ({"APF_QUEUE": "Q", "JobStatus": 1, "JobCount": 1},) * 2


def test_a_mistyped_name_never_leads_to_the_local_schedd(schedd: FakeSchedd) -> None:
    with pytest.raises(ScheddSaid, match="collector cm:9618 knows no schedd 'typo'"):
        condor_child.survey(Target("typo", "cm:9618"), "fac-1")
    assert condor_child.survey(Target(), "fac-1").trusted
    assert schedd.asked


def test_a_schedd_that_failed_is_located_again(schedd: FakeSchedd) -> None:
    condor_child.survey(TARGET, "fac-1")
    assert TARGET in condor_child._SCHEDDS
    schedd.trouble["query"] = "Failed to fetch ads from schedd,\n errmsg=x"
    with pytest.raises(ScheddSaid, match="Failed to fetch ads from schedd, errmsg=x"):
        condor_child.completed(TARGET, "fac-1")
    assert TARGET not in condor_child._SCHEDDS


def test_completed_jobs_come_with_what_is_known_of_their_end(schedd: FakeSchedd) -> None:
    schedd.jobs = [{"ClusterId": 1, "ProcId": 0, "ExitCode": 3, "ExitBySignal": False, "ServerTime": 9}]
    ads = condor_child.completed(TARGET, "fac-1")
    assert ads == ({"ClusterId": 1, "ProcId": 0, "ExitCode": 3, "ExitBySignal": False},)
    assert set(ads[0]) <= set(ENDED_KEYS)
    assert "JobStatus == 4" in schedd.asked[0][0]


def test_a_submission_tells_its_cluster_and_what_was_warned_of(schedd: FakeSchedd) -> None:
    taken = condor_child.submit(TARGET, {"executable": "x"}, 5, False)
    assert (taken.cluster, taken.first, taken.count) == (7, 0, 5)
    assert taken.warnings == ("the line 'bogus = 1' was unused",)
    assert schedd.done == []


def test_spooled_jobs_whose_input_cannot_be_sent_are_removed(schedd: FakeSchedd) -> None:
    condor_child.submit(TARGET, {}, 1, True)
    assert schedd.done == [("spool", 7)]
    schedd.trouble["spool"] = "disk full"
    with pytest.raises(ScheddSaid, match="they are removed: disk full") as caught:
        condor_child.submit(TARGET, {}, 1, True)
    assert not caught.value.uncertain
    assert schedd.done[-1] == ("remove", "ClusterId == 7")


def test_spooled_jobs_that_can_neither_be_fed_nor_removed_may_exist(schedd: FakeSchedd) -> None:
    schedd.trouble = {"spool": "the schedd\nwent away", "act": "Failed to connect\nto schedd"}
    with pytest.raises(ScheddSaid) as caught:
        condor_child.submit(TARGET, {}, 1, True)
    assert caught.value.uncertain
    for said in ("cannot send the input of the pilots: the schedd went away", "remove", "Failed to connect to schedd"):
        assert said in caught.value.reason


@pytest.mark.parametrize(
    ("said", "reason", "uncertain"),
    [
        ("Failed to create job ad, errmsg=Submit:-1:Invalid value 'gt2' for grid type\nMust be one of: condor\n",
         "Invalid value 'gt2' for grid type Must be one of: condor", False),
        ("Failed to connect to schedd, errmsg=X", "Failed to connect to schedd, errmsg=X", False),
        ("Unable to commit transaction, SCHEDD:2:bad pilots", "bad pilots", False),
        ("Unable to commit transaction, ", "Unable to commit transaction,", True),
        ("expected next ProcId to be 100, but Schedd says -4",
         "the schedd takes no more jobs: MAX_JOBS_PER_SUBMISSION", False),
        ("expected next ProcId to be 100, but Schedd says -1",
         "expected next ProcId to be 100, but Schedd says -1", False),
    ],
)  # fmt: skip
def test_only_a_commit_without_an_answer_is_uncertain(
    schedd: FakeSchedd, said: str, reason: str, uncertain: bool
) -> None:
    schedd.trouble["submit"] = said
    with pytest.raises(ScheddSaid) as caught:
        condor_child.submit(TARGET, {}, 1, False)
    assert (caught.value.reason, caught.value.uncertain) == (reason, uncertain)


def test_other_exceptions_are_bugs_and_come_as_they_are(schedd: FakeSchedd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedd, "query", None)
    with pytest.raises(TypeError):
        condor_child.survey(TARGET, "fac-1")


def test_spooled_jobs_to_deal_with(schedd: FakeSchedd) -> None:
    schedd.jobs = [{"ClusterId": 3, "ProcId": 0, "StageInFinish": 5}]
    found = condor_child.spooled(TARGET, "fac-1", 600)
    assert found.completed == found.late == ({"ClusterId": 3, "ProcId": 0, "StageInFinish": 5},)
    assert "JobStatus == 4 && StageInFinish > 0" in schedd.asked[0][0]
    assert "> 600" in schedd.asked[1][0]


def test_a_job_whose_output_is_here_is_let_go_and_no_other(schedd: FakeSchedd) -> None:
    condor_child.fetch(TARGET, "3.0")
    assert schedd.done == [("retrieve", "3.0"), ("remove", ["3.0"])]
    schedd.trouble["retrieve 3.1"] = "no\nspace"
    with pytest.raises(ScheddSaid, match="no space"):
        condor_child.fetch(TARGET, "3.1")
    condor_child.drop(TARGET, "3.2", "late")
    assert schedd.done[2:] == [("remove", ["3.2"])]


def test_the_listed_jobs_of_submissions_in_one_question(schedd: FakeSchedd) -> None:
    schedd.jobs = [{"APF_SUBMISSION": "a", "JobStatus": 4}, {"APF_SUBMISSION": "b", "JobStatus": 2, "Owner": "x"}]
    found = condor_child.listed(TARGET, "fac-1", ["a", "b"])
    assert found == ({"APF_SUBMISSION": "a", "JobStatus": 4}, {"APF_SUBMISSION": "b", "JobStatus": 2})
    assert 'member(APF_SUBMISSION, {"a", "b"})' in schedd.asked[0][0]


def test_the_history_is_read_to_the_last_record_wanted_and_no_further(schedd: FakeSchedd) -> None:
    schedd.history_ads = [{"APF_SUBMISSION": "a", "JobStatus": 3, "ClusterId": 1, "ProcId": n} for n in range(5)]
    assert [ad["ProcId"] for ad in condor_child.records(TARGET, "fac-1", "a", 2)] == [0, 1]
    assert schedd.asked[0][0] == f'APF_SUBMISSION == "a" && {condor_child.of_factory("fac-1")}'


def test_endpoints_without_room_for_our_unsent_pilots(schedd: FakeSchedd) -> None:
    assert condor_child.full(TARGET, "fac-1") == {}
    schedd.jobs = [{"APF_ENDPOINT": "ce1", "GridResource": "condor ce1 ce1:9619"}]
    assert condor_child.full(TARGET, "fac-1") == {"ce1": 1000}


@pytest.mark.parametrize(("config", "given", "seen"), [("/c", "/other", "/c"), ("", "/given", "/given")])
def test_the_configuration_is_set_before_the_bindings_are_there(
    monkeypatch: pytest.MonkeyPatch, config: str, given: str, seen: str
) -> None:
    found: list[str] = []
    parameters: dict[str, str] = {}

    def bindings() -> Any:
        found.append(os.environ["CONDOR_CONFIG"])
        return SimpleNamespace(param=parameters)

    monkeypatch.setenv("CONDOR_CONFIG", given)
    monkeypatch.setattr(condor_child, "_bindings", bindings)
    prepare: Callable[[str, str], None] = condor_child.prepare
    prepare(config, "/tokens")
    assert found == [seen]
    assert parameters == {"SEC_TOKEN_DIRECTORY": "/tokens"}


def test_group_keys_hold_every_tag() -> None:
    assert {"APF_FACTORY", "APF_HOST", "APF_QUEUE", "APF_ENDPOINT", "APF_SHAPE", "APF_SUBMISSION"} < set(GROUP_KEYS)
