"""LSF's own: what bsub is told, and what bjobs and bkill say, in tables and in JSON."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch import Order
from autopyfactory.batch.commands_words import Answer, End, NewPilot, Seen, Tags, Unbelievable
from autopyfactory.batch.lsf import Lsf, LsfCommands, LsfOptions, LsfQueueOptions
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from tests.testbed.standin.lsf import fold
from tests.unit.batch.transcripts import DATA, answers

LSF = LsfCommands()
TABLES = LsfCommands(tables=True)
BSUB = answers("lsf-bsub.txt")
BJOBS = answers("lsf-bjobs.txt")
TAGS = Tags("F-1", "Q_1", "20261122T190000-abcdef012345", "mws8dguc.0", "host.example.org", "ce=1,x", "8c-16000m")
HEAD = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
RAN = "Sun Nov 22 16:22:25: "


def record(**values: str) -> Seen:
    """Return what becomes of one record."""
    one = {"JOBID": "1", "STAT": "RUN", "USER": "me", "EXIT_CODE": "", "EXIT_REASON": "", "JOB_NAME": "x"} | values
    return LSF.listed(Answer(0, json.dumps({"COMMAND": "bjobs", "JOBS": 1, "RECORDS": [one]})))[0]


def test_the_recorded_table() -> None:
    assert TABLES.listed(BJOBS["bjobs -a -w"]) == [
        Seen("206", None, PilotState.RUNNING, "RUN", "batchuser"),
        Seen("207", None, PilotState.RUNNING, "RUN", "batchuser"),
        Seen("208", None, PilotState.HELD, "PSUSP", "batchuser"),
        Seen("204", None, End(), "DONE", "batchuser"),
        Seen("205", None, End(), "EXIT", "batchuser"),
    ]


def test_tags_are_the_jobs_name_and_foreign_names_may_hold_anything() -> None:
    rows = (
        f"7       me      PEND  grid       vm             -        {TAGS.text()} Nov  2 06:22\n"
        "8       averylongusername SSUSP averylongqueue averylonghost 8*averylonghost:2*b my job  [1] Nov 22 16:22\n"
        "9[1]    me      UNKWN grid       vm          vm          x Nov 22 16:22\n"
    )
    assert TABLES.listed(Answer(0, HEAD + rows)) == [
        Seen("7", TAGS, PilotState.PENDING, "PEND", "me"),
        Seen("8", None, PilotState.SUSPENDED, "SSUSP", "averylongusername"),
        Seen("9[1]", None, PilotState.UNKNOWN, "UNKWN", "me"),
    ]


def test_the_documented_json() -> None:
    paper = json.loads((DATA / "lsf-bjobs.documented.json").read_text())
    for one in paper["RECORDS"]:
        one |= {"JOB_NAME": TAGS.text(), "USER": "me"}
    assert LSF.listed(Answer(0, json.dumps(paper))) == [
        Seen("22005", TAGS, End(0), "DONE", "me"),
        Seen("22006", TAGS, End(7), "EXIT", "me"),
    ]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"STAT": "DONE"}, End(0)),
        ({"STAT": "EXIT", "EXIT_CODE": "7"}, End(7)),
        ({"STAT": "EXIT"}, End()),
        ({"STAT": "EXIT", "EXIT_REASON": "TERM_OWNER: job killed by owner"}, End(None, "removed")),
        ({"STAT": "EXIT", "EXIT_CODE": "143", "EXIT_REASON": "TERM_ADMIN: killed by root"}, End(143, "removed")),
        (
            {"STAT": "EXIT", "EXIT_CODE": "140", "EXIT_REASON": "TERM_RUNLIMIT: x"},
            End(140, "ran longer than its walltime"),
        ),
        ({"STAT": "EXIT", "EXIT_CODE": "3", "EXIT_REASON": "TERM_UNKNOWN: x"}, End(3)),
        ({"STAT": "PROV"}, PilotState.PENDING),
        ({"STAT": "WAIT"}, PilotState.PENDING),
        ({"STAT": "PSUSP"}, PilotState.HELD),
        ({"STAT": "USUSP"}, PilotState.SUSPENDED),
        ({"STAT": "ZOMBI"}, PilotState.UNKNOWN),
        ({"STAT": "TELEPORTED"}, PilotState.UNKNOWN),
    ],
)
def test_states_and_ends(values: dict[str, str], state: PilotState | End) -> None:
    assert record(**values).state == state


def test_an_unknown_id_is_a_record_too() -> None:
    paper = {"JOBS": 1, "RECORDS": [{"JOBID": "9", "ERROR": "Job <9> is not found"}]}
    assert LSF.listed(Answer(255, json.dumps(paper))) == []


def test_no_job_is_said_in_words_whatever_the_exit_code() -> None:
    for text in ("No unfinished job found\n", "No job found\n"):
        for rc in (0, 255):
            assert LSF.listed(Answer(rc, "", text)) == TABLES.listed(Answer(rc, "", text)) == []
    assert TABLES.listed(BJOBS["bjobs"]) == []
    assert LSF.listed(Answer(0, '{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}')) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Answer(0), "without a word"),
        (Answer(255, "", "LSF is down. Please wait ...\n"), "LSF is down"),
        (Answer(255, "", "Cannot connect to LSF. Please wait ...\n"), "Cannot connect"),
        (Answer(0, "{"), r"\{"),
        (Answer(0, "[]"), "form that is not known"),
        (Answer(0, '{"JOBS": 1, "RECORDS": [7]}'), "form that is not known"),
        (Answer(0, '{"JOBS": 2, "RECORDS": []}'), "0 records where 2 are announced"),
        (Answer(0, '{"JOBS": 1, "RECORDS": [{"JOBID": "1"}]}'), "form that is not known"),
        (Answer(0, HEAD + "Job 7 RUN\n"), "Job 7 RUN"),
        (Answer(0, HEAD + "7 me RUN\n"), "7 me RUN"),
    ],
)
def test_what_is_no_listing(said: Answer, reason: str) -> None:
    for commands in (LSF, TABLES):
        with pytest.raises(Unbelievable, match=reason if commands is LSF else "bjobs") as caught:
            commands.listed(said)
        assert "\n" not in caught.value.reason


def test_an_old_bjobs_says_what_to_set() -> None:
    with pytest.raises(Unbelievable, match="set tables = yes"):
        LSF.listed(BJOBS["bjobs -o 'jobid stat'"])


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists), st.text())
def test_whatever_is_written_there_is_an_answer_or_none(paper: object, text: str) -> None:
    for written in (json.dumps({"JOBS": 1, "RECORDS": paper}), json.dumps(paper), text, HEAD + text):
        for commands in (LSF, TABLES):
            try:
                commands.listed(Answer(0, written))
            except Unbelievable:
                continue


def test_the_end_is_told_in_full_only() -> None:
    assert TABLES.history(["1", "2"]) == ["bjobs", "-l", "1", "2"]
    assert LSF.history(["1"]) is None
    assert TABLES.told(BJOBS["bjobs -l 205"]) == {"205": End(7)}
    assert TABLES.told(BJOBS["bjobs 999999"]) == {}
    with pytest.raises(Unbelievable, match="LSF is down"):
        TABLES.told(Answer(255, "", "LSF is down. Please wait ..."))


def test_the_stand_in_folds_as_lsf_does() -> None:
    text = BJOBS["bjobs -l 205"].stdout
    for line in re.findall(r"^(?:Job Id <|Sun ).*(?:\n {21}.*)*", text, re.MULTILINE):
        assert fold(line.replace("\n" + " " * 21, "")) == line


@pytest.mark.parametrize(
    ("stat", "text", "end"),
    [
        ("DONE", "Done successfully. The CPU time used is 0.0 seconds.", End(0)),
        ("EXIT", "Exited with exit code 12. The CPU time used is 0.0 seconds.", End(12)),
        ("EXIT", "Exited by signal 9. The CPU time used is 0.0 seconds.", End(-9)),
        ("EXIT", "Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF run time limit.", "walltime"),
        ("EXIT", "Exited; TERM_OWNER: job killed by owner. The CPU time used is 0.0 seconds.", End(None, "removed")),
        ("RUN", "Started on <vm>", None),
    ],
)
def test_ends_in_full(stat: str, text: str, end: End | str | None) -> None:
    head = (
        f"Job Id <7>, Job Name <{TAGS.text()}>, User <me>, Project <default>, Status <{stat}>, Queue <q>, Command <x>"
    )
    block = "\n".join(["", fold(head), fold(f"{RAN}{text}"), ""])
    told = TABLES.told(Answer(0, block + block.replace("Job Id <7>", "Job <8>")))
    if end == "walltime":
        end = End(None, "ran longer than its walltime")
    assert told == ({} if end is None else {"7": end, "8": end})


def test_accepted_and_refused_as_recorded() -> None:
    assert [LSF.submitted(answer) for answer in BSUB.values() if answer.rc == 0] == ["204", "205", "206", "207", "208"]
    with pytest.raises(Refused, match=r"^bsub: nosuch: No such queue. Job not submitted. \(correct batchqueue"):
        LSF.submitted(BSUB["bsub -q nosuch ./pilot.sh"])
    assert LSF.submitted(Answer(0, "Job <81> is submitted to queue <grid>\n")) == "81"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("User cannot use the queue. Job not submitted.", "lsb.queues"),
        ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", "lower walltime"),
        ("Queue has been closed. Job not submitted.", "badmin qopen"),
        ("Request from a non-LSF host rejected. Job not submitted.", "add this host"),
        ("Cannot connect to LSF. Please wait ...", "LSF is down"),
    ],
)
def test_a_refusal_says_what_to_change(text: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        LSF.submitted(Answer(255, "", f"{text}\n"))
    assert remedy in caught.value.reason


@pytest.mark.parametrize(
    "said", [Answer(255, "", "Failed in receiving message. Job not submitted."), Answer(-11), Answer(0, "maybe")]
)
def test_what_may_have_been_accepted(said: Answer) -> None:
    with pytest.raises(Ambiguous):
        LSF.submitted(said)


def job(shape: Shape | None = None, submit: dict[str, str] | None = None, **backend: str) -> NewPilot:
    section = QueueOptions(backend="batch", type="lsf", batchqueue="grid")
    queue = QueueConfig("Q", section, LsfQueueOptions(**backend), RuleOptions(), {}, submit or {})
    order = Order("s1", queue, "here", shape or Shape(), 1, Path("/wrapper"), Path("/logs"))
    return NewPilot(order, Tags("F1", "Q", "s1", "abc.0"), "#!/bin/sh\n")


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_what_a_pilot_asks_for_in_lsfs_units() -> None:
    argv = LSF.submit(job(Shape(8, 16000, 3601), {"app": "pilots", "ptl": ""}, account="atlas", extra_arguments="-G g"))
    assert after(argv, "-n") == "8"
    assert after(argv, "-W") == "61"
    assert after(argv, "-R") == "span[hosts=1] rusage[mem=15259]"
    assert after(argv, "-q") == "grid"
    assert after(argv, "-J") == "APF3:F1:Q:s1:abc.0:::"
    assert after(argv, "-P") == "atlas"
    assert after(argv, "-o") == "/logs/abc.0.out"
    assert argv[-5:] == ["-app", "pilots", "-ptl", "-G", "g"]
    assert "-env" in argv
    plain = TABLES.submit(job())
    assert not {"-W", "-R", "-P", "-env", "-rn"} & set(plain)


@pytest.mark.parametrize("argument", ["-J mine", "-I", "-K"])
def test_arguments_that_would_hide_the_pilots(argument: str) -> None:
    with pytest.raises(Refused, match="would hide the pilots"):
        LSF.submit(job(extra_arguments=argument))
    options = QueueOptions(backend="batch", type="lsf")
    factory = FactoryOptions(id="F", pilot_log_dir=Path("/proc/x"))
    found = Lsf.check(options, LsfQueueOptions(extra_arguments=argument), factory, {})
    assert any(text.startswith("extra_arguments: ") for text in found)


def test_bkill() -> None:
    assert LSF.remove(["1", "2"]) == ["bkill", "1", "2"]
    for name in ("bkill 207", "bkill 999999"):
        assert LSF.removed(BJOBS[name], ["1"]) == 1
    assert LSF.removed(Answer(0, "Job <207> is being terminated\n"), ["1"]) == 1
    failures: list[tuple[Any, ...]] = [(255, "", "Job <7>: User permission denied\n"), (255,)]
    for said in failures:
        with pytest.raises(Unbelievable):
            LSF.removed(Answer(*said), ["7"])


def test_the_options_of_a_section() -> None:
    assert LsfOptions().tables is False
    assert LsfOptions().interval == 30.0
