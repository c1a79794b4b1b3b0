"""A new document is kept, a bad or shrunken one is not; the timer asks for each in its own time."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from autopyfactory.cric.document import Unusable
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.refresh import Refresher, SiteCatalogue
from autopyfactory.cric.store import Store
from autopyfactory.http import Answer, NoAnswer
from tests.unit.wms.fakes import FakeClock

URL = CricOptions(url="http://cric/queues.json")


def document(*names: str) -> bytes:
    return json.dumps({name: {"panda_resource": name, "queues": []} for name in names}).encode()


class Site:
    """Answers with what a test put there, by address."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | NoAnswer | int] = {}
        self.asked: list[str] = []

    def get(self, url: str, headers: Mapping[str, str], deadline: float) -> Answer:
        assert headers["Accept"] == "application/json"
        self.asked.append(url)
        page = self.pages.get(url, 404)
        if isinstance(page, NoAnswer):
            raise page
        return Answer(page, {}, b"") if isinstance(page, int) else Answer(200, {}, page)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def catalogue(site: Site, tmp_path: Path) -> SiteCatalogue:
    return SiteCatalogue("lab", URL, tmp_path, get=site.get)


def names(tmp_path: Path, options: CricOptions = URL) -> list[str]:
    kept = Store("lab", options, tmp_path).current()
    return list(kept.document) if kept else []


def test_the_last_good_one_serves(
    catalogue: SiteCatalogue, site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.pages[URL.url] = document("A", "B", "C", "D")
    assert Store("lab", URL, tmp_path).current() is None
    first = catalogue.refresh()
    assert first == catalogue.refresh() != ""
    bad: list[bytes | NoAnswer | int] = [
        b"<html>",
        document("A", "B"),
        503,
        NoAnswer("connection refused"),
        b'{"A": 1}',
    ]
    for page in bad:
        site.pages[URL.url] = page
        assert catalogue.refresh() == first
        assert catalogue.refresh() == first
        assert names(tmp_path) == ["A", "B", "C", "D"]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == len(bad)
    assert "it has 2 queues, the last one had 4: kept out; if that is meant, remove /" in said[1]
    site.pages[URL.url] = document("A", "B", "E")
    assert catalogue.refresh() != first
    assert names(tmp_path) == ["A", "B", "E"]


def test_names_without_their_ces_are_not_believed(catalogue: SiteCatalogue, site: Site, tmp_path: Path) -> None:
    def page(bare: int) -> bytes:
        ce = {"ce_endpoint": "ce1.x.org:9619", "ce_flavour": "HTCONDOR-CE", "ce_state": "ACTIVE"}
        queues = {f"Q{k}": {"panda_resource": f"Q{k}", "queues": [] if k < bare else [ce]} for k in range(12)}
        return json.dumps(queues).encode()

    site.pages[URL.url] = page(0)
    first = catalogue.refresh()
    for bare in (12, 4):
        site.pages[URL.url] = page(bare)
        assert catalogue.refresh() == first
    site.pages[URL.url] = page(3)
    assert catalogue.refresh() != first


def test_another_origin_starts_afresh(catalogue: SiteCatalogue, site: Site, tmp_path: Path) -> None:
    site.pages[URL.url] = document("A", "B", "C")
    assert catalogue.refresh()
    assert names(tmp_path, CricOptions(url="http://other")) == []


def test_a_file(tmp_path: Path) -> None:
    options = CricOptions(file=tmp_path / "cvmfs.json")
    catalogue = SiteCatalogue("lab", options, tmp_path / "state")
    assert not catalogue.refresh()
    (tmp_path / "cvmfs.json").write_bytes(document("A"))
    assert names(tmp_path / "state", options) == ["A"]  # before anything was kept
    assert catalogue.refresh()
    (tmp_path / "cvmfs.json").write_bytes(b"{")
    assert names(tmp_path / "state", options) == ["A"]


def test_a_damaged_store_is_said(tmp_path: Path, catalogue: SiteCatalogue, site: Site) -> None:
    store = Store("lab", URL, tmp_path)
    store.path.parent.mkdir()
    store.path.write_bytes(b"\0\0")
    with pytest.raises(Unusable, match="no JSON"):
        store.current()
    site.pages[URL.url] = document("A")
    assert catalogue.refresh()
    assert names(tmp_path) == ["A"]


def test_one_document_per_queue(site: Site, tmp_path: Path) -> None:
    options = CricOptions(url="http://panda/{queue}.all.json", queues=("A", "B"))
    catalogue = SiteCatalogue("lab", options, tmp_path, get=site.get)
    assert not catalogue.refresh()
    for name in "AB":
        site.pages[f"http://panda/{name}.all.json"] = json.dumps({"nickname": name, "queues": []}).encode()
    first = catalogue.refresh()
    assert first
    site.pages["http://panda/B.all.json"] = 504
    assert catalogue.refresh() == first  # B keeps its last one
    assert names(tmp_path, options) == ["A", "B"]


class Played:
    """A catalogue whose answers a test knows."""

    def __init__(self, name: str, options: CricOptions, state_dir: Path) -> None:
        self.name = name
        self.options = options
        self.looks = 0
        self.closed = False

    def refresh(self) -> str:
        self.looks += 1
        if self.options.url == "http://bug":
            raise ZeroDivisionError
        return "new"

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_each_in_its_own_time(clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refresher, "_run", lambda self: None)
    changes: list[int] = []
    made: dict[str, Played] = {}

    def make(name: str, options: CricOptions, state_dir: Path) -> Played:
        made[name] = Played(name, options, state_dir)
        return made[name]

    on_change: Callable[[], None] = lambda: changes.append(1)  # noqa: E731
    refresher = Refresher(clock, on_change, make=make)  # type: ignore[arg-type]
    sections = {
        "new": CricOptions(url="http://new", refresh=60),
        "bug": CricOptions(url="http://bug", refresh=600),
    }
    refresher.serve(sections, tmp_path, {})
    assert refresher.look() == 60
    assert changes == [1]
    clock.advance(60)
    refresher.serve(sections, tmp_path, {"new": "new"})  # a reload without changes
    assert refresher.look() == 60
    assert changes == [1]
    assert (made["new"].looks, made["bug"].looks) == (2, 1)
    refresher.serve({"bug": sections["bug"]}, tmp_path, {})
    assert made["new"].closed
    refresher.stop()
    assert made["bug"].closed


def test_it_asks_until_the_new_document_is_served(
    clock: FakeClock, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refresher, "_run", lambda self: None)
    asked: list[int] = []
    refresher = Refresher(clock, lambda: asked.append(1), make=partial(SiteCatalogue, get=site.get))
    sections = {"lab": URL}

    def serve() -> None:
        kept = Store("lab", URL, tmp_path).current()
        refresher.serve(sections, tmp_path, {"lab": kept.digest} if kept else {})

    def looks(count: int) -> int:
        before = len(asked)
        for _ in range(count):
            refresher.look()
            clock.advance(URL.refresh)
        return len(asked) - before

    site.pages[URL.url] = document("A")
    Store("lab", URL, tmp_path).keep(document("A"))
    serve()
    assert looks(3) == 0
    site.pages[URL.url] = document("A", "B")
    assert looks(3) == 3  # each reload is refused
    site.pages[URL.url] = 503
    assert looks(2) == 2  # what is kept waits all the same
    serve()
    assert looks(3) == 0
    site.pages[URL.url] = document("A", "C")
    assert looks(1) == 1
    site.pages[URL.url] = document("A", "B")  # what is served all along
    assert looks(2) == 0


def test_a_kept_document_that_somebody_removes_is_none_until_the_site_answers(
    catalogue: SiteCatalogue, site: Site, tmp_path: Path
) -> None:
    site.pages[URL.url] = document("A")
    assert catalogue.refresh()
    Store("lab", URL, tmp_path).path.unlink()
    site.pages[URL.url] = 503
    assert catalogue.refresh() == "", "no reload could make use of it"
