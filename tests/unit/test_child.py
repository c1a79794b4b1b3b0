import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.child import CallLost, KillableChild, NoAnswer, NotRun


def nothing() -> None:
    pass


def broken() -> None:
    raise ImportError("No module named 'htcondor2'")


def fail(text: str) -> None:
    raise ValueError(text)


def expire() -> None:
    raise TimeoutError("the function's own")


def touch(path: str, seconds: float) -> None:
    Path(path).touch()
    time.sleep(seconds)


def signals_blocked() -> set[int]:
    mask = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigBlk"))
    bits = int(mask.split()[1], 16)
    return {number for number in range(1, 32) if bits >> (number - 1) & 1}


@pytest.fixture
def child() -> Iterator[KillableChild]:
    made = KillableChild("test", nothing)
    yield made
    made.close()


class Caller(threading.Thread):
    """Make one call in a thread and keep what came of it."""

    def __init__(self, child: KillableChild, deadline: float, *call: Any) -> None:
        super().__init__()
        self.error: CallLost | None = None
        self._child, self._deadline, self._call = child, deadline, call
        self.start()

    def run(self) -> None:
        try:
            self._child.call(self._deadline, *self._call)
        except CallLost as error:
            self.error = error


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_results_and_exceptions_come_back(child: KillableChild) -> None:
    assert child.call(10, os.getpid) == child.call(10, os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="as it was"):
        child.call(10, fail, "as it was")
    with pytest.raises(TimeoutError, match="the function's own"):
        child.call(10, expire)


def test_a_call_that_outlasts_its_deadline_is_killed_and_the_next_one_answered(child: KillableChild) -> None:
    first = child.call(10, os.getpid)
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"no answer within 0\.3 s") as caught:
        child.call(0.3, time.sleep, 60)
    assert time.monotonic() - began < 3
    assert not caught.value.stopped
    assert child.call(10, os.getpid) != first


def test_what_waits_too_long_for_its_turn_is_surely_not_run(child: KillableChild, tmp_path: Path) -> None:
    child.call(10, nothing)
    running = Caller(child, 10, touch, str(tmp_path / "running"), 1.0)
    wait_for(tmp_path / "running")
    with pytest.raises(NotRun, match=r"busy with other calls for 0\.2 s"):
        child.call(0.2, touch, str(tmp_path / "late"), 0)
    running.join()
    child.call(10, nothing)
    assert running.error is None
    assert not (tmp_path / "late").exists()


def test_close_kills_what_runs_and_drops_what_waits(child: KillableChild, tmp_path: Path) -> None:
    child.call(10, nothing)
    running = Caller(child, 60, touch, str(tmp_path / "running"), 60)
    wait_for(tmp_path / "running")
    waiting = Caller(child, 60, touch, str(tmp_path / "waiting"), 60)
    began = time.monotonic()
    child.close()
    child.close()
    running.join(5)
    waiting.join(5)
    assert time.monotonic() - began < 2
    assert isinstance(running.error, NoAnswer)
    assert running.error.stopped
    assert isinstance(waiting.error, NotRun)
    assert waiting.error.stopped
    assert not (tmp_path / "waiting").exists()
    with pytest.raises(NotRun, match="closed"):
        child.call(1, nothing)


def test_a_child_that_dies_is_replaced(child: KillableChild) -> None:
    with pytest.raises(NoAnswer, match="its child process died"):
        child.call(10, os._exit, 3)
    pid = child.call(10, os.getpid)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            assert child.call(10, os.getpid) != pid
            return
        except NoAnswer:
            time.sleep(0.05)


def test_a_child_is_replaced_after_many_calls_and_no_call_is_lost(
    child: KillableChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autopyfactory.child._CALLS", 5)
    futures = [child.post(10, os.getpid) for _ in range(12)]
    pids = [future.result(30) for future in futures]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [5, 5, 2]
    assert not Path(f"/proc/{pids[0]}").exists()


def test_a_child_that_cannot_start_says_why() -> None:
    child = KillableChild("test", broken)
    with pytest.raises(NotRun, match="its child process does not start: No module named 'htcondor2'"):
        child.call(10, os.getpid)
    child.close()


def test_the_child_does_not_hear_the_signals_of_a_terminal(child: KillableChild) -> None:
    expected = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    assert expected <= child.call(10, signals_blocked)
    with pytest.raises(NoAnswer):
        child.call(0.1, time.sleep, 60)
    assert expected <= child.call(10, signals_blocked)


def test_a_posted_call_tells_its_future(child: KillableChild) -> None:
    assert child.post(10, os.getpid).result(10) != os.getpid()
