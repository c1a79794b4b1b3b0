"""`autopyfactory why` at the command line: a daemon that is down, files that are broken, commands of others."""

import fcntl
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autopyfactory.claims import holder
from autopyfactory.cli import main
from autopyfactory.clock import Clock
from autopyfactory.model import PilotCounts
from autopyfactory.operate import Operator, OperatorState
from autopyfactory.record import FILE
from autopyfactory.report import Blocked, CycleReport, Decision, Input, Step
from tests.unit.record.test_book import write

CONF = """
[factory]
id = F1
state_dir = {folder}
pilot_log_dir = {folder}
record_keep = {keep}
[schedd ap1]
name = ap1.example.org
collector = cm.example.org:9618
[wms panda]
plugin = panda
url = http://panda.example.org:25085
http_proxy = http://squid.example.org:3128
"""
QUEUES = """
[BNL_PROD]
backend = condor
type = vanilla
source = ap1
wms = panda
wmsqueue = BNL
executable = /bin/true
[CAM]
backend = batch
type = slurm
wms = panda
wmsqueue = CAM
enabled = no
[LOCAL]
backend = fork
rules = fixed
fixed = 1
allow_same_user = yes
executable = /bin/true
[WRONG]
backend = frok
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "queues.conf").write_text(QUEUES)
    path = tmp_path / "apf.conf"
    path.write_text(CONF.format(folder=tmp_path, keep="30d"))
    return path


def say(conf: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["why", "--conf", str(conf), *words])


def told(conf: Path, *reports: CycleReport) -> None:
    write(conf.parent / FILE, reports)


def offline(at: float, queue: str = "BNL_PROD") -> CycleReport:
    steps = (Step("ready", 0, 40, "40 activated, 0 waiting"), Step("status_offline", 40, 0, "the site is offline"))
    return CycleReport(
        queue, at, Decision(0, steps), pilots=PilotCounts(running=3), activated=40, wmsqueue="BNL", interval=60.0,
        inputs=(Input("pilots", "schedd ap1", 12.0),),
    )  # fmt: skip


@pytest.mark.parametrize("when", [[], ["--at", "now"]])
def test_the_cause_and_all_that_follows(conf: Path, when: list[str]) -> None:
    now = Clock().now()
    told(conf, offline(now - 120), offline(now - 60), offline(now))
    with (conf.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = say(conf, "BNL_PROD", *when)
    lines = result.output.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[0].endswith("BNL_PROD submits nothing: the site is offline in the WMS")
    assert lines[1].startswith("  so since ")
    assert "  pilots  pending=0 running=3 held=0 in_flight=3 (12 s old, from schedd ap1)" in lines
    assert "  status_offline    40 -> 0     the site is offline" in lines
    shown = lines[lines.index("the same by hand:") + 1 :]
    assert shown[0] == (
        "  curl -sS -i -x http://squid.example.org:3128 -H 'Accept: application/json'"
        " http://panda.example.org:25085/api/v1/statistics/active_job_detailed_stats_by_site"
    )
    assert shown[2] == (
        "  condor_q -allusers -pool cm.example.org:9618 -name ap1.example.org -constraint"
        ' \'APF_FACTORY =?= "F1" && APF_QUEUE =?= "BNL_PROD"\''
        " -af:jh JobStatus APF_ENDPOINT GridJobStatus HoldReason"
    )


def test_the_daemon_does_not_run(conf: Path) -> None:
    now = Clock().now()
    told(conf, offline(now - 60))
    (conf.parent / "lock").touch()
    lines = say(conf, "BNL_PROD").output.splitlines()
    assert lines[0].startswith("BNL_PROD submits nothing: the factory is not running: last cycle ")
    assert "the site is offline" in lines[1]


def test_a_queue_that_is_not_served(conf: Path) -> None:
    where = f"{conf.parent}/queues.conf:14"
    assert say(conf, "CAM").output.startswith(f"CAM submits nothing: the queue is disabled, enabled = no at {where}\n")
    assert "its section has mistakes" in say(conf, "WRONG").output.splitlines()[0]
    assert "did you mean 'frok'" not in say(conf, "WRONG").output


def test_a_pause_while_there_is_no_record(conf: Path) -> None:
    Operator(conf.parent).set("LOCAL", OperatorState("pause", "ada", 0.0, "moving"))
    with (conf.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = say(conf, "LOCAL")
        conf.write_text(CONF.format(folder=conf.parent, keep="0"))
        off = say(conf, "BNL_PROD")
    assert "there is no decision record" in result.output.splitlines()[0]
    assert "record_keep = 0" in off.output.splitlines()[0]


def test_a_configuration_that_cannot_be_used(conf: Path) -> None:
    told(conf, CycleReport("BNL_PROD", Clock().now(), blocked=Blocked("a", cause="bug"), interval=60.0))
    conf.write_text(conf.read_text().replace("id = F1", "id = F 1"))
    lines = say(conf, "BNL_PROD").output.splitlines()
    assert lines[0].startswith("BNL_PROD submits nothing: the factory is not running: last cycle ")
    assert lines[1] == "  the configuration cannot be used now, 'autopyfactory check' tells why"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BNL_PORD"], "there is no queue 'BNL_PORD', did you mean 'BNL_PROD'?"),
        (["LOCAL", "--at", "noon"], "'noon' is no time, write for example 10:30"),
        (["LOCAL", "--at", "2999-01-01"], "2999-01-01 has not been yet"),
    ],
)
def test_refusals(conf: Path, words: list[str], said: str) -> None:
    result = say(conf, *words)
    assert result.exit_code == 2
    assert said in result.output


def test_who_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    with path.open("w") as lock:
        assert holder(path) is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert holder(path)
    assert holder(path) is None


def test_a_queue_of_which_nobody_can_tell(conf: Path) -> None:
    conf.write_text(conf.read_text().replace("plugin = panda", "plugin = pandda"))
    done = say(conf, "CAM")
    assert done.exit_code == 1
    assert "nothing is recorded of 'CAM', and the configuration cannot be used: 'autopyfactory check'" in done.output


def test_before_the_record_begins_nobody_knows(conf: Path) -> None:
    told(conf, offline(Clock().now() - 5.0))
    [line, *_] = say(conf, "BNL_PROD", "--at", "2020-01-01T10:00").output.splitlines()
    assert line.startswith("2020-01-01 10:00: nobody knows of BNL_PROD: nothing is recorded of it then")
