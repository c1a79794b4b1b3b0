"""Grid Engine's own: what qsub is told, and what qstat, qacct, its accounting file and qdel say."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch import Context, Order
from autopyfactory.batch.commands_words import Answer, End, NewPilot, Seen, Tags, Unbelievable
from autopyfactory.batch.sge import Sge, SgeCommands, SgeOptions, SgeQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, Refused
from autopyfactory.model import PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from tests.unit.batch.transcripts import DATA, answers

SGE = SgeCommands()
FILE = SgeCommands(Path("/acc"))
QSUB = answers("sge-qsub.txt")
QSTAT = answers("sge-qstat.txt")
QDEL = answers("sge-qdel.txt")
QACCT = answers("sge-qacct.txt")
STATES = answers("sge-states.txt")["qstat -u * -s a -xml"]
LINES = (DATA / "sge-accounting.txt").read_text()
WALLTIME, REMOVED = "ran longer than its walltime", "removed, or killed on its node"
ERROR = "Eqw ('qstat -j ID' tells the error)"
FACTORY = FactoryOptions(id="F", pilot_log_dir=Path("/proc/x"))


def tags(number: int) -> Tags:
    submission = "20261122T190000-abcdef012345"
    return Tags("F-1", "Q_1", submission, f"mws8dguc.{number}", "host.example.org", "ce=1,x", "8c-16000m")


def listing(*jobs: str) -> Answer:
    text = "".join(f"<job_list state='x'>{job}</job_list>" for job in jobs)
    return Answer(0, f"<?xml version='1.0'?>\n<job_info><queue_info/><job_info>{text}</job_info></job_info>\n")


def test_recorded_states_with_tags_in_the_names() -> None:
    assert SGE.listed(STATES) == [
        Seen("55", tags(4), PilotState.SUSPENDED, "s", "apftest"),
        Seen("57", tags(6), PilotState.FINISHING, "dr", "apftest"),
        Seen("58", tags(7), PilotState.RUNNING, "r", "apftest"),
        Seen("54", tags(3), PilotState.HELD, ERROR, "apftest"),
        Seen("59", tags(8), PilotState.PENDING, "Rq", "apftest"),
        Seen("56", tags(5), PilotState.HELD, "hqw", "apftest"),
        Seen("60", None, PilotState.HELD, "hqw", "apftest"),
    ]
    assert [seen.state for seen in SGE.listed(QSTAT["qstat -xml -u '*'"])] == ["running", "running", "held"]


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("qw w Rq Rqw", PilotState.PENDING),
        ("r Rr hr t Rt", PilotState.RUNNING),
        ("s S T ts tS tT Rs RtS", PilotState.SUSPENDED),
        ("hqw hRwq hRq Eqw Ehqw EhRqw", PilotState.HELD),
        ("dr dt dRr ds dT", PilotState.FINISHING),
        ("z Z qx ?", PilotState.UNKNOWN),
    ],
)
def test_states(words: str, state: PilotState) -> None:
    for word in words.split():
        [seen] = SGE.listed(listing(f"<JB_job_number>1</JB_job_number><JB_name>x</JB_name><state>{word}</state>"))
        assert seen.state == state
    [nothing] = SGE.listed(listing("<JB_job_number>1</JB_job_number><state/>"))
    assert nothing.state == PilotState.UNKNOWN


def test_no_job_at_all_is_an_answer() -> None:
    assert SGE.listed(listing()) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (QSTAT["qstat"], "^qstat: error: commlib error: got select error"),
        (Answer(0, "", QSTAT["qstat"].stderr), "commlib error"),
        (Answer(1, STATES.stdout, "error: failed receiving gdi request"), "failed receiving"),
        (Answer(0, STATES.stdout[:-20]), "^qstat: "),
        (Answer(0), "without a word"),
        (Answer(0, "<job_info/>"), "job_info"),
        (Answer(0, "denied: host is neither submit nor admin host"), "denied"),
        (listing("<state>r</state>"), "form that is not known here"),
        (Answer(-9, STATES.stdout), "^qstat: "),
    ],
)
def test_what_is_no_listing(said: Answer, reason: str) -> None:
    with pytest.raises(Unbelievable, match=reason) as caught:
        SGE.listed(said)
    assert "\n" not in caught.value.reason


def test_names_of_others_may_hold_anything() -> None:
    job = "<JB_job_number>1</JB_job_number><JB_name>a%lt;\x01\x1b\ufffd&amp;</JB_name><state>r</state>"
    assert SGE.listed(listing(job)) == [Seen("1", None, PilotState.RUNNING, "r")]


@given(st.text(st.sampled_from("<>/&job_infqueu =stJBnmr01APF3+:'\x00\n"), max_size=100))
def test_whatever_is_written_there_is_an_answer_or_none(text: str) -> None:
    for said in (Answer(0, text), listing(text), listing(f"<JB_job_number>1</JB_job_number>{text}")):
        try:
            SGE.listed(said)
        except Unbelievable as error:
            assert "\n" not in error.reason
    for commands in (SGE, FILE):
        for written in (text, f"====\n{text}", LINES + text):
            try:
                commands.told(Answer(0, written))
            except Unbelievable:
                continue


def test_5000_pilots_are_read_in_well_under_a_second() -> None:
    one = STATES.stdout[STATES.stdout.index("    <job_list") :].split("</job_list>", 1)[0]
    head = "<?xml version='1.0'?><job_info><queue_info>"
    text = f"{head}{f'{one}</job_list>' * 5000}</queue_info><job_info></job_info></job_info>"
    began = time.process_time()
    seen = SGE.listed(Answer(0, text))
    assert time.process_time() - began < 0.8
    assert len(seen) == 5000
    assert {each.tags for each in seen} == {tags(4)}


def told(number: int) -> dict[str, End]:
    return SGE.told(QACCT[f"qacct -j {number}"])


def test_recorded_ends() -> None:
    assert told(51) == {"51": End(7)}
    assert told(52) == {"52": End(-9, REMOVED)}
    assert told(53) == {"53": End(-9, WALLTIME)}
    assert told(54) == {"54": End(None, "its output file could not be opened")}
    assert told(57) == {"57": End(-9, REMOVED)}
    # Removed before it started: no record is ever made.
    assert told(56) == {}


def test_the_same_ends_in_the_accounting_file() -> None:
    assert FILE.told(Answer(0, LINES)) == {
        "1": End(-9, REMOVED),
        "2": End(1),
        **{id_: end for number in (51, 52, 53, 54, 57) for id_, end in told(number).items()},
        "59": End(99, "Grid Engine had put it back into the queue"),
    }
    assert FILE.told(Answer(1)) == {}


@pytest.mark.parametrize(
    ("failed", "status", "ran", "category", "end"),
    [
        (0, 137, 5, "-q x -l h_rt=4", End(137)),
        (0, 0, 5, "", End(0)),
        (100, 138, 3, "-l s_rt=2", End(-10)),
        (100, 137, 300, "-l h_vmem=1G,h_rt=300 -pe smp 2", End(-9, WALLTIME)),
        (100, 137, 300, "-l h_rt=10:00:00", End(-9, REMOVED)),
        (37, 137, 10, "-l h_rt=300", End(-9, "exceeded its walltime, CPU time or memory")),
        (30, 100, 10, "", End(100, "its exit code is an error to Grid Engine")),
        (18, 0, 0, "", End(None, "Grid Engine could not run it, failed 18")),
    ],
)
def test_ends(failed: int, status: int, ran: int, category: str, end: End) -> None:
    name = tags(0).text().replace(":", "+")
    first = f"q:vm:g:me:{name}:7:sge:0:1:0:0:26:0:0:rest\n"
    line = f"q:vm:g:me:{name}:7:sge:0:1:2:3:{failed}:{status}:{ran}:0.1:{category}:0\n"
    assert FILE.told(Answer(0, f"{first}{line}{line[:60]}")) == {"7": end}
    pairs = {"jobname": name, "jobnumber": 7, "failed": f"{failed} : x", "exit_status": f"{status}  (x)"}
    pairs |= {"ru_wallclock": f"{ran}s", "category": category}
    block = "====\n" + "".join(f"{key:12} {value}\n" for key, value in pairs.items())
    assert SGE.told(Answer(0, block)) == {"7": end}


def test_a_record_of_another_job_of_the_same_number_is_no_end() -> None:
    said = QACCT["qacct -j 51"]
    assert SGE.told(Answer(0, said.stdout.replace("APF3+", "other+"))) == {}


def test_what_is_no_history() -> None:
    for said, reason in [
        (Answer(1, "no jobs running since startup\n", "/acc: No such file or directory"), "No such file"),
        (Answer(2, "", "grep: /acc: Permission denied"), "Permission denied"),
        (Answer(0, "what is this"), "form that is not known"),
    ]:
        for commands in (SGE, FILE):
            with pytest.raises(Unbelievable, match=reason):
                commands.told(said)


def test_the_question_for_ends() -> None:
    assert SGE.history(["7"]) == ["qacct", "-j", "7"]
    assert FILE.history(["7", "8"]) == ["grep", "-E", "^[^:]*:[^:]*:[^:]*:[^:]*:APF3[^:]*:(7|8):", "/acc"]


def test_qacct_is_asked_for_one_pilot_at_a_time(tmp_path: Path) -> None:
    factory = FactoryOptions(id="F-1", host="h", state_dir=tmp_path)
    asked: list[list[str]] = []

    class Run:
        shown = STATES

        def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
            words = [Path(argv[0]).name, *argv[1:]]
            asked.append(words)
            return self.shown if words[0] == "qstat" else QACCT.get(" ".join(words), Answer(1))

        def close(self) -> None:
            return

    run = Run()
    sge = Sge("local", SgeOptions(), Context(factory, Clock()), run=run)
    assert sum(group.count for group in sge.poll().groups) == 6
    run.shown = listing()
    asked.clear()
    ends = {end.cid: (end.exit_code, end.fault) for end in sge.poll().ended}
    assert asked[1:] == [["qacct", "-j", number] for number in ["55", "57", "58", "54", "59", "56"]]
    assert ends == {"mws8dguc.6": (-9, REMOVED), "mws8dguc.3": (None, "its output file could not be opened")}
    assert {(end.exit_code, end.fault) for end in sge.poll().ended} == {(None, "")}


def test_accepted_and_refused_as_recorded() -> None:
    *recorded, warned = [answer for answer in QSUB.values() if "submitted" in answer.stderr or answer.rc == 0]
    assert [SGE.submitted(answer) for answer in recorded] == ["7", "8", "9", "10", "11"]
    # The exit code is 1 and the first words are "Unable to run job".
    assert SGE.submitted(warned) == "34"
    text = r"^qsub: Job was rejected because job requests unknown queue \"nosuch.q\" \(correct batchqueue, 'qconf -sql'"
    with pytest.raises(Refused, match=text):
        SGE.submitted(QSUB["qsub -q nosuch.q pilot.sh"])


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('denied: host "vm" is not a submit host', "qconf -as HOST"),
        ('denied: host "vm" is no submit host', "qconf -as HOST"),
        ('denied: host "vm" is neither submit nor admin host', "qconf -as HOST"),
        ('job rejected: the requested parallel environment "nope" does not exist', "correct parallel_environment"),
        ('job rejected: the requested project "nope" does not exist', "correct account"),
        ("job rejected: no project assigned to job", "set account"),
        ("job rejected: only 1 jobs are allowed per user (current job count: 1)", "max_u_jobs"),
        ("job rejected: only 1 jobs are allowed per cluster", "max_jobs"),
        ("job rejected: apftest@vm is not allowed to submit jobs", "xuser_lists"),
        ("job rejected: your user id 1001 is lower than minimum user id 2000 of cluster configuration", "min_uid"),
        ('unknown resource "nosuch"', "qconf -sc"),
        ("error: no suitable queues", "so many cores"),
        ('unable to send message to qmaster using port 6444 on host "vm": got send error', "sge_qmaster is down"),
    ],
)
def test_a_refusal_says_what_to_change(text: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        SGE.submitted(Answer(1, "", f"Unable to run job: {text}\nExiting.\n"))
    assert remedy in caught.value.reason
    assert caught.value.reason.startswith(f"qsub: {text} (")


@pytest.mark.parametrize(
    "said",
    [
        Answer(1, "", "Unable to run job: Error reading answer list from qmaster\nExiting.\n"),
        Answer(1, "", "error: failed receiving gdi request response for mid=1 (got syncron message receive timeout)."),
        Answer(-11),
        Answer(0, "maybe"),
    ],
)
def test_what_may_have_been_accepted(said: Answer) -> None:
    with pytest.raises(Ambiguous):
        SGE.submitted(said)


def job(shape: Shape | None = None, submit: dict[str, str] | None = None, **backend: str) -> NewPilot:
    section = QueueOptions(backend="batch", type="sge", batchqueue="grid.q")
    queue = QueueConfig("Q", section, SgeQueueOptions(**backend), RuleOptions(), {}, submit or {})
    order = Order("s1", queue, "here", shape or Shape(), 1, Path("/wrapper"), Path("/logs"))
    return NewPilot(order, Tags("F1", "Q", "s1", "abc.0"), "#!/bin/sh\n")


def after(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_what_a_pilot_asks_for_in_grid_engines_units() -> None:
    extra = "-p '-10' -R y"
    one = job(Shape(8, 15999, 172801), account="atlas", extra_arguments=extra, parallel_environment="smp")
    argv = SGE.submit(one)
    assert argv[argv.index("-pe") : argv.index("-pe") + 3] == ["-pe", "smp", "8"]
    assert after(argv, "-l") == "h_rt=172801,h_vmem=2000m"
    assert after(argv, "-N") == "APF3+F1+Q+s1+abc.0+++"
    assert after(argv, "-q") == "grid.q"
    assert after(argv, "-o") == "/logs/abc.0.out"
    assert after(argv, "-e") == "/logs/abc.0.err"
    assert after(argv, "-P") == "atlas"
    assert argv[-4:] == ["-p", "-10", "-R", "y"]
    plain = SGE.submit(job(parallel_environment="smp"))
    assert not {"-pe", "-l", "-P"} & set(plain)


def test_resources_of_the_queue_come_over_ours() -> None:
    argv = SGE.submit(job(Shape(1, 2000, 60), {"h_rt": "0:2:0", "os": "el9"}, memory_resource="mem_free"))
    assert after(argv, "-l") == "h_rt=0:2:0,mem_free=2000m,os=el9"
    assert after(SGE.submit(job(Shape(1, 2000, 60), memory_resource="")), "-l") == "h_rt=60"


def check(backend: SgeQueueOptions, folder: str = "/proc/x", **options: int) -> list[str]:
    queue = QueueOptions(backend="batch", type="sge", **options)
    found = Sge.check(queue, backend, FACTORY.model_copy(update={"pilot_log_dir": Path(folder)}), {})
    return [text for text in found if not text.startswith("warning: ")]


def test_several_cores_need_a_parallel_environment() -> None:
    [text] = check(SgeQueueOptions(), cores=8)
    assert text == "parallel_environment: 8 cores need one, 'qconf -spl' shows those there are"
    assert check(SgeQueueOptions(parallel_environment="smp"), cores=8) == check(SgeQueueOptions()) == []
    with pytest.raises(Refused, match="8 cores need one"):
        SGE.submit(job(Shape(8)))


def test_a_folder_that_grid_engine_reads_otherwise() -> None:
    assert "name another folder" in check(SgeQueueOptions(), "/logs:old")[0]


@pytest.mark.parametrize("argument", ["-N mine", "-t 1-3", "-sync y", "-verify", "-clear", "-b y"])
def test_arguments_that_would_hide_the_pilots(argument: str) -> None:
    with pytest.raises(Refused, match="would hide the pilots"):
        SGE.submit(job(extra_arguments=argument))
    assert check(SgeQueueOptions(extra_arguments=argument))[0].startswith("extra_arguments: ")


def test_qdel() -> None:
    assert SGE.remove(["1", "2"]) == ["qdel", "1", "2"]
    for answer in QDEL.values():
        assert SGE.removed(answer, ["57"]) == 1
    assert SGE.removed(QSTAT["qdel 10"], ["10"]) == 1
    rights = 'nobody - you do not have the necessary privileges to delete the job "48"\n'
    for said in (Answer(1, rights), Answer(1, "", "error: commlib error: got select error"), Answer(0)):
        with pytest.raises(Unbelievable, match=r"^qdel: "):
            SGE.removed(said, ["48"])
