"""The numbers of sources in the names of their pilots."""

from pathlib import Path
from typing import ClassVar

import pytest

from autopyfactory.config.fields import Options
from autopyfactory.config.models import Section
from autopyfactory.positions import FILE, Positions


class ScheddOptions(Options):
    place: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    interval: int = 30


def schedds(*names: str, **addresses: str) -> dict[str, Section]:
    """Return sections by key: of these names and addresses, or of names that are addresses too."""
    found = {name: name for name in names} | addresses
    return {key: Section("schedd", key, ScheddOptions(name=address)) for key, address in found.items()}


@pytest.fixture
def positions(tmp_path: Path) -> Positions:
    return Positions(tmp_path)


def test_the_first_sections_go_by_their_order(positions: Positions, tmp_path: Path) -> None:
    assert positions.of(schedds("a", "b")) == {"a": 0, "b": 1}
    assert Positions(tmp_path).of(schedds("a", "b")) == {"a": 0, "b": 1}


def test_what_comes_moves_or_goes_changes_no_number(positions: Positions) -> None:
    positions.of(schedds("a", "b"))
    assert positions.of(schedds("c", "b", "a")) == {"c": 2, "b": 1, "a": 0}
    assert positions.of(schedds("b")) == {"b": 1}
    assert positions.of(schedds("d", "a")) == {"d": 3, "a": 0}, "no number is given twice"


def test_a_number_stays_with_the_schedd_whose_pilots_have_it(positions: Positions) -> None:
    positions.of(schedds(a="x", b="y"))
    assert positions.of(schedds(a="y", b="x")) == {"a": 1, "b": 0}
    assert positions.of(schedds(a="x", b="z")) == {"a": 0, "b": 2}


def test_a_schedd_whose_address_is_corrected_keeps_its_number(positions: Positions) -> None:
    positions.of(schedds(a="x", b="y"))
    assert positions.of(schedds(a="x.example.org", b="y")) == {"a": 0, "b": 1}


def test_a_section_with_another_name_keeps_its_number(positions: Positions) -> None:
    positions.of(schedds(a="x", b="y"))
    assert positions.of(schedds(new="z", c="x", b="y")) == {"new": 2, "c": 0, "b": 1}
    assert positions.of(schedds(a="x", c="x")) == {"a": 3, "c": 0}, "not while the other is there"


def test_sources_that_do_not_tell_their_place_go_by_name(positions: Positions) -> None:
    def forks(*names: str) -> dict[str, Section]:
        return {name: Section("fork", name, Options()) for name in names}

    positions.of(forks("a"))
    assert positions.of(forks("b")) == {"b": 1}
    assert positions.of(forks("a", "b")) == {"a": 0, "b": 1}


def test_one_that_looks_writes_nothing(tmp_path: Path) -> None:
    assert Positions(tmp_path, looking=True).of(schedds("a")) == {"a": 0}
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("text", ["[", "{}", "[[1, 2]]", "nonsense"])
def test_a_damaged_file_is_told_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert Positions(tmp_path).of(schedds("a", "b")) == {"a": 0, "b": 1}
    assert f"{tmp_path / FILE} is damaged, remove it; until then" in caplog.text
    assert (tmp_path / FILE).read_text() == text


def test_a_full_disk_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Positions(tmp_path / "none").of(schedds("a", "b")) == {"a": 0, "b": 1}
    assert "No such file" in caplog.text
