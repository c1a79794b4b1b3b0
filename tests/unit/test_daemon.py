import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.config.models import Config, FactoryOptions
from autopyfactory.config.problems import Problem
from autopyfactory.daemon import NEW_DOCUMENT, Daemon, Signals
from autopyfactory.errors import ConfigError


def config(*problems: Problem, factory_id: str = "F1", **folders: Path) -> Config:
    factory = FactoryOptions.model_validate({"id": factory_id, "state_dir": "/s", "run_dir": "/r", **folders})
    return Config(Path("/etc/x.conf"), factory, {}, {}, {}, {}, {}, problems=problems)


def problem(queue: str, text: str = "no such backend", *, line: int = 3, warning: bool = False) -> Problem:
    return Problem("queues.conf", line, queue, "backend", text, warning, queue)


class FakeFactory:
    def __init__(self, *, cycles: int = 0, fails: bool = False) -> None:
        self.cycles = cycles
        self.fails = fails
        self.reloads: list[Config] = []
        self.stopped = 0

    def start(self) -> None: ...

    def reload(self, config: Config) -> str:
        if self.fails:
            raise RuntimeError("a bug")
        self.reloads.append(config)
        return "added Q1\nchanged Q2"

    def wait(self, timeout: float) -> bool:
        self.cycles -= 1
        return self.cycles < 0

    def stop(self) -> None:
        self.stopped += 1


def script(*batches: int) -> Callable[[float], set[int]]:
    left: Iterator[set[int]] = iter([{number} if number else set() for number in batches])
    return lambda _timeout: next(left)


def serve(
    factory: FakeFactory, load: Callable[[], Config], *signals: int, finite: bool = False, old: Config | None = None
) -> int:
    return Daemon(factory, old or config(), load=load, wait=script(*signals), finite=finite).serve()


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops(number: int, messages: pytest.LogCaptureFixture) -> None:
    factory = FakeFactory()
    assert serve(factory, config, 0, number) == 0
    assert factory.stopped == 1
    assert f"stopping on {signal.Signals(number).name}" in messages.text


def test_a_clock_that_somebody_sets_is_told_once(messages: pytest.LogCaptureFixture) -> None:
    ahead = iter([0.0, 7200.0, 7100.0, 20.0, -90.0])
    quiet = script(0, 0, 0, 0, 15)
    Daemon(FakeFactory(), config(), load=config, wait=quiet, ahead=lambda: next(ahead)).serve()
    told = [record.message for record in messages.records if "clock" in record.message]
    assert len(told) == 3
    assert told[0].startswith("the host's clock was set back by 7200 s; the factory follows by 6 minutes an hour")
    assert told[1] == "the factory's clock is the host's again"
    assert told[2].startswith("the host's clock was set forward by 90 s")


def test_it_ends_after_its_cycles() -> None:
    factory = FakeFactory(cycles=2)
    assert serve(factory, config, 0, 0, finite=True) == 0
    assert factory.stopped == 1


def test_a_signal_ends_a_finite_run() -> None:
    assert serve(FakeFactory(cycles=1000), config, 0, signal.SIGTERM, finite=True) == 0


def test_a_bug_in_the_main_thread_stops_with_its_trace(messages: pytest.LogCaptureFixture) -> None:
    factory = FakeFactory()
    assert serve(factory, config) == 1  # the script of signals is exhausted: StopIteration
    assert factory.stopped == 1
    assert "StopIteration" in messages.text


def test_a_reload_is_applied(messages: pytest.LogCaptureFixture) -> None:
    factory, new = FakeFactory(), config(problem("Q", warning=True))
    assert serve(factory, lambda: new, signal.SIGHUP, signal.SIGTERM) == 0
    assert factory.reloads == [new]
    assert "reload: changed Q2" in messages.text


def test_a_bug_in_a_reload_is_survived(messages: pytest.LogCaptureFixture) -> None:
    assert serve(FakeFactory(fails=True), config, signal.SIGHUP, signal.SIGTERM) == 0
    assert "RuntimeError: a bug" in messages.text


def broken() -> Config:
    raise ConfigError(["x.conf:1: [factory] id: missing", "x.conf:2: [wms p] url: missing"])


@pytest.mark.parametrize(
    ("old", "load", "said"),
    [
        (config(), broken, "x.conf:2: [wms p] url: missing"),
        (config(), lambda: config(problem("NEW")), "queues.conf:3: [NEW] backend: no such backend"),
        (config(problem("Q")), lambda: config(problem("Q", "worse")), "[Q] backend: worse"),
        (config(), lambda: config(log_dir=Path("/l")), "[factory] log_dir: cannot change in a running factory"),
        (config(), lambda: config(pilot_log_dir=Path("/dev/null/x")), "x.conf: [factory] pilot_log_dir: cannot make"),
        (config(), lambda: config(factory_id="F2"), "[factory] id: cannot change in a running factory"),
    ],
)
def test_a_reload_is_refused(
    old: Config, load: Callable[[], Config], said: str, messages: pytest.LogCaptureFixture
) -> None:
    factory = FakeFactory()
    assert serve(factory, load, signal.SIGHUP, signal.SIGTERM, old=old) == 0
    assert factory.reloads == []
    assert said in messages.text
    assert "reload refused" in messages.text


def test_who_sends_hup_is_told_what_became_of_it() -> None:
    told: list[str] = []

    def unlucky() -> Config:
        raise RuntimeError("no\nluck")

    loads: Iterator[Callable[[], Config]] = iter([config, broken, lambda: config(problem("NEW")), config, unlucky])
    hups = [signal.SIGHUP, signal.SIGHUP, NEW_DOCUMENT, signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]

    def load() -> Config:
        return next(loads)()

    Daemon(FakeFactory(), config(), load=load, wait=script(*hups), verdict=told.append).serve()
    assert told == [
        "reload 1 done",
        "reload 2 refused: x.conf:1: [factory] id: missing (and 1 more)",
        "reload 3 done",  # what the factory asked of itself is nobody's answer
        "reload 4 failed: a bug, no luck",
    ]


def test_a_refusal_that_a_catalogue_meets_again_is_said_once(messages: pytest.LogCaptureFixture) -> None:
    factory = FakeFactory()
    asked = [NEW_DOCUMENT, NEW_DOCUMENT, NEW_DOCUMENT, NEW_DOCUMENT, signal.SIGHUP, NEW_DOCUMENT]
    found = iter([problem("A"), problem("A"), problem("B"), problem("B"), problem("B")])
    loads = iter([*(config(one) for one in found), config()])
    serve(factory, lambda: next(loads), *asked, signal.SIGTERM)
    said = [record.getMessage() for record in messages.records if record.levelno >= logging.WARNING]
    problems = [text.partition("]")[0][-1] for text in said if "no such backend" in text]
    assert problems == ["A", "B", "B"]  # the last one for the admin who asked
    assert [text.partition("; ")[2] != "" for text in said if "reload refused" in text] == [True, True, False]
    assert len(factory.reloads) == 1


def test_a_section_that_was_out_already_refuses_nothing() -> None:
    factory = FakeFactory()
    serve(factory, lambda: config(problem("Q", line=9)), signal.SIGHUP, signal.SIGTERM, old=config(problem("Q")))
    assert len(factory.reloads) == 1


def test_a_fault_that_names_a_line_which_moved_is_no_new_one() -> None:
    factory = FakeFactory()
    old, new = (config(problem("Q", f"stands twice, first at q.conf:{line}, rename one")) for line in (7, 9))
    serve(factory, lambda: new, signal.SIGHUP, signal.SIGTERM, old=old)
    assert factory.reloads == [new]


def test_a_reload_makes_the_folder_of_the_pilots(tmp_path: Path) -> None:
    factory, new = FakeFactory(), config(pilot_log_dir=tmp_path / "a" / "b")
    serve(factory, lambda: new, signal.SIGHUP, signal.SIGTERM)
    assert factory.reloads == [new]
    assert (tmp_path / "a" / "b").is_dir()


def test_signals_wake_the_main_thread_whoever_gets_them() -> None:
    before = {number: signal.getsignal(number) for number in Signals.HANDLED}
    signals = Signals()
    try:
        assert signals.wait(0.0) == set()
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGHUP]).start()
        assert signals.wait(5.0) == {signal.SIGHUP}
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        serve(FakeFactory(), config, signal.SIGHUP, signal.SIGTERM)
        said = [ear.recv(100).decode().split("\n")[0] for _ in range(4)]
    assert said == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


HANGS = """
    import sys, threading, time
    from tests.unit.test_daemon import FakeFactory, config, script
    from autopyfactory import daemon, logs
    logs.setup(None, False)
    daemon.STOP_S = 0.2
    class Hangs(FakeFactory):
        def start(self):
            threading.Thread(target=time.sleep, args=[60], name="stuck").start()
        def stop(self):
            time.sleep(60 if "stop" in sys.argv else 0)
    factory = Hangs()
    factory.start()
    daemon.Daemon(factory, config(), load=config, wait=script(15), at_end=lambda: print("farewell")).serve()
"""


@pytest.mark.parametrize("what", ["thread", "stop"])
def test_a_stop_that_hangs_ends_the_process(what: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HANGS), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "the stop hangs, the process ends without" in done.stderr
    assert "stuck" in done.stderr
    assert "farewell" in done.stdout
