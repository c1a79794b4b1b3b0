"""The demo as a stranger meets it: an ordinary user, outside the clone, with what pip has installed."""

import json
import os
import pty
import pwd
import re
import subprocess
import termios
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.testbed.daemon import processes_with

pytestmark = pytest.mark.xdist_group("demo")

SECONDS = 30
QUEUES = 4
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROW = re.compile(r"^ *(DEMO_\w+) +(\d+) +(\d+) +(\d+) +(\d+) ")
"""Of the table: the queue, jobs activated, pilots pending and running, jobs done."""


class Stranger:
    """Somebody with a home of his own, who calls the installed command; his temporary files lie in `temporary`."""

    def __init__(self, testbed: Path, user: str, home: Path) -> None:
        self.temporary = home / "tmp"
        self.temporary.mkdir()
        self._command = str(testbed / "venv" / "bin" / "autopyfactory")
        self._account = pwd.getpwnam(user)
        self._mark = f"APF_TEST_STRANGER={uuid.uuid4()}"
        os.chown(self.temporary, self._account.pw_uid, self._account.pw_gid)

    def demo(self, *options: str, terminal: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        """Start the demo, its output in pipes or, where one is given, on a terminal."""
        account, to = self._account, subprocess.PIPE if terminal == subprocess.DEVNULL else terminal
        return subprocess.Popen(
            [self._command, "demo", *options],
            stdin=terminal,
            stdout=to,
            stderr=to,
            text=True,
            start_new_session=True,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(account.pw_name, account.pw_gid),
            cwd=self.temporary.parent,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(self.temporary.parent),
                "TMPDIR": str(self.temporary),
                "TERM": "xterm",
                "LANG": "C.UTF-8",
                **dict([self._mark.split("=")]),
            },
        )

    def assert_nothing_left(self) -> None:
        """Fail when a process or a temporary file is left."""
        assert processes_with(self._mark) == {}
        assert list(self.temporary.iterdir()) == []


@pytest.fixture
def stranger(testbed: Path, user: str, workdir: Path) -> Stranger:
    return Stranger(testbed, user, workdir)


def test_it_runs_jobs_and_leaves_nothing(stranger: Stranger) -> None:
    process = stranger.demo("--seconds", str(SECONDS), "--json")
    out, log = process.communicate(timeout=SECONDS + 60)
    stranger.assert_nothing_left()
    assert process.returncode == 0, log
    result = json.loads(out.splitlines()[-1])
    assert set(result) == {"seconds", "queues", "submitted", "finished", "failed"}
    assert result["queues"] == QUEUES
    assert result["finished"] > 10, log
    assert result["failed"] == 0, log
    assert result["submitted"] > 10, "a pilot may run several jobs"


def test_a_stranger_sees_pilots_run(stranger: Stranger) -> None:
    ours, his = pty.openpty()
    termios.tcsetwinsize(his, (40, 110))
    with stranger.demo("--seconds", str(SECONDS), terminal=his) as process:
        os.close(his)
        text = ESCAPES.sub("", until_closed(ours))
    stranger.assert_nothing_left()
    assert process.returncode == 0, text
    rows = [row for line in re.split(r"[\r\n]+", text) if (row := ROW.match(line))]
    assert {row[1] for row in rows if int(row[4])} == {row[1] for row in rows}, text
    assert len({row[1] for row in rows}) == QUEUES
    last = re.search(rf"\d+ pilots were submitted to {QUEUES} queues; (\d+) jobs finished, 0 failed in", text)
    assert last and int(last[1]) > 10, text


def until_closed(terminal: int) -> str:
    """Return all that is written on a terminal until nobody has it open."""
    written = b""
    with suppress(OSError):  # Linux says so in this way
        while part := os.read(terminal, 65536):
            written += part
    os.close(terminal)
    return written.decode("utf-8", "replace")
