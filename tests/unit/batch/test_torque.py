"""Torque's own: what qsub is told, and what qstat and qdel say."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch import Order
from autopyfactory.batch.commands_words import Answer, End, NewPilot, Seen, Tags, Unbelievable
from autopyfactory.batch.torque import Torque, TorqueCommands, TorqueQueueOptions
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from tests.testbed.standin.torque import fold
from tests.unit.batch.transcripts import answers

TORQUE = TorqueCommands()
QSUB = answers("torque-qsub.txt")
QSTAT = answers("torque-qstat.txt")
FULL = answers("torque-qstat-f.txt")
TAGS = Tags("F-1", "Q_1", "20261122T190000-abcdef012345", "mws8dguc.0", "host.example.org", "ce=1,x", "8c-16000m")

OVER_SLURM = """\
Job Id:\t7
\tJob_Name = apf-Q
\tJob_Owner = pilot@vm
\tjob_state = {state}
\tqueue = grid
\tqtime = Sun Nov 22 19:30:00 2026
\tmtime = Sun Nov 22 19:30:01 2026
\texec_host = vm/0
\tPriority = 4294901759
\teuser = pilot(1001)
\tegroup = pilot(1001)
\tResource_List.walltime = 00:10:00
\tResource_List.nodect = 1
\tResource_List.ncpus = 1

"""


def listed(text: str) -> list[Seen]:
    return TORQUE.listed(Answer(0, text))


def block(**values: str) -> str:
    """Return a job as Torque writes it."""
    pairs = {"Job_Owner": "me@here", "job_state": "R", "server": "localhost", "start_time": "x"} | values
    return "Job Id: 1.localhost\n" + "".join(fold(key, value) for key, value in pairs.items() if value) + "\n"


def test_recorded_jobs() -> None:
    text = "".join(answer.stdout for answer in FULL.values())
    assert listed(text) == [
        Seen("8.localhost", None, PilotState.FINISHING, "E", "batchuser", "vm"),
        Seen("9.localhost", None, PilotState.RUNNING, "R", "batchuser", "vm"),
        Seen("10.localhost", None, End(-15, "removed"), "C", "batchuser", "vm"),
    ]


def test_the_stand_in_folds_as_torque_does() -> None:
    for answer in FULL.values():
        plain = answer.stdout.replace("\n\t", "")
        pairs = re.findall(r"^    (\S+) = (.*)$", plain, re.MULTILINE)
        head = plain.partition("\n")[0]
        assert "".join([f"{head}\n", *(fold(*pair) for pair in pairs), "\n"]) == answer.stdout


@given(st.integers(0, 90), st.sampled_from(["", "A=" + "x" * 300, "-q,=,"]))
def test_tags_are_found_wherever_they_are_folded(before: int, other: str) -> None:
    variables = f"PBS_O_HOME=/{'h' * before},{other},APF_TAGS={TAGS.text()},Z=1"
    [seen] = listed(block(Variable_List=variables))
    assert seen == Seen("1.localhost", TAGS, PilotState.RUNNING, "R", "me")


def test_the_form_of_slurms_wrappers() -> None:
    words: dict[str, PilotState | End] = {"Q": PilotState.PENDING, "R": PilotState.RUNNING, "C": End()}
    for word, state in {**words, "U": PilotState.UNKNOWN}.items():
        text = OVER_SLURM.format(state=word)
        assert listed(text + text.replace("\t7", "\t8")) == [
            Seen("7", None, state, word, "pilot", "vm"),
            Seen("8", None, state, word, "pilot", "vm"),
        ]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"job_state": "C", "exit_status": "0"}, End(0)),
        ({"job_state": "C", "exit_status": "7"}, End(7)),
        ({"job_state": "C", "exit_status": "265"}, End(-9)),
        ({"job_state": "C", "exit_status": "271"}, End(-15, "removed")),
        ({"job_state": "C", "exit_status": "-10"}, End(None, "exceeded its walltime or memory")),
        ({"job_state": "C", "exit_status": "-3"}, End(None, "Torque could not start it, and tries again")),
        ({"job_state": "C", "exit_status": "-99"}, End(None, "Torque ended it, exit_status -99")),
        ({"job_state": "C", "start_time": ""}, End(None, "removed before it started")),
        ({"job_state": "C"}, End()),
        ({"job_state": "F", "Exit_status": "3"}, End(3)),
        ({"job_state": "E", "exit_status": "7"}, PilotState.FINISHING),
        ({"job_state": "H"}, PilotState.HELD),
        ({"job_state": "W"}, PilotState.PENDING),
        ({"job_state": "T"}, PilotState.PENDING),
        ({"job_state": "S"}, PilotState.SUSPENDED),
        ({"job_state": "?"}, PilotState.UNKNOWN),
    ],
)
def test_states_and_ends(values: dict[str, str], state: PilotState | End) -> None:
    assert listed(block(**values))[0].state == state


def test_what_is_no_listing() -> None:
    down = "qstat: cannot connect to server localhost (errno=111) Connection refused\n"
    for said, reason in [
        (Answer(255, "", down), "cannot connect"),
        (Answer(0, "", down), "cannot connect"),
        (Answer(255), "without a word"),
        (Answer(0, "something else"), "something else"),
        (Answer(-9, block()), "job_state = R"),
        (Answer(0, block() + "Job Id: 2.localhost\n    Job_Name = a\n"), "cut short at job 2.localhost"),
        (QSTAT["qstat"], "pilot_stdin"),
    ]:
        with pytest.raises(Unbelievable, match=reason):
            TORQUE.listed(said)
    assert TORQUE.listed(Answer(0)) == []


def test_values_of_others_may_hold_line_ends() -> None:
    evil = "A=() {\n    echo\n},B=1"
    text = "Job Id: 1.x\n    Variable_List = " + evil + "\n    job_state = Q\n\n" + block()
    assert [one.state for one in listed(text)] == [PilotState.PENDING, PilotState.RUNNING]


@given(st.text(st.sampled_from("\n\t =,CRabJob Id:01.APF3_TAGSstate"), max_size=200))
def test_whatever_is_written_there_is_an_answer_or_none(text: str) -> None:
    try:
        listed(text)
    except Unbelievable as error:
        assert "\n" not in error.reason


def test_accepted_and_refused_as_recorded() -> None:
    ids = [TORQUE.submitted(answer) for answer in QSUB.values() if answer.rc == 0]
    assert ids == [f"{number}.localhost" for number in (7, 8, 9, 10, 11, 12, 14)]
    with pytest.raises(Refused, match=r"^qsub: Unknown queue MSG=cannot locate queue \(correct batchqueue, 'qstat -q'"):
        TORQUE.submitted(QSUB["qsub -q nosuch pilot.sh"])
    with pytest.raises(Refused, match=r"^qsub: script file 'nofile.sh' cannot be loaded - No such file or directory$"):
        TORQUE.submitted(QSUB["qsub nofile.sh"])
    with pytest.raises(Refused, match="Server shutting down"):
        TORQUE.submitted(answers("torque-shutting-down.txt")["qsub -q grid pilot.sh"])
    assert TORQUE.submitted(Answer(0, "12\n")) == "12"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("Bad UID for job execution MSG=root user root not allowed", "submit_hosts += HOST"),
        ("submit error (Bad UID for job execution MSG=ruserok failed validating a/a from b)", "submit_hosts += HOST"),
        ("Unauthorized Request  MSG=user not allowed", "acl_users"),
        ("Queue is not enabled MSG=queue is disabled", "qenable"),
        ("Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement", "lower walltime"),
        ("Maximum number of jobs already in queue", "max_queuable"),
        ("cannot connect to server here (errno=111) Connection refused", "pbs_server is down"),
    ],
)
def test_a_refusal_says_what_to_change(text: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        TORQUE.submitted(Answer(1, "", f"qsub: {text}\n"))
    assert remedy in caught.value.reason
    assert caught.value.reason.count("qsub:") == 1


def test_slurms_wrappers_complain_on_stdout() -> None:
    text = (
        "There was an error running the Slurm sbatch command.\nThe command was:\n'sbatch x'\nand the output was:\nno\n"
    )
    with pytest.raises(Refused, match="and the output was:; no"):
        TORQUE.submitted(Answer(1, text))


@pytest.mark.parametrize(
    "said", [Answer(1, "", "qsub: End of File"), Answer(-11), Answer(0, "maybe"), Answer(0, "qsub: waiting for job 7")]
)
def test_what_may_have_been_accepted(said: Answer) -> None:
    with pytest.raises(Ambiguous):
        TORQUE.submitted(said)


def job(shape: Shape | None = None, submit: dict[str, str] | None = None, **backend: str) -> NewPilot:
    section = QueueOptions(backend="batch", type="torque", batchqueue="atlas")
    name = "ANALY_MANCHESTER_GLASGOW"
    queue = QueueConfig(name, section, TorqueQueueOptions(**backend), RuleOptions(), {}, submit or {})
    order = Order("s1", queue, "here", shape or Shape(), 1, Path("/wrapper"), Path("/logs"))
    return NewPilot(order, Tags("F1", name, "s1", "abc.0"), "#!/bin/sh\n", Path("/tmp/apf.sh"))


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_what_a_pilot_asks_for_in_torques_units() -> None:
    argv = TORQUE.submit(job(Shape(8, 16000, 172801), account="atlas", extra_arguments="-p '10' -V"))
    assert argv[0] == "qsub"
    assert after(argv, "-l") == "nodes=1:ppn=8,walltime=48:00:01,mem=15259mb"
    assert after(argv, "-q") == "atlas"
    assert after(argv, "-N") == "apf-ANALY_MANCH"
    assert after(argv, "-o") == "/logs/abc.0.out"
    assert after(argv, "-e") == "/logs/abc.0.err"
    assert after(argv, "-v") == "APF_TAGS=APF3:F1:ANALY_MANCHESTER_GLASGOW:s1:abc.0:::"
    assert argv[-6:] == ["-A", "atlas", "-p", "10", "-V", "/tmp/apf.sh"]
    assert after(TORQUE.submit(job()), "-l") == "nodes=1:ppn=1"


def test_resources_of_the_queue_come_over_ours() -> None:
    argv = TORQUE.submit(job(Shape(4), {"nodes": "1:ppn=4:sl7", "file": "10gb"}))
    assert after(argv, "-l") == "nodes=1:ppn=4:sl7,file=10gb"


@pytest.mark.parametrize("argument", ["-v A=1", "-vA=1", "-t 0-3", "-J 1-3", "-I", "-z"])
def test_arguments_that_would_hide_the_pilots(argument: str) -> None:
    with pytest.raises(Refused, match="would hide the pilots"):
        TORQUE.submit(job(extra_arguments=argument))
    options = QueueOptions(backend="batch", type="torque")
    factory = FactoryOptions(id="F", pilot_log_dir=Path("/proc/x"))
    found = Torque.check(options, TorqueQueueOptions(extra_arguments=argument), factory, {})
    assert any(text.startswith("extra_arguments: ") for text in found)


def test_qdel() -> None:
    assert TORQUE.remove(["1.x", "2.x"]) == ["qdel", "1.x", "2.x"]
    for name in ("qdel 10.localhost", "qdel 8.localhost", "qdel 999999"):
        assert TORQUE.removed(QSTAT[name], ["1"]) == 1
    answers: list[tuple[Any, ...]] = [(255, "", "qdel: cannot connect to server x (errno=111)\n"), (1,)]
    for said in answers:
        with pytest.raises(Unbelievable):
            TORQUE.removed(Answer(*said), ["1"])


def test_there_is_no_history() -> None:
    assert TORQUE.history(["1"]) is None
    assert TORQUE.told(Answer(0)) == {}
