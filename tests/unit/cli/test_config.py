from pathlib import Path

import pytest

from autopyfactory.config.loader import load
from tests.unit.cli.test_check import MAIN, QUEUE, run

FULL = """\
[factory]
id = test
[wms counts]
plugin = static
jobs = Q:5
[schedd ap1]
max_submit_rate = 100/m
[monitor m]
plugin = apfmon
url = http://user:hunter2@apf.example.org/api
"""
ARGUMENTS = "5%% --pass word --api-token hunter2 --password=hunter2 http://hunter2@x/"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "autopyfactory.conf"
    path.write_text(MAIN)
    (tmp_path / "queues.conf").write_text(
        f"[DEFAULT]\nmax_pending = 100\n[Q]\n{QUEUE}memory = 16GB\n"
        f"arguments = {ARGUMENTS}\n"
        "env.API_TOKEN = hunter2\nenv.PROXY = http://u:hunter2@squid:3128\nenv.X = 1\nsubmit.+Project = \"atlas\"\n"
        f"[OFF]\nenabled = no\n{QUEUE}[OUT]\ncores = 0\n[OFF_AND_WRONG]\nenabled = no\n"
    )  # fmt: skip
    return path


def settings(text: str) -> dict[str, str]:
    """Return what is printed as `option = value`, with the place of each."""
    lines = [line for line in text.splitlines() if " ; " in line]
    return {line.split(" ; ")[0].strip(): line.split(" ; ")[1] for line in lines}


def test_every_value_with_its_line(conf: Path) -> None:
    result = run("config", "--conf", str(conf))
    assert result.exit_code == 0
    printed = settings(result.stdout)
    queues = conf.parent / "queues.conf"
    assert printed["id = test"] == f"{conf}:2"
    assert printed["plugin = panda"] == "default"
    assert printed["max_pending = 100"] == f"{queues}:2"
    assert printed["memory = 16GB"] == f"{queues}:8"
    assert printed["arguments = 5%% --pass word --api-token *** --password=*** http://***@x/"] == f"{queues}:9"
    assert printed['submit.+Project = "atlas"'] == f"{queues}:13"
    assert printed["max_pilots = 1000"] == "default"
    assert printed["walltime = none"] == "default"
    assert [line for line in result.stdout.splitlines() if line.startswith("[")] == [
        "[factory]",
        "[schedd local]",
        "[wms panda]",
        "[Q]",
    ]
    assert "left out: OUT; 'autopyfactory check' says why" in result.stderr


def test_secrets_are_masked(conf: Path) -> None:
    text = run("config", "--conf", str(conf), "Q").output
    assert "hunter2" not in text
    assert "env.API_TOKEN = ********" in text
    assert "env.PROXY = http://***@squid:3128" in text


@pytest.mark.parametrize(("queue", "head"), [("Q", "[Q]"), ("OFF", "[OFF]")])
def test_one_queue(conf: Path, queue: str, head: str) -> None:
    result = run("config", "--conf", str(conf), queue)
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("[")] == [head]


@pytest.mark.parametrize(
    ("queue", "what"),
    [
        ("q", "there is no queue 'q', did you mean 'Q'?"),
        ("OUT", "the section [OUT] has mistakes, 'autopyfactory check' tells them"),
        ("OFF_AND_WRONG", "has mistakes"),
    ],
)
def test_a_queue_that_cannot_be_shown(conf: Path, queue: str, what: str) -> None:
    result = run("config", "--conf", str(conf), queue)
    assert result.exit_code == 2
    assert what in result.stderr


def test_a_wrong_main_file_is_told_without_a_trace(conf: Path) -> None:
    conf.write_text("[factory]\n")
    result = run("config", "--conf", str(conf))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{conf}:1: [factory] id: is missing")
    assert "Traceback" not in result.output


def test_what_is_printed_is_a_configuration(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "main.conf", tmp_path / "b" / "main.conf"
    for path in (first, second):
        path.parent.mkdir()
    first.write_text(FULL.replace("user:hunter2@", ""))
    queue = "wms = counts\nwmsqueue = Q\nbackend = condor\ntype = vanilla\nsource = ap1\nmonitor = m\nshare = 1/3\n"
    (first.parent / "queues.conf").write_text(f"[Q]\n{queue}interval = 90s\narguments = 5%%\nmax_held.probe = 1m\n")
    printed = run("config", "--conf", str(first)).stdout
    main, _, queues = printed.partition("[Q]")
    second.write_text(main)
    (second.parent / "queues.conf").write_text(f"[Q]{queues}")
    one, two = load(first), load(second)
    assert not two.problems
    assert two.queues == one.queues
    assert (two.factory, two.sources, two.wms, two.monitors) == (one.factory, one.sources, one.wms, one.monitors)
