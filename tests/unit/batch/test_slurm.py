"""Slurm's own: what sbatch is told, and what squeue, sacct and the jobcomp file say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch.commands_words import Answer, End, Seen, Tags, Unbelievable
from autopyfactory.batch.slurm import Slurm, SlurmCommands, SlurmOptions, SlurmQueueOptions
from autopyfactory.config.models import FactoryOptions, QueueOptions
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState, Shape
from tests.unit.batch.slurm_stand_in import Bed

DATA = Path(__file__).parents[2] / "data" / "slurm"
SLURM = SlurmCommands()


def answer(name: str) -> Answer:
    return Answer(0, (DATA / name).read_text())


def states(seen: list[Seen]) -> dict[str, PilotState | End]:
    return {one.id: one.state for one in seen}


def one(**values: Any) -> Seen:
    """Return what becomes of one listed job."""
    job = {"job_id": 1, "job_state": "RUNNING", "comment": Tags("F1", "Q").text(), "nodes": "n1", **values}
    return SLURM.listed(Answer(0, json.dumps({"jobs": [job], "errors": []})))[0]


def test_the_states_of_22_05() -> None:
    assert states(SLURM.listed(answer("squeue-22.05.json"))) == {
        "1": End(0),
        "2": End(0),
        "3": End(7),
        "4": PilotState.RUNNING,
        "5": PilotState.FINISHING,
        "6": PilotState.HELD,
        "7": PilotState.PENDING,
        "8": PilotState.HELD,
        "9": PilotState.RUNNING,
        "10": PilotState.RUNNING,
        "11": PilotState.RUNNING,
    }


def test_the_states_of_23_11() -> None:
    assert states(SLURM.listed(answer("squeue-23.11.json"))) == {
        "1": End(0),
        "2": End(7),
        "3": PilotState.FINISHING,
        "4": End(-15, "removed"),
        "5": PilotState.RUNNING,
        "6": PilotState.HELD,
    }


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"job_state": "CANCELLED", "exit_code": 0}, End(None, "removed")),
        ({"job_state": "CANCELLED", "exit_code": 15}, End(-15, "removed")),
        ({"job_state": "TIMEOUT", "exit_code": 0}, End(None, "ran longer than its walltime")),
        ({"job_state": "NODE_FAIL", "exit_code": 256}, End(1, "its node failed")),
        ({"job_state": "OUT_OF_MEMORY", "exit_code": 9}, End(-9, "used more memory than it asked for")),
        (
            {"job_state": "FAILED", "exit_code": 9, "state_reason": "JobLaunchFailure"},
            End(-9, "its node could not start it, or it was killed"),
        ),
        ({"job_state": ["FAILED"], "exit_code": {"set": True, "number": 1792}}, End(7)),
        ({"job_state": "FAILED"}, End(None)),
        ({"job_state": ["COMPLETED"], "exit_code": {"return_code": 0, "status": "SUCCESS"}}, End(0)),
        ({"job_state": "CONFIGURING"}, PilotState.PENDING),
        ({"job_state": ["RUNNING", "COMPLETING"]}, PilotState.FINISHING),
        ({"job_state": "SUSPENDED"}, PilotState.SUSPENDED),
        ({"job_state": "PENDING", "state_reason": "launch_failed_requeued_held"}, PilotState.HELD),
        ({"job_state": "PENDING", "state_reason": "Resources"}, PilotState.PENDING),
        ({"job_state": "TELEPORTED"}, PilotState.UNKNOWN),
        ({"job_state": []}, PilotState.UNKNOWN),
    ],
)
def test_states_and_ends(values: dict[str, Any], state: PilotState | End) -> None:
    assert one(**values).state == state


def test_a_job_that_sbatch_refused_is_no_pilot() -> None:
    assert one(job_state="FAILED", state_reason="BadConstraints", exit_code=1).tags is None
    assert one(job_state="FAILED", exit_code=256).tags == Tags("F1", "Q")


def test_a_comment_as_an_object() -> None:
    assert one(comment={"job": Tags("F1", "Q").text(), "system": ""}).tags == Tags("F1", "Q")
    assert one(comment=None).tags is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer("squeue-controller-down.json"), "Failed while looking for jobs, Unspecified error, slurm_load_jobs"),
        (Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"), "Unable to"),
        (Answer(0), "without a word"),
        (Answer(0, "{"), r"\{"),
        (Answer(0, "[]"), r"\[\]"),
        (Answer(0, '{"errors": []}'), "errors"),
        (Answer(1, '{"jobs": [], "errors": []}', "killed"), "killed"),
        (Answer(0, '{"jobs": [{"job_id": 1}]}'), "form that is not known"),
        (Answer(0, '{"jobs": [7]}'), "form that is not known"),
        (Answer(0, '{"jobs": [], "errors": ["no"]}'), "no"),
        (Answer(1, "", "squeue: error: Unrecognized option: --json"), "Unrecognized option"),
    ],
)
def test_what_is_no_listing(said: Answer, reason: str) -> None:
    with pytest.raises(Unbelievable, match=reason) as caught:
        SLURM.listed(said)
    assert "\n" not in caught.value.reason


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda part: (
            st.lists(part)
            | st.dictionaries(
                st.sampled_from(
                    ["jobs", "errors", "job_id", "job_state", "exit_code", "comment", "number", "return_code"]
                ),
                part,
            )
        ),
    )
)
def test_whatever_is_written_there_is_an_answer_or_none(paper: object) -> None:
    for text in (json.dumps(paper), json.dumps({"jobs": [paper], "errors": []})):
        try:
            SLURM.listed(Answer(0, text))
        except Unbelievable:
            continue


@pytest.mark.parametrize("text", ["12\n", "12;cluster\n", "\n12\n"])
def test_an_accepted_job(text: str) -> None:
    assert SLURM.submitted(Answer(0, text)) == "12"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            "invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid partition name",
            "correct batchqueue",
        ),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "sacctmgr"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "walltime"),
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", "slurmctld is down"),
        ("Batch job submission failed: User's group not permitted to use this partition", "AllowGroups"),
        ("Batch job submission failed: Invalid user id", "host of slurmctld"),
    ],
)
def test_a_refusal_says_what_to_change(text: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        SLURM.submitted(Answer(1, "", f"sbatch: error: {text}\n"))
    assert remedy in caught.value.reason
    assert "\n" not in caught.value.reason
    assert caught.value.reason.count("sbatch:") == 1


@pytest.mark.parametrize("where", ["send", "receive", "shutdown"])
def test_a_request_that_got_as_far_as_the_controller_may_have_been_accepted(where: str) -> None:
    said = f"sbatch: error: Batch job submission failed: Unable to contact slurm controller ({where} failure)"
    with pytest.raises(Ambiguous):
        SLURM.submitted(Answer(1, "", said))


@pytest.mark.parametrize(
    "said",
    [
        Answer(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"),
        Answer(1, "", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received"),
        Answer(-11),
        Answer(0, "Job submitted, maybe"),
    ],
)
def test_what_may_have_been_accepted(said: Answer) -> None:
    with pytest.raises(Ambiguous):
        SLURM.submitted(said)


def argv(bed: Bed, **order: Any) -> list[str]:
    bed.batch.submit(bed.order(**order))
    return bed.slurm.calls[-1]


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_what_a_pilot_asks_for_in_slurms_units(bed: Bed) -> None:
    words = argv(bed, shape=Shape(8, 16000, 3601), batchqueue="long", backend=SlurmQueueOptions(account="atlas"))
    assert {"--cpus-per-task=8", "--mem=15259M", "--time=61", "--partition=long", "--account=atlas"} <= set(words)
    assert {"--no-requeue", "--export=NONE", "--nodes=1", "--ntasks=1", "--job-name=apf-Q"} <= set(words)
    plain = argv(bed, name="s2")
    assert not [word for word in plain if word.startswith(("--mem", "--time", "--partition", "--account"))]


def test_further_arguments_come_last(bed: Bed) -> None:
    backend = SlurmQueueOptions(extra_arguments="--constraint='a&b' -C x")
    words = argv(bed, backend=backend, submit={"gpus_per_node": "1", "qos": "high prio"})
    assert words[-5:] == ["--gpus-per-node=1", "--qos=high prio", "--constraint=a&b", "-C", "x"]


def test_a_percent_sign_in_a_path_is_no_pattern(bed: Bed) -> None:
    order = replace(bed.order(), log_dir=bed.home / "100%j")
    bed.batch.submit(order)
    assert any(word.startswith(f"--output={bed.home}/100%%j/") for word in bed.slurm.calls[-1])


@pytest.mark.parametrize(
    "argument", ["--comment=x", "--comm", "--array=0-3", "-a1-3", "--wr", "--wrap=x", "--clusters=b", "-Mb"]
)
def test_arguments_that_would_hide_the_pilots(bed: Bed, argument: str) -> None:
    backend = SlurmQueueOptions(extra_arguments=argument)
    with pytest.raises(Refused, match="would hide the pilots"):
        bed.batch.submit(bed.order(backend=backend))
    options = QueueOptions(backend="batch", type="slurm")
    factory = FactoryOptions(id="F", pilot_log_dir=Path("/proc/x"))
    assert any(text.startswith("extra_arguments: ") for text in Slurm.check(options, backend, factory, {}))
    assert not any(text.startswith("extra") for text in Slurm.check(options, SlurmQueueOptions(), factory, {}))


def test_harmless_arguments_stay(bed: Bed) -> None:
    backend = SlurmQueueOptions(extra_arguments="--account=x --constraint=y -A z --acctg-freq=1")
    assert "--constraint=y" in argv(bed, backend=backend)
    with pytest.raises(Refused, match="--comment=mine would hide"):
        bed.batch.submit(bed.order(submit={"comment": "mine"}))


def test_the_jobcomp_file(tmp_path: Path) -> None:
    file = SlurmCommands(jobcomp=tmp_path / "jobcomp.log")
    assert file.history(["2", "3"]) == ["grep", "-E", "^JobId=(2|3) ", str(tmp_path / "jobcomp.log")]
    found = file.told(answer("jobcomp.log"))
    assert found == {"2": End(0), "3": End(7), "5": End(None, "removed")}
    assert file.told(Answer(1)) == {}
    with pytest.raises(Unbelievable, match="Permission denied"):
        file.told(Answer(2, "", "grep: jobcomp.log: Permission denied"))


def test_sacct() -> None:
    sacct = SlurmCommands(sacct=True)
    assert sacct.history(["1", "2"]) == ["sacct", "-X", "-n", "-P", "-j", "1,2", "-o", "JobID,State,ExitCode"]
    text = "1|COMPLETED|0:0\n2|FAILED|5:0\n3|CANCELLED by 1001|0:15\n4|RUNNING|0:0\n2|COMPLETED|0:0\n"
    assert sacct.told(Answer(0, text)) == {"1": End(0), "2": End(0), "3": End(-15, "removed")}
    with pytest.raises(Unbelievable, match="disabled"):
        sacct.told(Answer(1, "", "Slurm accounting storage is disabled"))
    assert SLURM.history(["1"]) is None


def test_scancel_is_silent_about_what_it_does_not_know() -> None:
    assert SLURM.removed(Answer(0), ["1", "2"]) == 2
    assert (
        SLURM.removed(Answer(1, "", "scancel: error: Kill job error on job id 1: Invalid job id specified"), ["1"]) == 1
    )
    with pytest.raises(Unbelievable, match="timed out"):
        SLURM.removed(Answer(140, "", "scancel: error: Kill job error on job id 4: Socket timed out"), ["4"])


def test_the_options_of_a_section() -> None:
    assert SlurmOptions().interval == 30.0
    assert SlurmOptions().max_age == 300.0
    assert SlurmOptions().deadline == 20.0
