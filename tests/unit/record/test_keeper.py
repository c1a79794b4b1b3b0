"""The keeper of the decision record harms nobody: lost, locked, broken, full or hung."""

import logging
import sqlite3
import threading
from pathlib import Path

import pytest

from autopyfactory.record import keeper as module
from autopyfactory.record.book import Record, Writer
from autopyfactory.record.keeper import FORGET_S, Keeper
from autopyfactory.record.paper import paper
from tests.unit.record.test_book import START, read, report
from tests.unit.world import ManualClock


class Still(Keeper):
    """A keeper without a thread: a test calls `flush`."""

    def __init__(self, path: Path, clock: ManualClock, keep: float = 86400.0, bound: int = 5000) -> None:
        super().__init__(path, clock, keep, bound=bound)
        self._thread = threading.Thread(target=lambda: None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_its_thread_writes_what_it_is_given(path: Path, clock: ManualClock) -> None:
    keeper = Keeper(path, clock, 86400.0)
    for k in range(5):
        keeper.put(report(START + 60 * k, k))
    keeper.stop(10.0)
    assert len(read(path)) == 5
    keeper.put(report(START + 600))
    assert len(read(path)) == 5


def test_nothing_is_kept_where_nothing_is_wanted(path: Path, clock: ManualClock) -> None:
    keeper = Keeper(path, clock, 0.0)
    keeper.put(report(START))
    keeper.stop(1.0)
    assert not path.exists()
    keeper = Still(path, clock, 0.0)
    keeper.keep(60.0)
    keeper.put(report(START))
    assert keeper.flush()
    assert len(read(path)) == 1


def test_what_is_too_old_goes(path: Path, clock: ManualClock) -> None:
    keeper = Still(path, clock, keep=3 * FORGET_S)
    for _ in range(10):
        keeper.put(report(clock.at, int(clock.at) % 7))
        keeper.flush()
        clock.at += FORGET_S
    assert [one.report.at for one in read(path)][-1] == START + 6 * FORGET_S


@pytest.mark.parametrize("damage", ["text", "form", "table", "pages"])
def test_a_broken_file_is_moved_aside(
    path: Path, clock: ManualClock, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Still(path, clock)
    keeper.put(report(START))
    keeper.flush()
    keeper._close()
    _damage(path, damage)
    keeper.put(report(START + 60, 5))
    assert not keeper.flush()
    assert keeper.flush()
    assert [one.report.at for one in read(path)] == [START + 60]
    assert path.with_name("decisions.sqlite.broken").exists()
    assert len(warnings(caplog)) == 1
    assert "moved to" in warnings(caplog)[0]


def _damage(path: Path, damage: str) -> None:
    if damage == "text":
        path.write_text("this was a database once" * 100)
    elif damage == "pages":
        data = path.read_bytes()
        path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    else:
        base = sqlite3.connect(path)
        base.execute({"form": "PRAGMA user_version = 7", "table": "DROP TABLE cycle"}[damage])
        base.commit()
        base.close()


def test_a_lost_file_is_begun_afresh(path: Path, clock: ManualClock) -> None:
    keeper = Still(path, clock)
    keeper.put(report(START))
    keeper.flush()
    keeper._close()
    path.unlink()
    keeper.put(report(START + 60, 5))
    assert keeper.flush()
    assert len(read(path)) == 1


def test_a_locked_file_is_tried_again(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    real = sqlite3.connect
    monkeypatch.setattr("autopyfactory.record.book.sqlite3.connect", lambda *a, **k: real(*a, **{**k, "timeout": 0.01}))
    keeper = Still(path, clock)
    for k in range(3):
        keeper.put(report(START + 60 * k, k))
        assert not keeper.flush()
    assert len(warnings(caplog)) == 1
    other.execute("ROLLBACK")
    other.close()
    assert keeper.flush()
    assert [one.report.at for one in reversed(read(path))] == [START, START + 60, START + 120]
    with Record(path) as record:
        assert record.queues == ["Q"]


def test_a_full_disk_costs_one_warning(path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Still(path, clock)
    keeper.put(report(START))
    keeper.flush()
    assert keeper._writer is not None
    keeper._writer._base.execute("PRAGMA max_page_count = 8")
    for k in range(100):
        keeper.put(report(START + 60 * k, k))
    assert not keeper.flush()
    assert "disk is full" in warnings(caplog)[0]
    assert keeper.flush()
    assert len(read(path)) == 100
    assert len(warnings(caplog)) == 1


def test_what_waits_is_bounded(tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gone" / "decisions.sqlite"
    keeper = Still(path, clock, bound=4)
    for k in range(6):
        keeper.put(report(START + 60 * k, k))
        assert not keeper.flush()
    assert len(warnings(caplog)) == 1
    path.parent.mkdir()
    assert keeper.flush()
    assert [one.report.at for one in reversed(read(path))] == [START + 60 * k for k in range(2, 6)]


def test_a_bug_costs_one_queues_cycles_of_the_batch_only(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Still(path, clock)
    monkeypatch.setattr(module, "paper", lambda one: paper(one) if one.queue != "BAD" else 1 / 0)
    for queue in ("Q", "BAD", "R", "BAD"):
        keeper.put(report(START, queue=queue))
    assert not keeper.flush()
    [said] = warnings(caplog)
    assert "a bug in keeping 2 cycles of BAD, they are not in the record" in said
    assert [len(read(path, queue)) for queue in ("Q", "BAD", "R")] == [1, 0, 1]
    monkeypatch.undo()
    keeper.put(report(START + 60, queue="BAD"))
    assert keeper.flush()
    assert len(read(path, "BAD")) == 1
