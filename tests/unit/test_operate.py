import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.downtimes import ALL
from autopyfactory.errors import OperateError
from autopyfactory.operate import Action, Operator, OperatorState


def stop(action: Action = "pause", *, when: float = 100.0, until: float | None = None) -> OperatorState:
    return OperatorState(action, "ada", when, "a reason", until)


def test_nothing_was_done(tmp_path: Path) -> None:
    assert Operator(tmp_path).state("Q", 0.0) is None


def test_a_pause_survives_and_is_seen_by_another_process(tmp_path: Path) -> None:
    watcher = Operator(tmp_path)
    assert watcher.state("Q", 100.0) is None
    Operator(tmp_path).set("Q", stop())
    assert watcher.state("Q", 100.0) == stop()
    assert watcher.state("R", 100.0) is None
    Operator(tmp_path).resume("Q", "ada", 101.0)
    assert watcher.state("Q", 101.0) is None


def test_it_ends_by_itself(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.set("Q", stop(until=200.0))
    assert operator.state("Q", 199.9) is not None
    assert operator.state("Q", 200.0) is None
    operator.set("R", stop(when=300.0))
    assert "Q" not in json.loads(operator.path.read_text())


def test_all_and_one_by_name(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.set("DRAINS", stop("drain"))
    operator.set(ALL, stop())
    operator.resume("RUNS", "eve", 101.0)
    assert operator.state("NEW", 101.0) == stop()
    assert operator.state("DRAINS", 101.0) == stop("drain")
    assert operator.state("RUNS", 101.0) is None
    operator.set(ALL, stop(when=102.0))
    assert operator.state("RUNS", 102.0) is not None
    operator.resume(ALL, "eve", 103.0)
    assert [operator.state(name, 103.0) for name in ("NEW", "DRAINS", "RUNS")] == [None, None, None]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"Q": {"action": "explode"}}', b"\xff"])
def test_a_damaged_file_pauses_all_until_it_is_mended(tmp_path: Path, damage: bytes) -> None:
    operator = Operator(tmp_path)
    operator.path.write_bytes(damage)
    state = operator.state("Q", 1.0)
    assert state is not None
    assert state.action == "pause"
    assert "damaged" in state.why
    with pytest.raises(OperateError, match="resume --all"):
        operator.set("Q", stop())
    operator.resume(ALL, "eve", 2.0)
    assert operator.state("Q", 2.0) is None


def test_an_unreadable_file_pauses_all(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    operator.path.mkdir()
    state = operator.state("Q", 1.0)
    assert state is not None
    assert "cannot read" in state.why
    with pytest.raises(OperateError, match="cannot write"):
        operator.set(ALL, stop())
    assert [path.name for path in tmp_path.iterdir()] == ["operator.json"]


def test_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match="state_dir"):
        Operator(tmp_path / "no").set("Q", stop())


def test_another_command_holds_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("autopyfactory.statefile._LOCK_WAIT_S", 0.0)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(OperateError, match="another command"):
            Operator(tmp_path).set("Q", stop())
    finally:
        os.close(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 54321)
    operator = Operator(tmp_path)
    operator.set("Q", stop())
    stat = operator.path.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (12345, 54321, 0o644)


def test_the_daemon_logs_who_resumed_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    daemon, command = Operator(tmp_path), Operator(tmp_path)
    command.set("Q", stop())
    assert daemon.state("Q", 100.0) is not None
    command.resume("Q", "ada", 101.0, "disk added")
    assert daemon.state("Q", 101.0) is None
    assert caplog.messages == ["Q resumed by ada since 1970-01-01 00:01 UTC: disk added"]
    Operator(tmp_path).state("Q", 102.0)
    assert len(caplog.messages) == 1


names = st.sampled_from(["A", "B", ALL])
deeds = st.lists(st.tuples(st.sampled_from(["pause", "drain", "resume"]), names), max_size=12)


@given(deeds)
def test_the_last_word_about_a_queue_counts(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("state")
    operator = Operator(folder)
    for at, (deed, name) in enumerate(deeds):
        if deed == "resume":
            operator.resume(name, "ada", float(at), "why" * (at % 2))
        else:
            operator.set(name, stop("drain" if deed == "drain" else "pause", when=float(at)))
    for queue in ("A", "B"):
        about = [deed for deed, name in deeds if name in {queue, ALL}]
        runs = operator.state(queue, 100.0) is None
        assert runs == (not about or about[-1] == "resume")


def test_words() -> None:
    text = str(stop("drain", when=0.0, until=3600.0))
    assert text == "draining until 1970-01-01 01:00 UTC by ada since 1970-01-01 00:00 UTC: a reason"
