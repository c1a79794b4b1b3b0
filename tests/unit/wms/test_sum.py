"""Sums of sources."""

import pytest

from autopyfactory.config.models import Section
from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.wms.parts import parts_of, with_parts
from autopyfactory.wms.static import Static, StaticOptions
from autopyfactory.wms.sum import Sum, SumOptions
from tests.unit.wms.fakes import FakeClock


class Old(Static):
    """Counts of an hour ago, or none at all."""

    down = False

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        if self.down:
            raise SourceError(self.name, "503")
        found = super().jobs(wmsqueue)
        return Snapshot(found.value, found.source, found.began - 5, found.speaks_of - 3600)


def test_a_sum() -> None:
    clock = FakeClock()
    new = Static("new", StaticOptions(jobs="A:3, X:20", status="test"), clock)
    old = Old("old", StaticOptions(activated=4), clock)
    one = Sum("both", SumOptions(of="new, old, new:X"), clock, parts={"new": new, "old": old})
    heard = one.jobs("A")
    assert sum(cell.activated for cell in heard.value) == 27
    assert (heard.source, heard.began, heard.speaks_of) == ("wms both", clock.now() - 5, clock.now() - 3600)
    assert one.site("A").value == Site("test")
    with pytest.raises(UnknownWmsqueue):
        one.jobs("B")
    old.down = True
    with pytest.raises(SourceError, match="wms old: 503"):
        one.jobs("A")
    one.close()


def test_the_commands_of_the_parts() -> None:
    class Shown(Static):
        def shows(self, wmsqueue: str) -> list[str]:
            return [f"show {wmsqueue}"]

    clock = FakeClock()
    parts = {"a": Static("a", StaticOptions(activated=4), clock), "b": Shown("b", StaticOptions(activated=4), clock)}
    assert Sum("both", SumOptions(of="a, b, b:Q, b:X"), clock, parts=parts).shows("Q") == ["show Q", "show X"]


@pytest.mark.parametrize("of", ["", " , ", ":A"])
def test_what_names_no_section(of: str) -> None:
    with pytest.raises(ValueError, match="no section"):
        SumOptions(of=of)


@pytest.mark.parametrize("of", ["a, b, a", "a:Q, a : Q"])
def test_no_part_is_added_twice(of: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        SumOptions(of=of)


def sums(**of: str) -> dict[str, Section]:
    return {name: Section("wms", name, SumOptions(of=words)) for name, words in of.items()}


def test_parts_come_first_and_circles_are_found() -> None:
    sections = sums(a="b:x, c, b:y", b="d")
    assert with_parts(["c", "a"], sections) == ["c", "d", "b", "a"]
    assert parts_of(sections["a"]) == ("b", "c")
    assert parts_of(None) == ()
    with pytest.raises(ValueError, match=r"it is made of itself \(b > d > b\), take one of them out"):
        with_parts(["a"], sections | sums(d="b"))
