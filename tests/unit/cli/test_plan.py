"""`autopyfactory plan`: the daemon's own code, nothing submitted, nothing written, nobody disturbed."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autopyfactory.cli import main
from autopyfactory.operate import Operator, OperatorState

CONF = """
[factory]
id = F1
host = here
min_free = 0MB
state_dir = {folder}/state
pilot_log_dir = {folder}/pilots
[wms s]
plugin = static
jobs = A:40, B:3
[wms down]
plugin = panda
url = http://127.0.0.1:9
"""
QUEUES = """
[DEFAULT]
backend = fork
wms = s
allow_same_user = yes
executable = /bin/true
[A]
wmsqueue = A
max_per_cycle = 12
max_pending = 100
[A-more]
wmsqueue = A
weight = 3
[B]
wmsqueue = B
resource_types = MCORE
cores = 8
job_cores = MCORE:8
[DOWN]
wms = down
wmsqueue = A
[TYPO]
wmsqueue = AA
[OFF]
wmsqueue = A
enabled = no
[WRONG]
backend = frok
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "queues.conf").write_text(QUEUES)
    path = tmp_path / "apf.conf"
    path.write_text(CONF.format(folder=tmp_path))
    return path


def say(conf: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["plan", "--conf", str(conf), *words])


def planned(conf: Path, *words: str) -> dict[str, dict[str, Any]]:
    result = say(conf, *words, "--json")
    assert result.exit_code == 0, result.output
    return {one["queue"]: one for one in json.loads(result.stdout)}


def test_what_is_supposed_of_a_queue_by_type_is_of_its_first_type(conf: Path) -> None:
    more = "[T]\nwmsqueue = A\ncores = SCORE:1, MCORE:8\n"
    (conf.parent / "queues.conf").write_text(QUEUES + more)
    assert planned(conf, "T", "--jobs", "activated=10", "--pilots", "pending=2,running=9")["T"]["count"] == 8


def test_a_plan_of_all(conf: Path) -> None:
    found = planned(conf)
    assert list(found) == ["A", "A-more", "B", "DOWN", "TYPO"]
    assert [one["count"] for one in found.values()] == [10, 30, 1, 0, 0]
    assert found["A"]["blocked"] is None
    assert found["A"]["steps"][0] == {
        "rule": "ready",
        "before": 0,
        "after": 10,
        "why": "40 activated, 10 pilots are this queue's part, 0 waiting",
    }
    assert "connection refused" in found["DOWN"]["blocked"]
    assert "did you mean 'A'?" in found["TYPO"]["blocked"]
    assert found["TYPO"]["steps"] == []
    assert "left out: WRONG" in say(conf).stderr
    assert sorted(path.name for path in conf.parent.iterdir()) == ["apf.conf", "queues.conf"]


def test_the_text_shows_inputs_with_age_and_origin(conf: Path) -> None:
    text = say(conf, "A").output
    assert text.splitlines()[:3] == [
        "A would submit 10",
        "  pilots  pending=0 running=0 held=0 in_flight=0 (0 s old, from fork local)",
        "  demand  40 activated of A (0 s old, from wms s)",
    ]
    assert "max_per_cycle    10 -> 10    at most 12 per cycle" in text


def test_inputs_that_are_given(conf: Path) -> None:
    words = ["--jobs", "activated=120,running=3", "--pilots", "pending=10,running=50,held=0", "--site-status", "online"]
    [one] = planned(conf, "A", *words).values()
    assert one == {
        "queue": "A",
        "count": 12,
        "blocked": None,
        "steps": [
            {"rule": "ready", "before": 0, "after": 110, "why": "120 activated, 10 waiting"},
            {"rule": "max_per_cycle", "before": 110, "after": 12, "why": "at most 12 per cycle"},
            {"rule": "max_pending", "before": 12, "after": 12, "why": "10 of at most 100 waiting"},
            {"rule": "max_pilots", "before": 12, "after": 12, "why": "60 of at most 1000 in flight"},
        ],
    }


@pytest.mark.parametrize(
    ("queue", "words", "count"),
    [
        ("A", ["--site-status", "online"], 0),
        ("A", ["--jobs", "activated=7"], 7),
        ("A", ["--jobs", "activated=7", "--site-status", "Test"], 1),
        ("A", ["--jobs", "activated=7", "--site-status", "offline"], 0),
        ("A", ["--jobs", "activated=7", "--pilots", "held=11"], 1),
        ("A", ["--jobs", " activated = 7 , ", "--pilots", "pending=2,held=11"], 0),
        ("A", ["--jobs", "activated=7", "--pilots", "running=1000"], 0),
        ("B", ["--jobs", "activated=7"], 7),
        ("DOWN", ["--jobs", "activated=7"], 7),
        ("OFF", ["--jobs", "activated=7"], 7),
    ],
)
def test_numbers_of_given_inputs(conf: Path, queue: str, words: list[str], count: int) -> None:
    """Nothing is polled, so that a WMS that is down, a pause and a queue that is not served do not matter."""
    operator = Operator(conf.parent)
    operator.set("*", OperatorState("pause", "ada", 0.0, "x"))
    assert planned(conf, queue, *words)[queue]["count"] == count


def test_a_status_that_nobody_knows(conf: Path) -> None:
    assert "site status 'odd'" in planned(conf, "A", "--site-status", "odd")["A"]["blocked"]


def test_a_queue_that_is_not_served(conf: Path) -> None:
    assert planned(conf, "OFF")["OFF"]["blocked"] == "the queue is disabled (enabled = no)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a"], "there is no queue 'a', did you mean 'A'?"),
        (["WRONG"], "the section [WRONG] has mistakes"),
        (["A", "--jobs", "activate=3"], "there is no 'activate', did you mean 'activated'?"),
        (["A", "--pilots", "idle=3"], "there is no 'idle'; known: unsent, pending"),
        (["A", "--pilots", "held"], "'held' is no count, write held=12"),
        (["A", "--pilots", "held=-1"], "is no count"),
        (["A", "--pilots", "held=1,held=2"], "'held' stands there twice"),
    ],
)
def test_refusals(conf: Path, words: list[str], said: str) -> None:
    result = say(conf, *words)
    assert result.exit_code == 2
    assert said in result.output


def test_a_pause_is_shown(conf: Path) -> None:
    (conf.parent / "state").mkdir()
    Operator(conf.parent / "state").set("A", OperatorState("pause", "ada", 0.0, "moving"))
    assert "paused by ada" in planned(conf, "A")["A"]["blocked"]


def test_a_note_on_demand_that_counts_whole(conf: Path) -> None:
    queues = conf.parent / "queues.conf"
    queues.write_text(QUEUES.replace("wmsqueue = A\nmax_per_cycle", "wmsqueue = A\ncountry = de\nmax_per_cycle"))
    said = "note: country: PanDA tells no counts by country: the demand is whole, the pilots ask for country only"
    assert said in say(conf, "A").output
