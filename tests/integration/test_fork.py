"""The fork backend as an ordinary user: a factory killed at the worst moments, and pilots of another account."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.forkhost import until
from tests.testbed.law import law
from tests.testbed.sudoers import allowed

pytestmark = pytest.mark.xdist_group("pilot-account")

ROOT = Path(__file__).parents[2]
WAIT = "until [ -e {go} ]; do sleep 0.05; done; "


class Driver:
    """Runs steps of `tests.testbed.fork_driver` as the user, each in a new process over one folder."""

    def __init__(self, testbed: Path, user: str, home: Path) -> None:
        self.home = home
        self.user = user
        # A copy, for the clone may lie where the user cannot go.
        self._code = home / "code"
        for name in (
            "__init__.py",
            "testbed/__init__.py",
            "testbed/forkhost.py",
            "testbed/patience.py",
            "testbed/fork_driver.py",
        ):
            target = self._code / "tests" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "tests" / name, target)
        self._command = [
            "runuser",
            "-u",
            user,
            "--",
            str(testbed / "venv/bin/python"),
            "-m",
            "tests.testbed.fork_driver",
        ]

    def run(self, step: str, *words: str) -> tuple[int, Any]:
        """Return the exit code and what the step printed."""
        done = subprocess.run(
            [*self._command, str(self.home), step, *words],
            cwd=self._code,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def __call__(self, step: str, *words: str) -> Any:
        code, said = self.run(step, *words)
        assert code == 0, said
        return said


@pytest.fixture
def driver(testbed: Path, user: str, workdir: Path) -> Iterator[Driver]:
    one = Driver(testbed, user, workdir)
    yield one
    one("remove")


@pytest.fixture
def go(workdir: Path) -> Path:
    return workdir / "go"


def killed(code: int) -> bool:
    return code in {-signal.SIGKILL, 128 + signal.SIGKILL}


def processes_of(user: str) -> list[str]:
    """Return the command lines of a user's live processes."""
    uid = pwd.getpwnam(user).pw_uid
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid and ") Z " not in (folder / "stat").read_text():
                lines.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return lines


def test_killed_between_acceptance_and_answer(driver: Driver, go: Path) -> None:
    script = f"echo x >> {driver.home}/starts; " + WAIT.format(go=go) + "exit 3"
    code, _ = driver.run("submit_and_die", script, "")
    assert killed(code)
    assert driver("count") == {"running": 1, "pending": 1}
    go.touch()
    assert [end[1:] for end in driver("finish")] == [[3, ""], [3, ""]]
    law((driver.home / "starts").read_text() == "x\n" * 2, "two pilots were accepted, each starts once")


def test_killed_while_pilots_run(driver: Driver, go: Path) -> None:
    code, cids = driver.run("start_and_die", "echo ready; " + WAIT.format(go=go) + "exit 3", "")
    assert killed(code)
    assert driver("count") == {"running": 1, "pending": 1}
    go.touch()
    first = driver.home / "state/fork/local" / f"{cids[0]}.end"
    until(first.exists)  # the guard wrote it while no factory was there
    assert driver("finish") == [[cids[0], 3, ""], [cids[1], 3, ""]]


@pytest.fixture
def allow() -> Iterator[Callable[[str], None]]:
    """Allow what a line of sudoers says, for the time of the test."""
    with ExitStack() as stack:
        yield lambda line: stack.enter_context(allowed(f"{line}\n", "test"))


def test_pilots_of_another_account(driver: Driver, go: Path, pilot_user: str, allow: Callable[[str], None]) -> None:
    # Without the line in sudoers the fault says which one.
    driver("submit", "exit 0", pilot_user)
    (_, code, fault), _ = driver("finish")
    assert code is None
    found = re.fullmatch(
        rf"could not become {pilot_user}, sudo said: .*; allow it by a line in /etc/sudoers\.d: (.*)", fault
    )
    assert found, fault
    assert found[1].startswith(f"{driver.user} ALL=({pilot_user}) NOPASSWD: ")
    allow(found[1])

    script = f'id -un; echo "$HOME $APF_SUBMISSION"; {WAIT.format(go=go)}exit 4'
    cids = driver("submit", script, pilot_user)
    assert driver("count") == {"running": 1, "pending": 1}
    go.touch()
    done = [end for end in driver("finish") if end[0] in cids]
    assert [end[1:] for end in done] == [[4, ""], [4, ""]]
    said = (driver.home / f"logs/Q/{cids[0]}.out").read_text()
    assert re.fullmatch(rf"{pilot_user}\n/nonexistent sub-\d+\n", said)


def test_pilots_of_another_account_can_be_ended(
    testbed: Path, driver: Driver, pilot_user: str, allow: Callable[[str], None]
) -> None:
    allow(f"{driver.user} ALL=({pilot_user}) NOPASSWD: ALL")
    driver("start", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done", pilot_user)
    assert sorted(end[1:] for end in driver("remove") if end[1] is not None) == [[5, "removed"]]
    assert processes_of(pilot_user) == []

    # Killing the guard, which is all the factory's account can do, ends the pilot too.
    cids = driver("submit", "echo ready; exec sleep 60", pilot_user)
    driver("count")
    until(lambda: any("sleep 60" in line for line in processes_of(pilot_user)))
    assert not any("APF_SUBMISSION" in line for line in processes_of(pilot_user))
    claim = driver.home / "state/fork/local" / f"{cids[0]}.claim"
    os.kill(int(json.loads(claim.read_text())["process"].split()[1]), signal.SIGKILL)
    started = time.monotonic()
    until(lambda: not any("sleep 60" in line for line in processes_of(pilot_user)))
    assert time.monotonic() - started < 10
    assert [code for cid, code, _ in driver("remove") if cid in cids] == [None, None]


def test_a_pilot_of_another_account_whose_keeper_is_killed_is_ended(
    driver: Driver, pilot_user: str, allow: Callable[[str], None]
) -> None:
    allow(f"{driver.user} ALL=({pilot_user}) NOPASSWD: ALL")
    cids = driver("start", "setsid sleep 61 & echo ready; sleep 60; exit 0", pilot_user)
    until(lambda: sum("sleep 6" in line and " -c " not in line for line in processes_of(pilot_user)) == 2)
    uid = pwd.getpwnam(pilot_user).pw_uid
    theirs = [folder for folder in Path("/proc").glob("[0-9]*") if folder.stat().st_uid == uid]
    (keeper,) = [folder for folder in theirs if b"fork_shim.py\0child" in (folder / "cmdline").read_bytes()]
    os.kill(int(keeper.name), signal.SIGKILL)
    end = driver.home / "state/fork/local" / f"{cids[0]}.end"
    until(end.exists)
    assert json.loads(end.read_text())["fault"].startswith("the process that ran it was killed")
    assert not any(folder.exists() for folder in theirs)
    driver("remove")
    assert processes_of(pilot_user) == []
