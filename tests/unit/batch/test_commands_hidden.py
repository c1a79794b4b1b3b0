"""A batch system that hides the jobs of one account from another: its silence is no end."""

from pathlib import Path

import pytest

from autopyfactory.batch.commands_pilots import VANISHED
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
