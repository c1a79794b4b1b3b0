"""A system of the test bed by hand: one command starts it, one ends it."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("torque")

TOOL = Path(__file__).parents[2] / "scripts/testbed"


def by_hand(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", TOOL, *words], capture_output=True, text=True, timeout=120, check=False)


def test_start_use_and_stop(testbed: Path, user: str) -> None:
    assert "usage: scripts/testbed start|stop condor|" in by_hand("start", "pbs").stderr
    try:
        done = by_hand("start", "torque")
        assert done.returncode == 0, done.stderr
        folder = testbed / "hand/torque"
        assert done.stdout.startswith(f"# torque runs below {folder} until 'scripts/testbed stop torque'")
        assert f"export PATH={folder}/bin:" in done.stdout
        assert "runs already" in by_hand("start", "torque").stderr
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"{folder}/bin/qstat", "-f"]
        subprocess.run(command, env=os.environ | {"PATH": f"{folder}/bin:/usr/bin:/bin"}, timeout=60, check=True)
    finally:
        done = by_hand("stop", "torque")
    assert done.returncode == 0, done.stderr
    assert list((testbed / "hand").iterdir()) == []
    assert by_hand("stop", "torque").returncode == 1
