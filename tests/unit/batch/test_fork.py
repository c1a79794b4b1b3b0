"""The fork backend with short real pilots: counts, slots, ends, restarts and what goes wrong."""

import json
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from autopyfactory.batch import remove
from autopyfactory.batch.fork import REMEMBER, ForkHost
from autopyfactory.batch.fork_files import alive
from autopyfactory.batch.fork_options import ForkOptions, ForkQueueOptions
from autopyfactory.config.models import CredentialOptions, FactoryOptions, QueueOptions
from autopyfactory.errors import Refused, SourceError
from autopyfactory.model import EndedPilot, PilotGroup, PilotState
from tests.testbed.forkhost import ALL, TestHost, until


@pytest.fixture
def host(tmp_path: Path) -> Iterator[TestHost]:
    with TestHost(tmp_path) as one:
        yield one


def guard_of(host: TestHost, cid: str) -> str:
    """Wait for a pilot's claim and return the identity of its guard."""
    claim = host.folder / f"{cid}.claim"
    until(claim.exists)
    return str(json.loads(claim.read_text())["process"])


def wait_for_line(host: TestHost, cid: str, text: str) -> None:
    until(lambda: (host.home / f"logs/Q/{cid}.out").exists() and text in host.text(cid, "out"))


def test_options() -> None:
    for times in ({"interval": "1m"}, {"max_age": "5s"}):
        with pytest.raises(ValidationError, match="max_age must be more than interval"):
            ForkOptions.model_validate(times)
    with pytest.raises(ValidationError, match="deadline"):
        ForkOptions.model_validate({"deadline": "5s"})
    assert 0 < ForkOptions().deadline < ForkOptions().max_age


def test_exit_codes_and_signals_are_told_once(host: TestHost) -> None:
    done = host.submit("exit 0", name="a")
    bad = host.submit("exit 7", name="b")
    shot = host.submit("kill -KILL $$", name="c")
    host.finish()
    assert host.ended[done.cids[0]] == EndedPilot(done.cids[0], "Q", "a", 0)
    assert host.ended[bad.cids[0]] == EndedPilot(bad.cids[0], "Q", "b", 7)
    assert host.ended[shot.cids[0]] == EndedPilot(shot.cids[0], "Q", "c", -9)
    ended = host.ended[bad.cids[0]]
    assert ended.lived is not None
    assert 0 <= ended.lived < 60
    assert (ended.node, ended.endpoint) == (host.host.endpoint, "here")
    assert abs(ended.at - time.time()) < 60
    assert host.host.poll().ended == ()
    assert host.host.ended(frozenset({"a", "b", "never"})) == {"a", "b"}


def test_a_pilot_whose_keeper_is_killed_is_ended_with_all_it_started(host: TestHost) -> None:
    cid = host.submit("(setsid sleep 300 & echo pid $!; wait) & echo pid $$; wait; exit 0").cids[0]
    guard = guard_of(host, cid).split()[1]
    until(lambda: (host.home / f"logs/Q/{cid}.out").exists() and host.text(cid, "out").count("pid") == 2)
    pilot = [int(pid) for pid in re.findall(r"pid (\d+)", host.text(cid, "out"))]
    assert all(Path(f"/proc/{pid}").exists() for pid in pilot)
    (keeper,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    os.kill(int(keeper), signal.SIGKILL)
    host.finish()
    assert host.ended[cid].fault.startswith("the process that ran it was killed")
    assert not any(Path(f"/proc/{pid}").exists() for pid in pilot)


def test_output_environment_and_log(host: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APF_TEST_SECRET", "hidden")
    cid = host.submit("env; echo oops >&2; pwd; cat", environment={"WHO": "$(cid)"}, name="s1").cids[0]
    host.finish()
    lines = host.text(cid, "out").splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    assert environment["APFCID"] == environment["WHO"] == cid
    assert environment["APFFID"] == environment["APF_FACTORY"] == environment["PANDA_JSID"] == "F1"
    assert environment["APFMON"] == "http://monitor/api"
    assert environment["GTAG"] == f"http://logs/Q/{cid}.out"
    assert environment["APF_SUBMISSION"] == "s1"
    assert environment["APF_QUEUE"] == environment["FACTORYQUEUE"] == "Q"
    assert environment["APF_HOST"] == "here"
    assert {"PATH", "HOME", "USER"} <= environment.keys()
    assert "APF_TEST_SECRET" not in environment
    assert lines[-1] == "/"
    assert host.text(cid, "err") == "oops\n"
    assert re.fullmatch(
        r"\S+Z queued: queue Q, submission s1\n\S+Z started: process \d+\n\S+Z ended: rc 0\n", host.text(cid, "log")
    )


def test_pilots_beyond_the_slots_wait(host: TestHost) -> None:
    go = host.home / "go"
    names = host.submit(f"until [ -e {go} ]; do sleep 0.05; done", 5, name="five")
    assert len(set(names.cids)) == 5
    until(lambda: host.counts() == {"running": 2, "pending": 3})
    groups = host.host.poll().groups
    assert PilotGroup("five", "Q", PilotState.PENDING, 3, "here", "here", "1c") in groups
    assert not host.host.ended(frozenset({"five"}))
    go.touch()
    assert [pilot.exit_code for pilot in host.finish()] == [0] * 5


def test_a_free_slot_is_filled_within_a_second(host: TestHost) -> None:
    started = time.monotonic()
    host.submit("exit 0", 6)
    host.finish()
    assert time.monotonic() - started < 4


def test_cores_take_slots(host: TestHost) -> None:
    go = host.home / "go"
    host.submit(f"until [ -e {go} ]; do sleep 0.05; done", 2, cores=2)
    until(lambda: host.counts() == {"running": 1, "pending": 1})
    go.touch()
    host.finish()


def test_what_cannot_run_is_refused(host: TestHost, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"3 cores does not fit this host's 2 slots.*\[fork local\]"):
        host.submit("exit 0", cores=3)
    (tmp_path / "logs").write_text("no folder")
    with pytest.raises(Refused, match="logs"):
        host.submit("exit 0")
    assert host.counts() == {}
    (tmp_path / "logs").unlink()


def test_a_submission_is_written_whole_or_not_at_all(host: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.counts()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Refused, match="No space left"):
        host.submit("exit 0", 3)
    monkeypatch.undo()
    assert [path.name for path in host.folder.iterdir()] == ["lock"]
    assert host.counts() == {}


def test_a_wrapper_that_is_not_there_is_a_fault(host: TestHost) -> None:
    host.submit("", 2, executable="/nonexistent/wrapper")
    pilot, _ = host.finish()
    assert pilot.exit_code is None
    assert "could not start" in pilot.fault
    assert "/nonexistent/wrapper" in pilot.fault


def test_pilots_survive_a_restart_and_keep_their_exit_codes(host: TestHost) -> None:
    go = host.home / "go"
    cids = host.submit(f"until [ -e {go} ]; do sleep 0.05; done; exit 5", 4, name="s").cids
    until(lambda: host.counts() == {"running": 2, "pending": 2})
    guards = [guard_of(host, cid) for cid in cids[:2]]
    host.host.close()
    assert all(alive(guard) for guard in guards)
    go.touch()
    until(lambda: not any(alive(guard) for guard in guards))
    host.restart()
    assert [(pilot.cid, pilot.exit_code) for pilot in host.finish()] == [(cid, 5) for cid in cids]
    assert host.host.ended(frozenset({"s"})) == {"s"}


def test_nothing_starts_twice_when_two_factories_overlap(host: TestHost) -> None:
    mark = host.home / "starts"
    host.submit(f"echo x >> {mark}; sleep 0.1", 6)
    other = TestHost(host.home)
    until(lambda: not host.counts() and not other.counts())
    other.host.close()
    assert mark.read_text() == "x\n" * 6


def test_remove_right_after_the_start_and_a_restart_ends_them(host: TestHost) -> None:
    for _ in range(5):
        host.submit("sleep 60", 2)
        while not host.counts().get("running"):
            pass
        host.restart()
        host.host.poll()
        remove(host.host, "Q", ALL)
        assert all(pilot.exit_code != 0 for pilot in host.finish())


def test_a_closed_host_starts_nothing_and_says_why(host: TestHost) -> None:
    host.host.close()
    with pytest.raises(Refused, match="stops"):
        host.submit("exit 0")
    with pytest.raises(SourceError) as caught:
        host.host.poll()
    assert caught.value.stopped


def test_a_killed_guard_is_a_lost_pilot_and_takes_the_payload_along(host: TestHost) -> None:
    cid = host.submit("echo $$ here; exec sleep 60").cids[0]
    wait_for_line(host, cid, "here")
    payload = int(host.text(cid, "out").split()[0])
    os.kill(int(guard_of(host, cid).split()[1]), signal.SIGKILL)
    (pilot,) = host.finish()
    assert pilot.exit_code is None
    assert pilot.fault.startswith("lost")
    until(lambda: not Path(f"/proc/{payload}").exists() or ") Z " in Path(f"/proc/{payload}/stat").read_text())


def test_a_process_id_of_another_is_not_ours(host: TestHost) -> None:
    cid = host.submit("sleep 60").cids[0]
    real = guard_of(host, cid)
    boot, pid, start = real.split()
    host.host.close()
    (host.folder / f"{cid}.claim").write_text(json.dumps({"process": f"{boot} {pid} {int(start) - 1}"}))
    host.restart()
    (pilot,) = host.finish()
    assert pilot.fault.startswith("lost")
    assert alive(real), "the process that has the id now must not be touched"
    os.kill(int(pid), signal.SIGTERM)
    until(lambda: not alive(real))


def test_after_a_reboot_running_pilots_are_lost_and_waiting_ones_start(host: TestHost) -> None:
    cids = host.submit("exit 0", 2, name="s").cids
    host.finish()
    host.host.close()
    for cid in cids:
        (host.folder / f"{cid}.end").unlink()
    (host.folder / f"{cids[0]}.claim").write_text(json.dumps({"process": "boot-of-yesterday 1 1"}))
    (host.folder / f"{cids[1]}.claim").unlink()
    host.ended.clear()
    host.restart()
    lost, done = host.finish()
    assert lost.fault.startswith("lost")
    assert (done.exit_code, done.fault) == (0, "")


def test_a_guard_that_dies_before_its_claim_is_a_fault(host: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    host.submit("exit 0")
    (pilot,) = host.finish()
    assert "could not start" in pilot.fault


def test_remove_drops_waiting_pilots_and_ends_running_ones(host: TestHost) -> None:
    cids = host.submit("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done", 4).cids
    for cid in cids[:2]:
        wait_for_line(host, cid, "ready")
    # Now, with both slots taken: sooner it could get the second one, for a queue without pilots comes first.
    host.submit("sleep 60", queue="OTHER")
    assert remove(host.host, "Q", frozenset({PilotState.PENDING})).total() == 2
    assert remove(host.host, "Q", frozenset({PilotState.HELD})).total() == 0
    assert remove(host.host, "Q", frozenset({PilotState.RUNNING})).total() == 2
    until(lambda: len(host.counts() and host.ended) == 4)
    for cid in cids[:2]:
        assert (host.ended[cid].exit_code, host.ended[cid].fault) == (3, "removed")
        assert host.text(cid, "out") == "ready\nbye\n"
    for cid in cids[2:]:
        assert host.ended[cid].fault == "removed before it started"
    until(lambda: host.counts() == {"running": 1})


def test_a_pilot_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    with TestHost(tmp_path, grace=0.3) as host:
        cid = host.submit("trap '' TERM; echo ready; while :; do sleep 0.05; done").cids[0]
        wait_for_line(host, cid, "ready")
        remove(host.host, "Q", frozenset({PilotState.RUNNING}))
        (pilot,) = host.finish()
        assert (pilot.exit_code, pilot.fault) == (-9, "removed")


def test_wall_time_ends_a_pilot_also_without_the_factory(host: TestHost) -> None:
    cid = host.submit("sleep 60", walltime=1).cids[0]
    guard = guard_of(host, cid)
    host.host.close()
    until(lambda: not alive(guard))
    host.restart()
    (pilot,) = host.finish()
    assert (pilot.exit_code, pilot.fault) == (-15, "its wall time of 1 s was over")


def test_nothing_of_a_pilot_is_left_behind(host: TestHost) -> None:
    cid = host.submit("(setsid sleep 60 & echo $!); (sleep 61 & echo $!); exit 0").cids[0]
    host.finish()
    for pid in host.text(cid, "out").split():
        assert not Path(f"/proc/{pid}").exists()


def test_no_zombies_stay(host: TestHost) -> None:
    host.submit("exit 0", 3)
    host.finish()

    def zombies() -> list[str]:
        host.counts()
        files = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        children = [Path(f"/proc/{pid}/stat") for file in files for pid in file.read_text().split()]
        return [name for child in children if child.exists() and ") Z " in (name := child.read_text())]

    until(lambda: not zombies())


def test_other_children_are_left_alone(host: TestHost) -> None:
    other = subprocess.Popen(["sh", "-c", "exit 4"])
    host.submit("exit 0", 3)
    host.finish()
    assert other.wait(timeout=20) == 4


def test_records_go_ten_minutes_after_the_end(host: TestHost) -> None:
    host.submit("exit 0", 2, name="s")
    host.finish()
    host.counts()
    host.clock.ahead = REMEMBER - 10
    host.counts()
    assert host.host.ended(frozenset({"s"})) == {"s"}
    host.clock.ahead = REMEMBER + 10
    host.counts()
    assert host.host.ended(frozenset({"s"})) == frozenset()
    assert [path.name for path in host.folder.iterdir()] == ["lock"]


def test_a_damaged_record_is_unknown_not_none(host: TestHost) -> None:
    host.host.close()
    host.folder.mkdir(parents=True)
    broken = host.folder / "abc.json"
    broken.write_text("{")
    host.restart()
    for _ in range(2):
        with pytest.raises(SourceError, match=r"abc\.json is damaged"):
            host.host.poll()
    broken.unlink()
    assert host.counts() == {}


def test_cids_fit_the_monitor_and_never_repeat(tmp_path: Path) -> None:
    with TestHost(tmp_path, position=7) as host:
        host.clock.ahead = 0.0
        seen: set[str] = set()
        for _ in range(3):
            cids = host.submit("exit 0", 20).cids
            assert all(re.fullmatch(r"7-[A-Za-z0-9.-]{1,14}", cid) for cid in cids)
            assert not seen & set(cids)
            seen |= set(cids)
            host.clock.ahead -= 0.001  # a clock that stands still or goes back
            remove(host.host, "Q", frozenset({PilotState.PENDING}))


def test_pilots_of_another_factory_id_are_not_counted(host: TestHost) -> None:
    host.submit("sleep 60")
    until(lambda: host.counts() == {"running": 1})
    host.host.close()
    other = TestHost(host.home, factory="F2")
    assert other.counts() == {}
    other.host.close()


def test_a_pilot_larger_than_the_host_became_ends_and_lets_others_run(host: TestHost) -> None:
    go = host.home / "go"
    host.submit(f"until [ -e {go} ]; do sleep 0.05; done", 2, cores=2, name="large")
    until(lambda: host.counts() == {"running": 1, "pending": 1})
    host.options = host.options.model_copy(update={"slots": 1})
    host.restart()
    host.submit("exit 0", name="small")
    go.touch()
    by_name = {pilot.submission: pilot for pilot in host.finish() if pilot.submission == "small" or pilot.fault}
    assert by_name["small"].exit_code == 0
    assert "needs 2 cores" in by_name["large"].fault


@pytest.mark.parametrize(
    ("words", "credentials", "said"),
    [
        ({}, False, ["submit_user: is missing"]),
        ({"submit_user": "pilot"}, True, []),
        ({"submit_user": "nobody"}, False, ["submit_user: 'nobody' is not allowed"]),
        ({"submit_user": "me"}, False, ["submit_user: 'me' is the factory's own account"]),
        ({"same": True}, False, []),
        ({"same": True}, True, [r"allow_same_user: pilots could read the files of \[credential atlas\]"]),
        ({"same": True, "proxy": "/tmp/x"}, False, ["warning: proxy: is never read"]),
    ],
)
def test_check_keeps_pilots_away_from_credentials(
    words: dict[str, str | bool], credentials: bool, said: list[str]
) -> None:
    factory = FactoryOptions(id="F1", user="me", submit_users=("pilot", "me"))
    options = QueueOptions.model_validate({"backend": "fork"} | {k: v for k, v in words.items() if k != "same"})
    backend = ForkQueueOptions(allow_same_user=bool(words.get("same")))
    known = {"atlas": CredentialOptions(file=Path("/etc/proxy"))} if credentials else {}
    problems = ForkHost.check(options, backend, factory, known)
    assert len(problems) == len(said)
    assert all(re.match(pattern, problem) for pattern, problem in zip(said, problems, strict=True))


def test_pilots_never_run_as_the_factory_unless_allowed(host: TestHost) -> None:
    for user in ("", pwd.getpwuid(os.geteuid()).pw_name):
        with pytest.raises(Refused, match="account of their own"):
            host.submit("exit 0", user=user, same=False)
