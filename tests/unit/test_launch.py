"""Starts of a daemon as processes of their own, with a factory that does nothing."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = """
    import sys
    from pathlib import Path
    from autopyfactory.config.models import Config, FactoryOptions
    from autopyfactory.errors import ConfigError
    from autopyfactory.errors import StartError
    from autopyfactory.launch import Request, launch
    from tests.unit.test_daemon import FakeFactory

    place = Path(sys.argv[1])
    words = set(sys.argv[2:])

    def load(path):
        if "broken" in words:
            raise ConfigError(["x.conf:1: [factory] id: missing"])
        if "private" in words:
            (place / "private.conf").read_text()
        folders = {name: place / name for name in ("state_dir", "run_dir", "pilot_log_dir", "log_dir")}
        values = {"id": "F1", "host": place.name} | folders
        if "elsewhere" in words:
            values |= {"run_dir": place / "run2", "state_dir": place / "state2"}
        if "other" in words:
            values["id"] = "F2"
        if (place / "setup.sh").exists():
            values["environment_script"] = place / "setup.sh"
        return Config(path, FactoryOptions.model_validate(values), {}, {}, {}, {}, {})

    def make(config, *, clock, operator, dry_run, cycles):
        if "bug" in words:
            raise RuntimeError("a bug")
        return FakeFactory(cycles=1)

    request = Request(
        place / "x.conf",
        cycles=1 if "finite" in words else None,
        paused="paused" in words,
        detach="detach" in words,
        pidfile=place / "apf.pid",
        runas="nobody" if "runas" in words else "",
        log_file=place / "missing" / "apf.log" if "nolog" in words else None,
    )
    try:
        sys.exit(launch(request, load=load, make=make))
    except (StartError, ConfigError) as error:
        sys.stderr.write(str(error))
        sys.exit(getattr(error, "code", 2))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def launch(place: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    runas = ["runas"] if os.geteuid() == 0 else []
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(place), *words, *runas]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} did not end")


def test_detached_it_returns_when_the_factory_runs_and_ends_cleanly(place: Path) -> None:
    done = launch(place, "detach")
    assert (done.returncode, done.stderr) == (0, "")
    pid = int((place / "apf.pid").read_text())
    assert done.stdout == f"autopyfactory: started as process {pid}, log {place}/log_dir/autopyfactory.log\n"
    assert (place / "run_dir" / "F1.lock").read_text() == f"{pid}\n"
    second = launch(place, "detach")
    assert second.returncode == 1
    assert f"runs already on this host as process {pid}" in second.stderr
    elsewhere = launch(place, "finite", "elsewhere")
    assert elsewhere.returncode == 1
    assert f"factory 'F1' runs already on this host as process {pid} (socket" in elsewhere.stderr
    other = launch(place, "finite", "other")
    assert other.returncode == 1
    assert f"state_dir serves another factory, give each its own; it is used by process {pid}" in other.stderr
    assert int((place / "apf.pid").read_text()) == pid
    os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)
    assert not (place / "apf.pid").exists()
    assert "stopped after" in (place / "log_dir" / "autopyfactory.log").read_text()


def test_after_a_kill_it_starts_again_at_once(place: Path) -> None:
    assert launch(place, "detach").returncode == 0
    old = int((place / "apf.pid").read_text())
    os.kill(old, signal.SIGKILL)
    wait_until_gone(old)
    assert launch(place, "detach").returncode == 0
    new = int((place / "apf.pid").read_text())
    assert new != old
    os.kill(new, signal.SIGTERM)
    wait_until_gone(new)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["broken"], 2, "[factory] id: missing"),
        (["nolog"], 1, "cannot write the log"),
        (["bug"], 1, "the factory cannot start: a bug, see its log"),
    ],
)
def test_a_detached_start_tells_why_it_failed(place: Path, words: list[str], code: int, said: str) -> None:
    done = launch(place, "detach", *words)
    assert done.returncode == code
    assert said in done.stderr


def test_in_the_foreground_it_says_what_it_starts_with_and_no_secret(place: Path) -> None:
    (place / "setup.sh").write_text("export APF_T_SECRET=hunter2\n")
    done = launch(place, "finite", "paused")
    assert done.returncode == 0
    for words in ("python 3", "HTCondor bindings", "state_dir", "setup.sh changed APF_T_SECRET", "all cycles are done"):
        assert words in done.stderr
    assert "hunter2" not in done.stderr
    assert "started with --paused" in (place / "state_dir" / "operator.json").read_text()


def test_a_script_that_fails_is_told_on_the_terminal_and_in_the_log(place: Path) -> None:
    (place / "setup.sh").write_text("echo no voms here >&2; exit 1\n")
    done = launch(place, "detach")
    assert done.returncode == 1
    assert ": no voms here" in done.stderr
    assert "no voms here" in (place / "log_dir" / "autopyfactory.log").read_text()


def test_a_lock_held_by_others_is_told(place: Path) -> None:
    (place / "run_dir").mkdir()
    (place / "run_dir").chmod(0o777)
    with (place / "run_dir" / "F1.lock").open("w") as file:
        (place / "run_dir" / "F1.lock").chmod(0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
        done = launch(place, "finite")
    assert done.returncode == 1
    assert "runs already on this host as process unknown" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_configuration_is_read_as_the_account(place: Path) -> None:
    (place / "private.conf").touch(mode=0o600)
    done = launch(place, "finite", "private")
    assert done.returncode != 0
    assert "PermissionError" in done.stderr
    assert not (place / "state_dir").exists()
