"""The parts of a factory over a reload: what a source learnt outlives it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopyfactory import plugins
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.build import Parts
from autopyfactory.clock import utc
from autopyfactory.config.models import Config, FactoryOptions, Section
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.model import PilotGroup, PilotState
from tests.unit import parts
from tests.unit.parts import FAKES, Journal, PartOptions
from tests.unit.world import ManualClock, make_queue


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(plugins, "ALIASES", FAKES)
    monkeypatch.setattr(parts, "JOURNAL", Journal())
    return parts.JOURNAL


def config(folder: Path, *sources: str, used: str = "", colour: str = "", **factory: Any) -> Config:
    """Return a configuration of one queue that uses the first of the sources, or another of them."""
    options = FactoryOptions(**{"id": "F", "host": "here", "state_dir": folder, **factory})
    sections = {name: Section("fake", name, PartOptions(colour=colour), "fake") for name in sources}
    queue = make_queue("Q", backend="fake", source=used or sources[0], wms="", rules={"min_pending": 20})
    return Config(Path("/etc/apf"), options, sections, {}, {}, {}, {"Q": queue})


class Bench:
    """Parts that go from one configuration to the next."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger(folder / "submissions.jsonl", self.clock)
        self.parts = Parts(self.ledger, self.clock, {}, looking=False, on_ended=lambda ended: None)
        self.board = Board(100)
        self.config: Config | None = None

    def go_over(self, config: Config) -> None:
        if self.config is not None:
            self.parts.close_changed(self.config, config)
        self.config = config
        self.parts.build(config)
        self.board.configure(config.queues, self.parts.all_sources(), 100)

    def twin(self, name: str) -> str:
        self.clock.at += 100
        self.parts.sources[name].snapshot()
        return self.parts.sources[name].twin

    def pilots(self, host: str, count: int = 3) -> list[PilotGroup]:
        """Return what a factory submits now."""
        name = f"{utc(self.clock.now()):%Y%m%dT%H%M%S}-ffffff"
        return [PilotGroup(name, "Q", PilotState.PENDING, count, host)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


CHANGES: dict[str, Callable[[Path], Config]] = {
    "[factory]": lambda folder: config(folder, "a", admin_email="a@b"),
    "its options": lambda folder: config(folder, "a", colour="red"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_reload_does_not_adopt_the_pilots_of_a_twin(
    bench: Bench, tmp_path: Path, journal: Journal, change: str
) -> None:
    bench.go_over(config(tmp_path, "a"))
    old = bench.parts.sources["a"]
    assert bench.twin("a") == ""
    journal.groups["a"] += bench.pilots("there")
    assert "from host there" in bench.twin("a")
    bench.go_over(CHANGES[change](tmp_path))
    assert bench.parts.sources["a"] is not old
    assert "from host there" in bench.parts.sources["a"].twin, "also before its first answer"
    assert "from host there" in bench.twin("a")
    journal.groups["a"].clear()
    assert bench.twin("a") == ""


def test_sections_that_come_before_a_source_leave_it_alone(bench: Bench, tmp_path: Path) -> None:
    bench.go_over(config(tmp_path, "a"))
    old = bench.parts.sources["a"]
    bench.go_over(config(tmp_path, "b", "a", used="a"))
    assert bench.parts.sources["a"] is old
    bench.parts = Parts(bench.ledger, bench.clock, {}, looking=False, on_ended=lambda ended: None)
    found = []
    for used in ("b", "a"):
        bench.parts.build(config(tmp_path, "b", "a", used=used))
        batch = bench.parts.sources[used].batch
        assert isinstance(batch, parts.FakeBatch)
        found.append(batch.position)
    assert found == [1, 0], "the names of pilots stay"


def test_another_batch_system_under_the_name_is_met_anew(
    bench: Bench, tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PartOptions, "place", ("interval",), raising=False)
    old = bench.pilots("there")
    bench.clock.at += 10
    bench.parts = Parts(bench.ledger, bench.clock, {}, looking=False, on_ended=lambda ended: None)
    first = config(tmp_path, "a")
    bench.go_over(first)
    assert bench.twin("a") == ""
    journal.groups["a"] = old
    elsewhere = PartOptions(interval=first.sources["a"].options.interval + 1)  # type: ignore[attr-defined]
    bench.go_over(replace(first, sources={"a": Section("fake", "a", elsewhere, "fake")}))
    assert bench.twin("a") == "", "older than the factory, so adopted there as at any first answer"


def test_what_was_adopted_stays_so_over_a_reload(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    journal.groups["a"] = bench.pilots("there")
    bench.clock.at += 10
    bench.parts = Parts(bench.ledger, bench.clock, {}, looking=False, on_ended=lambda ended: None)
    for email in ("a@b", "c@d"):
        bench.go_over(config(tmp_path, "a", admin_email=email))
        assert bench.twin("a") == ""


def test_a_source_that_a_reload_adds_adopts_what_is_older_than_the_factory(
    bench: Bench, tmp_path: Path, journal: Journal
) -> None:
    old = bench.pilots("there")
    bench.clock.at += 10
    bench.parts = Parts(bench.ledger, bench.clock, {}, looking=False, on_ended=lambda ended: None)
    bench.go_over(config(tmp_path, "a"))
    bench.clock.at += 1000
    journal.groups |= {"b": old, "c": bench.pilots("there")}
    bench.clock.at += 1000
    bench.go_over(config(tmp_path, "a", "b", "c", used="b"))
    assert bench.twin("b") == ""
    bench.go_over(config(tmp_path, "a", "b", "c", used="c"))
    assert "from host there" in bench.twin("c"), "younger ones have another author, whenever we began to look there"


class Raced(dict[str, PilotSource]):
    """Idle sources of which another thread lets go as soon as somebody has seen their names."""

    def keys(self) -> Any:
        names = set(super().keys())
        self.clear()
        return names


def test_a_source_that_is_let_go_just_when_a_queue_uses_it_again(bench: Bench, tmp_path: Path) -> None:
    idle = Raced()
    bench.parts = Parts(bench.ledger, bench.clock, idle, looking=False, on_ended=lambda ended: None)
    bench.go_over(config(tmp_path, "a", "b"))
    old = bench.parts.sources["a"]
    bench.go_over(config(tmp_path, "a", "b", used="b"))
    idle["a"] = old
    bench.go_over(config(tmp_path, "a", "b"))
    assert set(bench.parts.sources) == {"a"}


def accepted(bench: Bench, journal: Journal, source: str, count: int, *, shown: bool = True) -> PilotGroup:
    """Submit pilots of Q through a source."""
    name = bench.ledger.open("Q", f"fake {source}", count, waiting=0, in_flight=0)
    group = PilotGroup(name, "Q", PilotState.PENDING, count, "here")
    if shown:
        journal.groups[source].append(group)
    bench.ledger.close(name, Outcome.ACCEPTED, count)
    return group


def one_system(journal: Journal) -> None:
    """Let `a` and `b` be names of one batch system."""
    journal.groups["a"] = journal.groups["b"] = []


def counted(bench: Bench, name: str) -> tuple[int, int, int, int]:
    """Return how many pilots of Q wait at its source and elsewhere, and are in flight elsewhere and of the factory."""
    source = bench.parts.sources[name]
    bench.clock.at += 20
    snapshot = source.snapshot()
    board = bench.board
    budget = board.budget("Q")
    assert budget is not None
    waiting = source.counts("Q", snapshot).waiting
    return waiting, board.awaited("Q", source), board.elsewhere("Q", source), 100 - budget.free


def test_a_schedd_under_another_name_is_not_counted_twice(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    one_system(journal)
    bench.go_over(config(tmp_path, "a"))
    accepted(bench, journal, "a", 20)
    assert counted(bench, "a") == (20, 0, 0, 20)
    bench.go_over(config(tmp_path, "b"))
    assert bench.parts.idle.keys() == {"a"}
    assert counted(bench, "b") == (20, 0, 0, 20), "before any queue decides"
    assert bench.parts.idle == {}
    assert journal.closed == ["a"]
    assert bench.ledger.sources() == {"fake b"}
    assert Ledger(tmp_path / "submissions.jsonl", bench.clock).sources() == {"fake b"}
    journal.groups["b"].clear()
    assert counted(bench, "b") == (0, 0, 0, 0)


def test_what_was_accepted_under_the_old_name_is_not_forgotten_before_it_shows(
    bench: Bench, tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.FakeBatch, "ended", lambda self, submissions: frozenset())
    one_system(journal)
    bench.go_over(config(tmp_path, "a"))
    accepted(bench, journal, "a", 20)
    counted(bench, "a")
    late = accepted(bench, journal, "a", 3, shown=False)
    bench.go_over(config(tmp_path, "b"))
    assert counted(bench, "b")[3] >= 23
    assert bench.parts.idle.keys() == {"a"}
    journal.groups["b"].append(late)
    assert counted(bench, "b") == (23, 0, 0, 23)
    assert bench.parts.idle == {}


def test_what_ended_between_the_answers_of_both_names(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    one_system(journal)
    bench.go_over(config(tmp_path, "a"))
    gone = accepted(bench, journal, "a", 20)
    accepted(bench, journal, "a", 5)
    counted(bench, "a")
    journal.groups["a"].remove(gone)
    bench.go_over(config(tmp_path, "b"))
    counted(bench, "b")
    accepted(bench, journal, "b", 2)
    old = bench.parts.idle["a"]
    bench.clock.at += 20
    old.snapshot()
    assert bench.parts.idle == {}, "all that it shows now the other shows too, or took after its own answer"
    assert counted(bench, "b") == (7, 0, 0, 7)


def test_a_source_that_does_not_answer_takes_over_nothing(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    """What it had shown long ago says nothing of what the other one has accepted, and seen, since."""
    one_system(journal)
    both = config(tmp_path, "a", "b")
    queues = {"Q": both.queues["Q"], "R": make_queue("R", backend="fake", source="b", wms="")}
    bench.go_over(replace(both, queues=queues))
    accepted(bench, journal, "a", 5)
    counted(bench, "a")
    counted(bench, "b")
    journal.broken.add("b")
    bench.clock.at += 600
    accepted(bench, journal, "a", 30)
    counted(bench, "a")
    bench.go_over(config(tmp_path, "a", "b", used="b"))
    bench.clock.at += 40
    bench.parts.idle["a"].snapshot()
    budget = bench.board.budget("Q")
    assert budget is not None
    assert budget.free <= 100 - 35
    assert bench.parts.idle.keys() == {"a"}


def test_what_shows_other_pilots_is_another_batch_system(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    bench.go_over(config(tmp_path, "a"))
    accepted(bench, journal, "a", 20)
    assert counted(bench, "a") == (20, 0, 0, 20)
    bench.go_over(config(tmp_path, "b"))
    accepted(bench, journal, "b", 4)
    assert counted(bench, "b") == (4, 20, 20, 24)
    assert bench.parts.idle.keys() == {"a"}


def test_an_idle_source_that_shows_the_pilots_of_one_in_use(bench: Bench, tmp_path: Path, journal: Journal) -> None:
    """After a restart nothing is known of it before it has answered."""
    one_system(journal)
    both = config(tmp_path, "a", "b", used="b")
    bench.go_over(both)
    accepted(bench, journal, "a", 5)
    bench.parts.build_idle(both, ["a"])
    bench.clock.at += 100
    bench.board.configure(both.queues, bench.parts.all_sources(), 100)
    assert counted(bench, "b")[3] == 10
    bench.parts.idle["a"].snapshot()
    assert counted(bench, "b") == (5, 0, 0, 5)
    assert bench.parts.idle == {}


def test_one_schedd_under_two_names_that_queues_use_is_told_of_once(
    bench: Bench, tmp_path: Path, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    one_system(journal)
    both = config(tmp_path, "a", "b")
    queues = {"Q": both.queues["Q"], "R": make_queue("R", backend="fake", source="b", wms="")}
    bench.go_over(replace(both, queues=queues))
    accepted(bench, journal, "a", 5)
    for name in "abab":
        counted(bench, name)
    assert caplog.text.count("fake a and fake b show the same pilots, which count twice") == 1
    assert not journal.closed
    assert bench.ledger.sources() == {"fake a"}
