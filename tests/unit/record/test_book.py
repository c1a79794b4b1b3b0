"""The file of the decision record: what is written is read again, whole, also packed, and by others."""

import os
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autopyfactory.model import JobCount, PilotCounts, Site, Submitted
from autopyfactory.record import book
from autopyfactory.record.book import Record, RecordError, Writer, aside
from autopyfactory.record.packing import packed, unpacked
from autopyfactory.record.paper import Recorded, ages, paper, recorded
from autopyfactory.report import Blocked, CycleReport, Decision, Input, Step, Stuck

START = 1_790_000_000.0


def report(at: float, running: int = 3, *, queue: str = "Q", submitted: int = 0, age: float = 12.0) -> CycleReport:
    return CycleReport(
        queue,
        at,
        Decision(
            submitted,
            (Step("ready", 0, submitted, "40 activated", {"activated": 40}), Step("x", 0, 0, "y", {}, "MCORE")),
            {"MCORE": submitted},
        ),
        pilots=PilotCounts(running=running),
        activated=40,
        submitted=(Submitted("s", tuple("x" * submitted)),) if submitted else (),
        wmsqueue="W",
        endpoint="ce, other",
        interval=60.0,
        inputs=(Input("pilots", "schedd ap1", age), Input("demand", "wms panda", 100.0)),
        jobs=(JobCount("MCORE", "managed", {"activated": 40, "running": 7}),),
        site=Site("online", 8),
        siblings=("R",),
        words={"INLRMS:Q": 2},
    )


def write(path: Path, reports: Sequence[CycleReport], *, forget: float | None = None) -> None:
    writer = Writer(path)
    writer.write([(one.queue, one.at, one.interval, ages(one), paper(one)) for one in reports], forget=forget)
    writer.close()


def read(path: Path, queue: str = "Q", at: float = START + 1e9) -> list[Recorded]:
    with Record(path) as record:
        return list(record.back(queue, at))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


def test_a_cycle_comes_back_whole(path: Path) -> None:
    blocked = CycleReport("Q", START + 60, blocked=Blocked("no", outage=True, cause="pilots"), error="e", dry_run=True)
    write(path, [report(START, submitted=2), blocked])
    [newest, first] = read(path)
    assert newest == Recorded(blocked, START + 60)
    assert first.submitted == 2
    expected = report(START, submitted=2)
    assert first.report.decision == expected.decision
    assert first.report.jobs == expected.jobs
    assert (first.report.inputs, first.report.site) == (expected.inputs, expected.site)
    assert (first.report.siblings, first.report.interval) == (("R",), 60.0)
    assert first.report.words == {"INLRMS:Q": 2}


@pytest.mark.parametrize(
    "cell",
    [
        JobCount("", "", {}),
        JobCount("MCORE", "", {"activated": 1}, cores=16),
        JobCount("SCORE", "", {"activated": 1}, share="Express"),
        JobCount("SCORE", "managed", {"activated": 1}, "A", cores=4, share="Test"),
    ],
)
def test_a_cell_comes_back_with_its_cores_and_share(cell: JobCount) -> None:
    """Two cells that differ in nothing else must not become the same."""
    site = Site("online", None, {"A": "offline", "B": "online"})
    cycle = CycleReport("Q", START, Decision(0), jobs=(cell,), site=site)
    assert recorded("Q", START, START, "", paper(cycle)).report == cycle


def test_what_is_wrong_with_pilots_comes_back() -> None:
    stuck = (Stuck(20, "ce1", "unreachable", START), Stuck(1, "", "paused", START + 7))
    cycle = CycleReport("Q", START, Decision(0), note="40 held: 40 x 'no space'", stuck=stuck)
    assert recorded("Q", START, START, "", paper(cycle)).report == cycle
    assert paper(replace(cycle, at=START + 60)) == paper(cycle), "it does not change from cycle to cycle"


def test_a_cycle_of_an_older_version_is_read() -> None:
    text = (
        '{"steps":[],"count":0,"jobs":[["SCORE","managed",{"activated":4},"A"],["","",{}]],"site":["online",8],'
        '"from":[],"of":["A","","",60.0]}'
    )
    found = recorded("Q", START, START, "", text).report
    assert found.jobs == (JobCount("SCORE", "managed", {"activated": 4}, "A"), JobCount("", "", {}))
    assert found.site == Site("online", 8)


def test_equal_cycles_are_one_that_lasts(path: Path) -> None:
    write(path, [report(START + 60 * k, age=k) for k in range(10)])
    [one] = read(path)
    assert (one.report.at, one.until) == (START, START + 540)
    assert one.report.inputs[0].age == 9
    with Record(path) as record:
        assert record.last() == record.last("Q") == START + 540
        assert record.last("other") is None


@pytest.mark.parametrize("later", [300.0, 7200.0])
def test_a_gap_ends_a_run(path: Path, later: float) -> None:
    """Between two cycles that say the same nobody knows what was, if one was due in between."""
    write(path, [report(START), report(START + later)])
    assert [one.until for one in read(path)] == [START + later, START]


def test_another_process_begins_a_run_of_its_own(path: Path) -> None:
    write(path, [report(START), report(START + 60)])
    write(path, [report(START + 120)])
    assert [(one.report.at, one.until) for one in read(path)] == [(START + 120, START + 120), (START, START + 60)]


def test_packed_cycles_are_read_like_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "PACK", 7)
    dice = random.Random(1)
    told = [report(START + 60 * k, dice.randint(0, 5), queue=f"Q{k % 2}") for k in range(100)]
    for k in range(0, 100, 9):
        write(path, told[k : k + 9])
    with Record(path) as record:
        for queue in ("Q0", "Q1"):
            mine = [one for one in told if one.queue == queue]
            back = list(record.back(queue, START + 1e6))
            assert list(reversed(back)) == list(record.forward(queue, 0, START + 1e6))
            for one in mine:
                found = record.at(queue, one.at + 1)
                assert found is not None
                assert found.report.pilots == one.pilots
                assert found.report.at <= one.at <= found.until
        some = list(record.forward("Q0", START + 1000, START + 2000))
        assert some[0].until >= START + 1000
        assert some[-1].report.at <= START + 2000
        assert record.first() == START


def test_a_clock_that_was_set_back_over_a_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "PACK", 4)
    write(path, [report(START + 60 * k, k) for k in range(4)])
    write(path, [report(START - 600 + 60 * k, k) for k in range(7)])
    write(path, [report(START + 600 + 60 * k, k) for k in range(7)])
    began = [one.report.at - START for one in reversed(read(path))]
    assert began == [*range(-600, -180, 60), 0, 60, 120, 180, *range(600, 1020, 60)]


def test_what_is_old_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "PACK", 4)
    write(path, [report(START + 60 * k, k, queue=queue) for k in range(20) for queue in ("Q", "R")])
    write(path, [report(START + 60 * k, k) for k in range(20, 30)], forget=START + 60 * 25)
    with Record(path) as record:
        assert list(record.back("R", START + 1e6)) == []
        kept = list(record.back("Q", START + 1e6))
        assert kept[0].until == START + 60 * 29
        assert kept[-1].until >= START + 60 * 20


def test_it_is_read_while_it_is_written(path: Path) -> None:
    writer = Writer(path)
    for k in range(3):
        one = report(START + 60 * k, k)
        writer.write([("Q", one.at, 60.0, ages(one), paper(one))])
        assert len(read(path)) == k + 1
    writer.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_no_trace(path: Path) -> None:
    writer = Writer(path)
    good = report(START)
    row = ("Q", START, 60.0, ages(good), paper(good))
    with pytest.raises(sqlite3.Error):
        writer.write([row, ("R", START, 60.0, object(), "")])  # type: ignore[list-item]
    writer.write([row])
    writer.close()
    assert len(read(path)) == 1
    with Record(path) as record:
        assert record.queues == ["Q"]


def test_what_cannot_be_read_says_so(path: Path) -> None:
    with pytest.raises(RecordError, match="there is no decision record"):
        Record(path)
    path.write_text("no database at all, but long enough to be taken for one by its size" * 40)
    with pytest.raises(RecordError, match="cannot be read"):
        Record(path)
    assert aside(path).name == "decisions.sqlite.broken"
    write(path, [report(START)])
    base = sqlite3.connect(path)
    base.execute("UPDATE cycle SET paper = '{}'")
    base.commit()
    base.close()
    with pytest.raises(RecordError, match="a cycle of Q cannot be read"):
        read(path)
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 9")
    base.close()
    with pytest.raises(RecordError, match="has the form 9"):
        Record(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another account")
@pytest.mark.parametrize("writing", [True, False])
def test_another_account_reads_it(path: Path, writing: bool) -> None:
    path.parent.chmod(0o755)
    for folder in path.parents[1:4]:
        folder.chmod(folder.stat().st_mode | 0o011)
    writer = Writer(path)
    one = report(START)
    writer.write([("Q", one.at, 60.0, ages(one), paper(one))])
    if not writing:
        writer.close()
    os.seteuid(65534)
    try:
        assert len(read(path)) == 1
    finally:
        os.seteuid(0)
        writer.close()


def test_packing_gives_back_what_it_got() -> None:
    lines = ["a 1 b 02 c 3.50", "x", "a 5 b 02 c 9.50", "", "1790000000.1 12:05:09 -3 99999999999999999999", "9", "10"]
    assert unpacked(packed(lines)) == lines
    with pytest.raises(ValueError, match="format"):
        unpacked(b"nothing")
