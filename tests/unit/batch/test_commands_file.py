"""A pilot's script as a file: who can read it, how long it lies there."""

import stat
from contextlib import suppress
from pathlib import Path

import pytest

from autopyfactory.batch.commands_file import script_file
from autopyfactory.batch.commands_words import NewPilot, Tags
from autopyfactory.errors import Ambiguous, Refused
from tests.unit.batch.slurm_stand_in import Bed


def job(home: Path, user: str = "") -> NewPilot:
    order = Bed(home).order(submit_user=user)
    order.log_dir.mkdir()
    return NewPilot(order, Tags("F1", cid="abc.0"), "echo pilot\n")


@pytest.mark.parametrize(("user", "mode"), [("", 0o600), ("pilot", 0o644)])
def test_one_that_stays_is_for_the_pilots_account_alone(tmp_path: Path, user: str, mode: int) -> None:
    with script_file(job(tmp_path, user), stays=True) as lent:
        pass
    assert lent.file == tmp_path / "logs/abc.0.sh"
    assert (stat.S_IMODE(lent.file.stat().st_mode), lent.file.read_text()) == (mode, "echo pilot\n")


@pytest.mark.parametrize("fault", [Refused("no"), Ambiguous("silence")])
def test_only_a_refused_pilot_needs_it_no_more(tmp_path: Path, fault: Exception) -> None:
    with suppress(type(fault)), script_file(job(tmp_path), stays=True) as lent:
        raise fault
    assert lent.kept.exists() == isinstance(fault, Ambiguous)


def test_what_somebody_else_has_put_there_is_not_written_to(tmp_path: Path) -> None:
    one = job(tmp_path)
    one.kept.symlink_to(tmp_path / "victim")
    with pytest.raises(Refused, match="cannot write the script of a pilot"), script_file(one, stays=True):
        pass
    assert not (tmp_path / "victim").exists()


def test_one_that_is_lent_is_gone_afterwards(tmp_path: Path) -> None:
    with script_file(job(tmp_path), stays=False) as lent:
        assert lent.file is not None
        assert lent.file.read_text() == "echo pilot\n"
    assert not lent.file.exists()
