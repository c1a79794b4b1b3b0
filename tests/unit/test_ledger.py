"""The memory of submissions: crashes, torn lines, full disks, and a file that stays small."""

import errno
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory import ledger as module
from autopyfactory.errors import ConfigError
from autopyfactory.ledger import KEEP, Ledger, Outcome
from tests.unit.world import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "submissions.jsonl"


def submit(ledger: Ledger, count: int = 5, queue: str = "Q", outcome: Outcome = Outcome.ACCEPTED, **seen: int) -> str:
    name = ledger.open(queue, "pool", count, waiting=seen.get("waiting", 0), in_flight=seen.get("in_flight", 0))
    if outcome is not Outcome.OPEN:
        ledger.close(name, outcome, count)
    return name


def outcomes(ledger: Ledger, queue: str = "Q") -> list[tuple[Outcome, int]]:
    return [(entry.outcome, entry.count) for entry in ledger.of_queue(queue)]


def fill(path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Leave so many characters of room on the disk."""
    real = Path.open

    class Full(io.TextIOWrapper):
        def write(self, text: str) -> int:
            super().write(text[:room])
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(self: Path, mode: str = "r", **words: Any) -> Any:
        return real(self, mode, **words) if self != path else Full(real(self, mode + "b"), **words)

    monkeypatch.setattr(Path, "open", open_full)


def test_a_submission_through_its_life(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    name = submit(ledger, 5, outcome=Outcome.OPEN, waiting=3, in_flight=7)
    assert outcomes(ledger) == [(Outcome.OPEN, 5)]
    clock.at += 2
    ledger.close(name, Outcome.ACCEPTED, 4)
    assert [entry.id for entry in ledger.unsettled("pool")] == [name]
    assert ledger.unsettled("other") == []
    ledger.settle(name, 4, clock.at)
    assert ledger.unsettled("pool") == []
    entry = ledger.of_queue("Q")[0]
    assert (entry.outcome, entry.count, entry.waiting, entry.in_flight) == (Outcome.SETTLED, 4, 3, 7)
    assert entry.ended - entry.began == 2
    assert ledger.mine(name)
    assert not ledger.mine("another")


def test_settling_twice_or_a_stranger_does_nothing(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    name = submit(ledger)
    ledger.settle(name, 3, clock.at)
    ledger.settle(name, 9, clock.at)
    ledger.settle("stranger", 9, clock.at)
    assert outcomes(ledger) == [(Outcome.SETTLED, 3)]


def test_names_are_unique_and_sort_by_time(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    names = {submit(ledger, outcome=Outcome.OPEN) for _ in range(200)}
    assert len(names) == 200
    clock.at += 1
    assert submit(ledger) > max(names)


def test_a_crash_between_intent_and_answer_is_ambiguous(path: Path, clock: ManualClock) -> None:
    name = submit(Ledger(path, clock), 5, outcome=Outcome.OPEN)
    clock.at += 300
    again = Ledger(path, clock)
    entry = again.of_queue("Q")[0]
    assert (entry.id, entry.outcome, entry.count) == (name, Outcome.AMBIGUOUS, 5)
    assert entry.ended == clock.at, "it may have been handed over just before the end: the wait begins now"
    assert [entry.id for entry in again.unsettled("pool")] == [name]


def test_what_had_an_answer_keeps_it(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    submit(ledger, 5)
    submit(ledger, 6, outcome=Outcome.AMBIGUOUS)
    ledger.settle(submit(ledger, 7), 7, clock.at)
    before = ledger.of_queue("Q")
    assert Ledger(path, clock).of_queue("Q") == before


def test_a_clock_that_was_set_back_puts_nothing_into_the_future(path: Path, clock: ManualClock) -> None:
    submit(Ledger(path, clock))
    clock.at -= 7200
    assert Ledger(path, clock).of_queue("Q")[0].ended == clock.at


def test_broken_lines_cost_only_themselves(path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(path, clock)
    submit(ledger, 5)
    broken = ["{", "null", "[]", '"x"', "{}", '{"id": 1}', "\x00\x00", '{"outcome": "open"}']
    good = path.read_text().splitlines()
    values = json.loads(good[-1])
    broken += [json.dumps(values | {"ended": "yesterday"}), json.dumps(values | {"outcome": "lost"})]
    path.write_bytes("\n".join([*broken, *good, "", good[-1][:40]]).encode() + b"\xff\xfe")
    again = Ledger(path, clock)
    assert outcomes(again) == [(Outcome.ACCEPTED, 5)]
    assert len(caplog.records) == len(broken) + 1
    assert all("skipped a broken line" in record.message for record in caplog.records)


def test_a_line_of_a_later_version_is_understood(path: Path, clock: ManualClock) -> None:
    submit(Ledger(path, clock))
    values = json.loads(path.read_text().splitlines()[-1]) | {"colour": "blue"}
    path.write_text(json.dumps(values) + "\n")
    assert outcomes(Ledger(path, clock)) == [(Outcome.ACCEPTED, 5)]


def test_a_full_disk_refuses_to_begin(path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(path, clock)
    with monkeypatch.context() as patch:
        fill(path, patch, 30)
        with pytest.raises(OSError, match="No space"):
            submit(ledger)
    assert ledger.of_queue("Q") == []


def test_a_line_cut_by_a_full_disk_does_not_take_the_next_one_along(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(path, clock)
    with monkeypatch.context() as patch:
        fill(path, patch, 30)
        with pytest.raises(OSError, match="No space"):
            submit(ledger)
    name = submit(ledger, 5, outcome=Outcome.OPEN)
    submit(ledger, 6)
    again = Ledger(path, clock)
    assert outcomes(again) == [(Outcome.AMBIGUOUS, 5), (Outcome.ACCEPTED, 6)]
    assert again.mine(name)


def test_an_answer_that_cannot_be_written_is_kept_in_memory(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(path, clock)
    name = submit(ledger, 5, outcome=Outcome.OPEN)
    with monkeypatch.context() as patch:
        fill(path, patch, 0)
        ledger.close(name, Outcome.ACCEPTED, 5)
    assert outcomes(ledger) == [(Outcome.ACCEPTED, 5)]
    assert "after a restart" in caplog.text
    assert outcomes(Ledger(path, clock)) == [(Outcome.AMBIGUOUS, 5)]


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(ConfigError, match="cannot keep what is submitted: Is a directory"):
        Ledger(tmp_path, clock)
    with pytest.raises(ConfigError, match="No such file"):
        Ledger(tmp_path / "nowhere" / "submissions.jsonl", clock)


def test_bounds_by_the_last_submission_of_each_queue(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    assert ledger.bound("pool") == 0
    assert ledger.most_waiting("Q") == 0
    submit(ledger, 50, waiting=9, in_flight=100)
    submit(ledger, 5, waiting=20, in_flight=30)
    submit(ledger, 7, "R", in_flight=10)
    assert ledger.bound("pool") == 35 + 17
    assert ledger.bound("other") == 0
    assert ledger.most_waiting("Q") == 25


def test_old_settled_ones_are_forgotten_but_each_queues_last(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    old, shown, late, last = (submit(ledger) for _ in range(4))
    for name in (old, shown, last):
        ledger.settle(name, 5, clock.at)
    clock.at += KEEP + 1
    ledger.forget("other", ())
    assert ledger.mine(old)
    ledger.forget("pool", {shown})
    assert [ledger.mine(name) for name in (old, shown, late, last)] == [False, True, True, True]


def test_compaction_keeps_what_matters(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)
    settled = [submit(ledger) for _ in range(3)]
    for name in settled:
        ledger.settle(name, 5, clock.at)
    clock.at += KEEP + 1
    kept = [submit(ledger, k, queue="QRS"[k], outcome=Outcome.AMBIGUOUS) for k in range(3)]
    again = Ledger(path, clock)
    assert [again.mine(name) for name in settled] == [False] * 3
    assert all(again.mine(name) for name in kept)
    assert len(path.read_text().splitlines()) == 3
    assert Ledger(path, clock).unsettled("pool") == again.unsettled("pool")


def test_the_file_stays_within_bounds(path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_LINES", 100)
    ledger, most = Ledger(path, clock), 0
    for _ in range(300):
        ledger.settle(submit(ledger), 5, clock.at)
        clock.at += 60
        ledger.forget("pool", ())
        most = max(most, len(path.read_text().splitlines()))
    assert most <= 100 + 3 + 4 * (KEEP / 60 + 2)
    assert len(ledger.of_queue("Q")) <= KEEP / 60 + 2
    assert len(Ledger(path, clock).of_queue("Q")) == len(ledger.of_queue("Q"))


def test_a_compaction_that_fails_is_a_warning(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SPARE_LINES", 4)
    ledger = Ledger(path, clock)
    names = [submit(ledger) for _ in range(3)]
    for name in names:
        ledger.settle(name, 5, clock.at)
    clock.at += KEEP + 1
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        for _ in range(3):
            ledger.forget("pool", ())
    said = f"{path}: cannot write it anew, it goes on growing: [Errno 28] full"
    assert [record.message for record in caplog.records] == [said]
    submit(ledger)
    assert outcomes(Ledger(path, clock))[-1] == (Outcome.ACCEPTED, 5)


def test_many_threads_lose_nothing(path: Path, clock: ManualClock) -> None:
    ledger = Ledger(path, clock)

    def work(queue: str) -> None:
        for _ in range(20):
            ledger.settle(submit(ledger, queue=queue), 5, clock.at)
            ledger.forget("pool", ())

    threads = [threading.Thread(target=work, args=(f"Q{k}",)) for k in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    again = Ledger(path, clock)
    assert sum(len(again.of_queue(f"Q{k}")) for k in range(10)) == 200


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_damage_to_the_file_is_survived(tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int) -> None:
    clock = ManualClock()
    path = tmp_path_factory.mktemp("ledger") / "submissions.jsonl"
    submit(Ledger(path, clock))
    data = path.read_bytes()
    path.write_bytes(data[:place] + junk + data[place:])
    again = Ledger(path, clock)
    submit(again, queue="R")
    assert outcomes(Ledger(path, clock), "R") == [(Outcome.ACCEPTED, 5)]
