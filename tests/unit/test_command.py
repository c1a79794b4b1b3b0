"""Real short commands: a deadline for the whole, bounded output, and nothing left behind."""

import os
import threading
import time
from pathlib import Path

import pytest

from autopyfactory import command
from autopyfactory.command import Answer, NotStarted, Runner, Silent


@pytest.fixture
def run() -> Runner:
    return Runner()


def sh(script: str, *words: str) -> list[str]:
    return ["/bin/sh", "-c", script, "sh", *words]


def test_exit_code_output_and_locale(run: Runner) -> None:
    assert run(sh("echo out; echo err >&2; exit 3"), 5) == Answer(3, "out\n", "err\n")
    assert run(sh("kill -KILL $$"), 5).rc == -9
    assert run(sh("echo $LC_ALL; printf '\\377'"), 5).stdout == "C\n\ufffd"
    assert run(["cat"], 5).stdout == ""


def test_a_large_input_and_output_pass_at_once(run: Runner) -> None:
    text = "x" * 3_000_000
    assert run(["cat"], 10, text).stdout == text
    assert run(["true"], 10, text) == Answer(0)


def test_the_deadline_is_for_the_whole_and_kills_the_group(run: Runner, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Silent, match=r"no answer within 0.5 s; it said: waiting for the server"):
        run(
            sh("echo $$ > $1; echo waiting for the server >&2; while :; do echo .; sleep 0.1; done", f"{tmp_path}/pid"),
            0.5,
        )
    assert time.monotonic() - began < 2
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_daemon_that_is_left_behind_does_not_hold_the_answer(run: Runner) -> None:
    began = time.monotonic()
    assert run(sh("sleep 3 & echo done"), 10).stdout == "done\n"
    assert time.monotonic() - began < 2


def test_too_much_output_is_no_answer(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIMIT", 1000)
    with pytest.raises(Silent, match="more than can be read"):
        run(sh("while :; do echo 0123456789; done"), 5)


def test_what_is_not_there_is_not_started(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="cannot run /nowhere/squeue: No such file"):
        run(["/nowhere/squeue"], 5)
    with pytest.raises(NotStarted, match="Permission denied"):
        run([str(tmp_path)], 5)


def test_close_ends_what_runs(run: Runner) -> None:
    found: list[BaseException] = []

    def wait() -> None:
        try:
            run(["sleep", "20"], 20)
        except Silent as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    run.close()
    thread.join(5)
    assert time.monotonic() - began < 2
    assert [getattr(error, "stopped", None) for error in found] == [True]
    with pytest.raises(NotStarted) as caught:
        run(["true"], 5)
    assert caught.value.stopped
