"""Credential files on a disk."""

import os
from pathlib import Path

import pytest

from autopyfactory.credentials import Validity
from autopyfactory.credentials.files import Files
from tests.testbed import papers
from tests.unit.world import START


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return papers.write(tmp_path / "token", papers.token(exp=START))


def test_a_file_is_read_when_it_has_changed(path: Path) -> None:
    files = Files()
    first = files.look("token", path)
    assert first.validity == Validity(None, START)
    assert files.look("token", path) is first
    path.write_bytes(papers.token(exp=START + 60))
    os.utime(path, (1, 1))
    assert files.look("token", path).validity == Validity(None, START + 60)
    fresh = papers.write(path.with_name("new"), papers.token(exp=START + 90))
    fresh.replace(path)
    assert files.look("token", path).validity == Validity(None, START + 90)
    path.unlink()
    assert files.look("token", path).fault == "does not exist, make it or correct the path"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        assert Files().look("proxy", tmp_path / name).fault == "is no file, correct the path"


def test_a_file_that_others_can_read_is_a_warning(path: Path) -> None:
    assert Files().look("token", path).warning == ""
    path.chmod(0o644)
    assert Files().look("token", path).warning == "has mode 0644, keep other accounts out: chmod 600 it"
    path.chmod(0o640)
    assert Files().look("token", path).warning == "", "a group may be meant to read it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_somebody_else(path: Path) -> None:
    path.chmod(0)
    assert "Permission denied (it belongs to" in Files().look("token", path).fault


def test_a_path_that_leads_nowhere(path: Path) -> None:
    assert "Not a directory" in Files().look("token", path / "below").fault
    assert "is wrong" not in Files().look("proxy", path).fault
    assert Files().look("proxy", path).fault.startswith("holds no certificate")
