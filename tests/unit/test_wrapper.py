"""The thin bootstrap, run by the shells there are, against a monitor on the loopback."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autopyfactory.batch.wrapper import wrapper_path
from tests.testbed.forkhost import until

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


class Monitor:
    """Notes every call as `path body`; answers the codes of `answers` in turn, then 200."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: list[int] = []
        self.hang = threading.Event()
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                monitor.calls.append(f"{self.path} {body}")
                while monitor.hang.is_set():
                    time.sleep(0.02)
                with suppress(ConnectionError):
                    self.send_response(monitor.answers.pop(0) if monitor.answers else 200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/api"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.hang.clear()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    one = Monitor()
    yield one
    one.close()


class Bootstrap:
    """Runs the bootstrap with a scratch folder of its own."""

    def __init__(self, shell: str, home: Path) -> None:
        self.shell = shell
        self.scratch = home / "scratch"
        self.scratch.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.scratch)}

    def monitored_by(self, monitor: Monitor) -> None:
        self.environment |= {"APFMON": monitor.url, "APFFID": "F1", "APFCID": "12.0"}

    def start(self, *words: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.shell, str(wrapper_path()), *words],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, cwd: Path | None = None) -> tuple[int, str]:
        process = self.start(*words, cwd=cwd)
        output, _ = process.communicate(timeout=30)
        assert list(self.scratch.iterdir()) == [], "the work directory has to go"
        return process.returncode, output


@pytest.fixture(params=SHELLS)
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Bootstrap:
    return Bootstrap(request.param, tmp_path)


def states(calls: Sequence[str]) -> list[str]:
    assert all(call.startswith("/api/jobs/F1:12.0 ") for call in calls)
    return [call.split(" ", 1)[1] for call in calls]


def test_it_is_an_executable_file() -> None:
    assert wrapper_path().is_file()
    assert os.access(wrapper_path(), os.X_OK)


def test_arguments_are_passed_untouched(bootstrap: Bootstrap) -> None:
    script = 'for word do echo "<$word>"; done'
    odd = ["a b", "$HOME", "`id`", "'", "", "--", "*", "a;b\nc"]
    code, output = bootstrap.run("--", "sh", "-c", script, "sh", *odd)
    assert code == 0
    assert all(f"<{word}>\n" in output for word in odd)


def test_the_exit_code_comes_through(bootstrap: Bootstrap) -> None:
    assert bootstrap.run("sh", "-c", "exit 42")[0] == 42
    assert bootstrap.run("sh", "-c", "kill -KILL $$")[0] == 137


def test_no_command_is_127(bootstrap: Bootstrap) -> None:
    assert bootstrap.run()[0] == 127
    assert bootstrap.run("--")[0] == 127
    assert bootstrap.run("/nonexistent/command")[0] == 127


def test_a_wrong_option_and_a_missing_work_directory_are_1(bootstrap: Bootstrap) -> None:
    code, output = bootstrap.run("--speed", "true")
    assert (code, "unknown option --speed" in output) == (1, True)
    assert bootstrap.run("--workdir", "/nonexistent", "true")[0] == 1
    assert bootstrap.run("--workdir")[0] == 1


def test_the_work_directory_is_private_and_below_the_scratch(bootstrap: Bootstrap, tmp_path: Path) -> None:
    here = "pwd; stat -c %a .; touch rubbish"
    lines = bootstrap.run("sh", "-c", here)[1].splitlines()
    assert str(bootstrap.scratch) in lines[1]
    assert lines[2] == "700"
    other = tmp_path / "other"
    other.mkdir()
    assert f"\n{other}/apf." in bootstrap.run("--workdir", str(other), "pwd")[1]
    bootstrap.environment["_CONDOR_SCRATCH_DIR"] = str(other)
    assert f"\n{other}/apf." in bootstrap.run("pwd")[1]
    assert list(other.iterdir()) == []


def test_a_command_beside_it_is_found(bootstrap: Bootstrap, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_text("#!/bin/sh\nexit 9\n")
    payload.chmod(0o755)
    assert bootstrap.run("./payload", cwd=tmp_path)[0] == 9


def test_the_monitor_hears_running_then_exiting(bootstrap: Bootstrap, monitor: Monitor) -> None:
    bootstrap.monitored_by(monitor)
    assert bootstrap.run("sh", "-c", "exit 3")[0] == 3
    assert states(monitor.calls) == ["state=running", "state=exiting&rc=3"]
    bootstrap.run()
    assert states(monitor.calls)[2:] == ["state=running", "state=exiting&rc=127"]


def test_wget_serves_where_there_is_no_curl(bootstrap: Bootstrap, monitor: Monitor, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ["wget", "sed", "tail", "date", "uname", "mktemp", "rm", "setsid", "timeout", "sleep", "true"]:
        found = shutil.which(tool)
        if found is None:
            pytest.skip(f"no {tool} on this host")
        (tools / tool).symlink_to(found)
    bootstrap.shell = str(shutil.which(bootstrap.shell))
    bootstrap.environment["PATH"] = str(tools)
    bootstrap.monitored_by(monitor)
    assert bootstrap.run("true")[0] == 0
    assert states(monitor.calls) == ["state=running", "state=exiting&rc=0"]
    (tools / "wget").unlink()
    assert bootstrap.run("true")[0] == 0
    assert len(monitor.calls) == 2


def test_without_a_monitor_nobody_is_called(bootstrap: Bootstrap, monitor: Monitor) -> None:
    bootstrap.monitored_by(monitor)
    bootstrap.environment["APFMON"] = ""
    assert bootstrap.run("true")[0] == 0
    assert monitor.calls == []


def test_a_refusal_is_final(bootstrap: Bootstrap, monitor: Monitor) -> None:
    bootstrap.monitored_by(monitor)
    monitor.answers = [400, 400]
    assert bootstrap.run("sleep", "0.3")[0] == 0
    assert states(monitor.calls) == ["state=running", "state=exiting&rc=0"]


@pytest.mark.parametrize("answer", [404, 503])
def test_not_yet_known_is_asked_again_at_the_end(bootstrap: Bootstrap, monitor: Monitor, answer: int) -> None:
    bootstrap.monitored_by(monitor)
    monitor.answers = [answer]
    started = time.monotonic()
    assert bootstrap.run("sleep", "0.3")[0] == 0
    assert states(monitor.calls) == ["state=running", "state=running", "state=exiting&rc=0"]
    assert time.monotonic() - started < 5


def test_not_yet_known_is_asked_again_three_times(bootstrap: Bootstrap, monitor: Monitor, tmp_path: Path) -> None:
    naps = tmp_path / "bin"
    naps.mkdir()
    (naps / "sleep").write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/naps\n")
    (naps / "sleep").chmod(0o755)
    bootstrap.environment["PATH"] = f"{naps}:{bootstrap.environment['PATH']}"
    bootstrap.monitored_by(monitor)
    monitor.answers = [404, 500, 404, 502]
    go = tmp_path / "go"
    process = bootstrap.start("sh", "-c", f"until [ -e {go} ]; do /bin/sleep 0.02; done")
    until(lambda: len(monitor.calls) == 4)
    go.touch()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert states(monitor.calls) == ["state=running"] * 4 + ["state=exiting&rc=0"]
    assert (tmp_path / "naps").read_text().split()[:3] == ["30", "30", "30"]


def test_a_dead_monitor_costs_nothing(bootstrap: Bootstrap) -> None:
    bootstrap.environment |= {"APFMON": "http://127.0.0.1:9/api", "APFFID": "F1", "APFCID": "12.0"}
    started = time.monotonic()
    assert bootstrap.run("sh", "-c", "exit 6")[0] == 6
    assert time.monotonic() - started < 3


def test_a_hung_monitor_costs_a_few_seconds_at_the_end(monitor: Monitor, tmp_path: Path) -> None:
    bootstrap = Bootstrap(SHELLS[0], tmp_path)
    bootstrap.monitored_by(monitor)
    monitor.hang.set()
    started = time.monotonic()
    process = bootstrap.start("sh", "-c", "exit 6")
    assert process.wait(timeout=20) == 6
    assert time.monotonic() - started < 7
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize(
    ("sent", "heard"), [(signal.SIGTERM, "TERM"), (signal.SIGINT, "TERM"), (signal.SIGUSR1, "USR1")]
)
def test_signals_reach_the_command_and_its_code_comes_back(
    bootstrap: Bootstrap, monitor: Monitor, sent: signal.Signals, heard: str
) -> None:
    bootstrap.monitored_by(monitor)
    process = bootstrap.start(
        "sh", "-c", f"trap 'sleep 0.1; exit 33' {heard}; echo ready; while :; do sleep 0.05; done"
    )
    assert process.stdout is not None
    lines = iter(process.stdout)
    assert any("ready" in line for line in lines)
    process.send_signal(sent)
    process.stdout.read()
    assert process.wait(timeout=20) == 33
    assert states(monitor.calls) == ["state=running", "state=exiting&rc=33"]
    assert list(bootstrap.scratch.iterdir()) == []
    process.stdout.close()


def test_a_command_that_dies_of_the_signal_is_128_and_more(bootstrap: Bootstrap) -> None:
    process = bootstrap.start("sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert any("ready" in line for line in iter(process.stdout))
    process.terminate()
    process.stdout.read()
    assert process.wait(timeout=20) == 143
    process.stdout.close()
