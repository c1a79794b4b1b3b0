"""The pilot to play with, as a process of its own, against the simulated PanDA."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from autopyfactory.simulate import pilot
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda


@pytest.fixture
def panda() -> Iterator[SimulatedPanda]:
    queues = (
        SimulatedQueue("SHORT", backlog=3, rate=0, duration=0.1),
        SimulatedQueue("LONG", backlog=1, rate=0, duration=60),
    )
    with SimulatedPanda(queues, lag=0) as one:
        yield one


def start(*words: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-I", "-S", str(pilot.__file__), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment or {})


def test_it_runs_jobs_until_there_are_none(panda: SimulatedPanda) -> None:
    process = start("--url", panda.url, "--queue", "SHORT")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "3 jobs done" in output
    assert panda.totals()["SHORT"].finished == 3
    assert panda.totals()["SHORT"].failed == 0


def test_without_a_job_it_leaves_quickly(panda: SimulatedPanda) -> None:
    environment = {"PANDA_URL": panda.url, "PANDA_QUEUE": "SHORT", "PANDA_LABEL": "user", "APFCID": "7.0"}
    process = start(environment=environment)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "pilot 7.0" in output
    assert "no job" in output
    assert "0 jobs done" in output


def test_a_life_that_is_over_takes_no_job(panda: SimulatedPanda) -> None:
    process = start("--url", panda.url, "--queue", "SHORT", "--life", "0")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert panda.totals()["SHORT"].finished == 0


def test_term_ends_it_and_leaves_the_job_to_panda(panda: SimulatedPanda) -> None:
    process = start("--url", panda.url, "--queue", "LONG")
    assert process.stdout is not None
    assert any("runs for 60 s" in line for line in iter(process.stdout))
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 143
    assert "stopped" in output
    assert panda.totals()["LONG"].failed == 0


def test_no_answer_is_1() -> None:
    process = start("--url", "127.0.0.1:9", "--queue", "SHORT")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "no answer from PanDA" in output
