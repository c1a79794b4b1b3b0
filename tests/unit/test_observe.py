"""What a queue asks a WMS, with one wmsqueue and with several."""

from typing import ClassVar, TypeVar

import pytest

from autopyfactory.config.fields import Options
from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.observe import ask_jobs, ask_site, served

T = TypeVar("T")
CELL = JobCount("", "", {"activated": 4})


class Table:
    """A WMS of three wmsqueues, of which each speaks of another time."""

    Options: ClassVar[type[Options]] = Options

    def __init__(self, **statuses: str) -> None:
        self.statuses = statuses
        self.asked = 0

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        return self._found(wmsqueue, (CELL,))

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        return self._found(wmsqueue, Site(self.statuses.get(wmsqueue, ""), {"A": None, "B": 8, "C": 16}.get(wmsqueue)))

    def close(self) -> None:
        pass

    def _found(self, wmsqueue: str, value: T) -> Snapshot[T]:
        self.asked += 1
        if wmsqueue not in self.statuses:
            raise UnknownWmsqueue(f"no {wmsqueue}")
        if self.statuses[wmsqueue] == "down":
            raise SourceError("wms", "503")
        at = float("ABC".index(wmsqueue))
        return Snapshot(value, "wms", 100 - at, 50 - at)


def test_one_wmsqueue_is_asked_for_as_it_is() -> None:
    wms = Table(A="test")
    assert ask_jobs(wms, ["A"], ["A"]) == Snapshot((CELL,), "wms", 100, 50)
    assert ask_site(wms, ["A"], ["A"]) == Snapshot(Site("test"), "wms", 100, 50)
    assert isinstance(ask_jobs(wms, ["X"], ["X"]), UnknownWmsqueue)


def test_several_are_added_and_as_old_as_the_oldest() -> None:
    found = ask_jobs(Table(A="online", B="online", C="online"), ["A", "B"], ["A", "B", "C"])
    assert isinstance(found, Snapshot)
    assert [(cell.wmsqueue, cell.activated) for cell in found.value] == [("A", 4), ("B", 4), ("C", 4)]
    assert (found.began, found.speaks_of) == (99, 49), "of what is its own"


@pytest.mark.parametrize("status", ["down", "missing"])
def test_its_own_must_be_known_those_of_siblings_need_not(status: str) -> None:
    statuses = {"A": "online", "B": "online"} | ({"C": "down"} if status == "down" else {})
    wms = Table(**statuses)
    found, site = ask_jobs(wms, ["A", "B"], ["C"]), ask_site(wms, ["A", "B"], ["C"])
    assert isinstance(found, Snapshot)
    assert len(found.value) == 2
    assert isinstance(site, Snapshot)
    assert site.value.statuses == {"A": "online", "B": "online"}
    for own in (["A", "C"], ["C", "A"]):
        assert isinstance(ask_jobs(wms, own, []), SourceError | UnknownWmsqueue)
        assert isinstance(ask_site(wms, own, []), SourceError | UnknownWmsqueue)


@pytest.mark.parametrize(
    ("statuses", "status", "cores", "counted"),
    [
        (("online", "online", "online"), "online", 8, "ABC"),
        (("test", "online", "online"), "online", 8, "aBC"),
        (("offline", "online", "test"), "online", 8, "Bc"),
        (("test", "offline", "online"), "test", None, "aC"),
        (("offline", "paused", "online"), "offline", None, "ABC"),
        (("strange", "online", "online"), "strange", None, "BC"),
        (("online", "brokeroff", "strange"), "online", None, "AB"),
    ],
)
def test_the_site_that_serves_best_decides(
    statuses: tuple[str, str, str], status: str, cores: int | None, counted: str
) -> None:
    wms = Table(**dict(zip("ABC", statuses, strict=True)))
    jobs, site = ask_jobs(wms, ["A", "B"], ["C"]), ask_site(wms, ["A", "B"], ["C"])
    assert isinstance(jobs, Snapshot)
    assert isinstance(site, Snapshot)
    assert (site.value.status, site.value.cores) == (status, cores)
    cells = served(jobs.value, site.value)
    assert "".join(cell.wmsqueue.lower() if cell.testing else cell.wmsqueue for cell in cells) == counted


def test_one_site_leaves_the_cells_to_the_gates() -> None:
    assert served([CELL], None) == served([CELL], Site("offline")) == [CELL]
    assert served([CELL], Site("test"))[0].testing
