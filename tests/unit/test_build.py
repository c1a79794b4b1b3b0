"""The parts of a factory over a reload: what a source learnt outlives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autopyfactory import plugins
from autopyfactory.batch.source import PilotSource
from autopyfactory.build import Parts
from autopyfactory.clock import utc
from autopyfactory.config.models import Config, FactoryOptions, Section
from autopyfactory.ledger import Ledger
from autopyfactory.model import PilotGroup, PilotState
from tests.unit import parts
from tests.unit.parts import FAKES, Journal, PartOptions
from tests.unit.world import ManualClock, make_queue


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(plugins, "ALIASES", FAKES)
    monkeypatch.setattr(parts, "JOURNAL", Journal())
    return parts.JOURNAL


def config(folder: Path, *sources: str, used: str = "", **factory: Any) -> Config:
    """Return a configuration of one queue that uses the first of the sources, or another of them."""
    options = FactoryOptions(**{"id": "F", "host": "here", "state_dir": folder, **factory})
    sections = {name: Section("fake", name, PartOptions(), "fake") for name in sources}
    queue = make_queue("Q", backend="fake", source=used or sources[0], wms="", rules={"min_pending": 20})
    return Config(Path("/etc/apf"), options, sections, {}, {}, {}, {"Q": queue})


class Bench:
    """Parts that go from one configuration to the next."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.ledger = Ledger(folder / "submissions.jsonl", self.clock)
        self.parts = Parts(self.ledger, self.clock, {}, looking=False, on_ended=lambda ended: None)
        self.config: Config | None = None

    def go_over(self, config: Config) -> None:
        if self.config is not None:
            self.parts.close_changed(self.config, config)
        self.config = config
        self.parts.build(config)

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
    "its place": lambda folder: config(folder, "b", "a", used="a"),
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
