"""A batch system that hides the jobs of one account from another: its silence is no end."""

from pathlib import Path
from typing import Any

import pytest

from autopyfactory.batch.commands_pilots import HIDDEN, VANISHED
from autopyfactory.batch.source import DOUBT, PilotSource
from autopyfactory.ledger import Ledger, Outcome
from tests.unit.batch.slurm_stand_in import Bed


def test_pilots_of_an_account_that_is_never_shown_have_not_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(2, submit_user="pilot"))
    jobs, bed.slurm.jobs = bed.slurm.jobs, {}
    for _ in range(4):
        assert bed.poll().ended == ()
    assert bed.batch.ended(frozenset({"s1"})) == frozenset()
    told = [record.message for record in caplog.records if "shows no job of the account pilot" in record.message]
    assert len(told) == 1

    bed.slurm.jobs = {1: jobs[1]}
    report = bed.poll()
    assert [group.count for group in report.groups] == [1]
    assert [end.fault for end in report.ended] == [VANISHED]


def test_once_shown_is_enough(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(submit_user="pilot"))
    assert bed.counts() == {"pending": 1}
    bed.batch.submit(bed.order(name="s2", submit_user="pilot"))
    bed.slurm.jobs.clear()
    bed.poll()
    assert len(bed.poll().ended) == 2


def test_a_new_start_does_not_wait_for_what_ended_meanwhile(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(submit_user="pilot"))
    bed.poll()
    bed.slurm.jobs.clear()
    bed.restart()
    bed.poll()
    assert len(bed.poll().ended) == 1


def test_a_new_start_does_not_take_hidden_pilots_for_ended(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(2, submit_user="pilot"))
    jobs, bed.slurm.jobs = bed.slurm.jobs, {}
    bed.poll()
    bed.restart()
    for _ in range(3):
        assert bed.poll().ended == ()
    bed.slurm.jobs = jobs
    assert bed.counts() == {"pending": 2}


def test_hidden_pilots_stay_in_flight(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed(tmp_path)
    ledger = Ledger(tmp_path / "submissions.jsonl", bed.clock)

    jobs: dict[int, dict[str, Any]] = {}

    def source() -> PilotSource:
        return PilotSource("slurm", bed.batch, ledger, bed.clock, interval=30.0, max_age=300.0, deadline=20.0)

    def submit(count: int) -> None:
        name = ledger.open("Q", "slurm", count, waiting=0, in_flight=0)
        bed.batch.submit(bed.order(count, name=name, submit_user="pilot"))
        ledger.close(name, Outcome.ACCEPTED, count)
        jobs.update(bed.slurm.jobs)
        bed.slurm.jobs.clear()

    def seen(one: PilotSource, later: float) -> tuple[int, bool]:
        """Return how many are in flight and whether the queue is blocked after a time, with polls in between."""
        for _ in range(int(later / 60)):
            bed.clock.time += 60
            snapshot = one.snapshot()
        return one.counts("Q", snapshot).in_flight, bool(one.doubt("Q", snapshot))

    one = source()
    submit(5)
    assert seen(one, HIDDEN - 120) == (5, True)
    assert seen(one, 240) == (5, False)
    submit(1)
    assert seen(one, 120) == (6, True), "one an hour"
    assert seen(one, HIDDEN) == (6, False)
    bed.restart()
    one = source()
    assert seen(one, 60) == (6, False), "with the first answer after a start"
    assert "given up" not in caplog.text
    bed.slurm.jobs = {1: jobs[1]}
    assert seen(one, 240) == (1, False)
    assert HIDDEN <= DOUBT
