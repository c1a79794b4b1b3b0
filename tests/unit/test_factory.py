"""The factory as a whole, with plug-ins that hang, break and count: start, reload, stop."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autopyfactory import plugins
from autopyfactory.batch.source import PilotSource
from autopyfactory.clock import Clock
from autopyfactory.config.models import Config, FactoryOptions, QueueConfig, Section
from autopyfactory.errors import ConfigError
from autopyfactory.factory import Factory
from autopyfactory.model import PilotGroup, PilotState
from autopyfactory.operate import Operator, OperatorState
from autopyfactory.record import FILE
from autopyfactory.record.book import Record
from autopyfactory.report import CycleReport
from autopyfactory.runner import Runner
from autopyfactory.space import FreeSpace
from autopyfactory.wms.static import StaticOptions
from autopyfactory.wms.sum import SumOptions
from tests.unit import parts
from tests.unit.parts import FAKES, Journal, PartOptions
from tests.unit.world import ManualClock, make_queue

WAIT = 20.0


@pytest.fixture(autouse=True)
def journal(monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(plugins, "ALIASES", FAKES)
    monkeypatch.setattr(parts, "JOURNAL", Journal())
    monkeypatch.setattr("autopyfactory.factory.FIRST_DELAY", 0.0)
    return parts.JOURNAL


def queue(name: str, **options: Any) -> QueueConfig:
    return make_queue(name, **{"backend": "fake", "wms": "w", "monitor": "m", "interval": 0.1, **options})


def config(folder: Path, *queues: QueueConfig, colour: str = "", **factory: Any) -> Config:
    options = FactoryOptions(
        **{"id": "F", "host": "here", "state_dir": folder, "pilot_log_dir": folder, "min_free": 0, **factory}
    )
    sources = {
        "local": Section("fake", "local", PartOptions(colour=colour), "fake"),
        "other": Section("fake", "other", PartOptions(), "fake"),
    }
    wms = {"w": Section("wms", "w", PartOptions(), "fake")}
    monitors = {"m": Section("monitor", "m", PartOptions(), "fake")}
    return Config(Path("/etc/apf"), options, sources, wms, monitors, {}, {queue.name: queue for queue in queues})


class Watch:
    """Every report of a factory, and a way to wait for them."""

    def __init__(self) -> None:
        self.reports: dict[str, list[CycleReport]] = {}
        self._changed = threading.Condition()

    def __call__(self, report: CycleReport) -> None:
        with self._changed:
            self.reports.setdefault(report.queue, []).append(report)
            self._changed.notify_all()

    def until(self, true: Callable[[dict[str, list[CycleReport]]], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: true(self.reports), WAIT)

    def cycles(self, *names: str, more: int = 1) -> None:
        """Wait until each of the queues has done so many more cycles."""
        with self._changed:
            before = {name: len(self.reports.get(name, ())) for name in names}
        self.until(lambda reports: all(len(reports.get(n, ())) >= before[n] + more for n in names))

    def last(self, name: str) -> CycleReport:
        with self._changed:
            return self.reports[name][-1]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def start(tmp_path: Path, watch: Watch, journal: Journal) -> Iterator[Callable[..., Factory]]:
    """Start factories that are stopped at the end."""
    running: list[Factory] = []

    def begin(given: Config, **words: Any) -> Factory:
        factory = Factory(given, clock=Clock(), operator=Operator(tmp_path), on_report=watch, **words)
        running.append(factory)
        factory.start()
        return factory

    yield begin
    journal.go.set()
    for factory in running:
        factory.stop()
    lingering = [thread for thread in threading.enumerate() if thread.name.startswith("queue ")]
    for thread in lingering:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in lingering)


def runners(factory: Factory) -> dict[str, Runner]:
    return dict(factory._runners)


def source(factory: Factory, name: str = "local") -> PilotSource:
    return factory._parts.sources[name]


def test_fifty_queues_start_and_stop(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    names = [f"Q{k}" for k in range(50)]
    factory = start(config(tmp_path, *(queue(name) for name in names)))
    watch.cycles(*names, more=2)
    assert dict(journal.submitted) == dict.fromkeys(names, 3)
    assert sorted(journal.built) == ["local", "m", "w"], "one part for all queues"
    assert journal.busy.acquire(timeout=WAIT), "the monitor was told of cycles and of pilots that ended"
    began = time.monotonic()
    factory.stop()
    assert time.monotonic() - began < 3
    assert set(journal.closed) >= {"local", "w"}
    assert watch.last("Q0").endpoint == "endpoint of local"


def test_a_stop_with_a_hung_submission_takes_the_grace(
    tmp_path: Path,
    start: Callable[..., Factory],
    watch: Watch,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("autopyfactory.factory.GRACE", 0.3)
    journal.hang.add("Q1")
    factory = start(config(tmp_path, queue("Q0"), queue("Q1")))
    assert journal.hangs.wait(WAIT)
    watch.cycles("Q0", more=3)
    began = time.monotonic()
    factory.stop()
    assert 0.3 <= time.monotonic() - began < 2
    assert "left behind in a call that does not end: Q1" in caplog.text
    again = Factory(factory.config, clock=Clock(), operator=Operator(tmp_path))
    assert [entry.outcome.value for entry in again._ledger.of_queue("Q1")] == ["ambiguous"]


def test_what_is_submitted_while_a_stop_waits_is_told_and_recorded(
    tmp_path: Path, start: Callable[..., Factory], journal: Journal
) -> None:
    journal.hang.add("Q0")
    factory = start(config(tmp_path, queue("Q0")))
    assert journal.hangs.wait(WAIT)
    stopping = threading.Thread(target=factory.stop)
    stopping.start()
    assert runners(factory)["Q0"]._stopping.wait(WAIT)
    journal.go.set()
    stopping.join(WAIT)
    assert [report.submitted_count for report in journal.told] == [3]
    with Record(tmp_path / FILE) as record:
        assert [one.submitted for one in record.back("Q0", time.time() + 1)] == [3]


def test_what_a_call_brings_that_the_stop_broke_off_is_told(
    tmp_path: Path, start: Callable[..., Factory], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autopyfactory.factory.GRACE", 0.0)
    monkeypatch.setattr(parts.FakeBatch, "close", lambda batch: journal.go.set())
    journal.hang.add("Q0")
    factory = start(config(tmp_path, queue("Q0")))
    assert journal.hangs.wait(WAIT)
    factory.stop()
    assert [report.submitted_count for report in journal.told] == [3]


def test_what_a_queue_submitted_that_a_reload_took_away_is_told(
    tmp_path: Path, start: Callable[..., Factory], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autopyfactory.factory.RELOAD_GRACE", 0.0)
    journal.hang.add("Q0")
    factory = start(config(tmp_path, queue("Q0"), queue("Q1")))
    assert journal.hangs.wait(WAIT)
    old = runners(factory)["Q0"]
    factory.reload(config(tmp_path, queue("Q1")))
    journal.go.set()
    assert old.join(WAIT)
    factory.stop()
    assert [report.submitted_count for report in journal.told if report.queue == "Q0"] == [3]


def test_a_queue_whose_cycle_a_reload_left_behind_goes_on_with_a_memory_of_its_own(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autopyfactory.factory.RELOAD_GRACE", 0.0)
    journal.hang.add("Q0")
    factory = start(config(tmp_path, queue("Q0")))
    assert journal.hangs.wait(WAIT)
    old = runners(factory)["Q0"]
    old.cycle.memory.ramp = 8
    factory.reload(config(tmp_path, queue("Q0", interval=3600)))
    watch.until(lambda reports: reports.get("Q0"))
    journal.go.set()
    assert old.join(WAIT)
    new = runners(factory)["Q0"].cycle.memory
    assert (new.ramp, new.last_submission) == (8, float("-inf"))
    assert old.cycle.memory.last_submission > 0


def test_so_many_cycles(tmp_path: Path, start: Callable[..., Factory], watch: Watch) -> None:
    factory = start(config(tmp_path, queue("Q0"), queue("Q1")), cycles=2)
    assert factory.wait(WAIT)
    assert [len(reports) for reports in watch.reports.values()] == [2, 2]


def test_a_factory_without_end_is_never_done(tmp_path: Path, start: Callable[..., Factory]) -> None:
    assert not start(config(tmp_path, queue("Q0"))).wait(0.01)


def test_a_dry_run(tmp_path: Path, start: Callable[..., Factory], journal: Journal, watch: Watch) -> None:
    factory = start(config(tmp_path, queue("Q0")), cycles=1, dry_run=True)
    assert factory.wait(WAIT)
    assert not journal.submitted
    assert watch.last("Q0").dry_run
    assert journal.looking == {"local"}, "nor are pilots started, fetched or removed that wait there"


def test_only_a_dry_run_looks(tmp_path: Path, start: Callable[..., Factory], journal: Journal) -> None:
    start(config(tmp_path, queue("Q0")), cycles=1)
    assert (journal.built.count("local"), journal.looking) == (1, set())


def test_a_reload_leaves_the_others_alone(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    names = [f"Q{k}" for k in range(10)]
    factory = start(config(tmp_path, *(queue(name) for name in names)))
    watch.cycles(*names)
    before, shared = runners(factory), source(factory)
    memory = before["Q1"].cycle.memory
    changed = [queue("Q1", weight=2), *(queue(name) for name in names[2:]), queue("NEW")]
    text = factory.reload(config(tmp_path, *changed))
    assert all(word in text for word in ("Q0", "Q1", "NEW"))
    watch.cycles("Q1", "NEW", "Q9")
    after = runners(factory)
    assert after.keys() == {*names[1:], "NEW"}
    assert {name for name in after if after[name] is before.get(name)} == set(names[2:])
    assert after["Q1"].cycle.memory is memory
    assert source(factory) is shared
    assert not journal.closed
    assert not before["Q0"]._thread.is_alive()


def test_a_changed_source_restarts_its_queues(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    both = (queue("Q0"), queue("Q1", source="other"))
    factory = start(config(tmp_path, *both))
    watch.cycles("Q0", "Q1")
    before, old = runners(factory), source(factory)
    factory.reload(config(tmp_path, *both, colour="blue"))
    watch.cycles("Q0", "Q1")
    after = runners(factory)
    assert after["Q0"] is not before["Q0"]
    assert after["Q1"] is before["Q1"]
    assert source(factory) is not old
    assert journal.closed == ["local"]
    assert journal.submitted == {"Q0": 3, "Q1": 3}, "what was submitted through the old one still counts"


def test_another_factory_section_restarts_everything(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    factory = start(config(tmp_path, queue("Q0")))
    watch.cycles("Q0")
    before = runners(factory)
    factory.reload(config(tmp_path, queue("Q0"), admin_email="new@example.org"))
    watch.cycles("Q0")
    assert runners(factory)["Q0"] is not before["Q0"]
    assert {"local", "w"} <= set(journal.closed)
    assert journal.built.count("m") == 2


@pytest.mark.parametrize("step", ["build.Parts.close_changed", "factory.Factory._connect"])
def test_a_reload_that_fails_half_way_serves_the_queues_that_it_ended(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    factory = start(config(tmp_path, queue("Q0"), queue("Q1")))
    watch.cycles("Q0", "Q1")

    def fails(*words: Any) -> None:
        raise ZeroDivisionError(step)

    with monkeypatch.context() as broken:
        broken.setattr(f"autopyfactory.{step}", fails)
        with pytest.raises(ZeroDivisionError):
            factory.reload(config(tmp_path, queue("Q0", weight=2), queue("Q1")))
    watch.cycles("Q0", "Q1")
    assert factory.config.queues["Q0"].options.weight == 2
    assert factory.reload(config(tmp_path, queue("Q0", weight=2), queue("Q1"))) == "nothing changed"


def test_pilots_at_a_source_that_no_queue_uses_any_more_count_until_they_are_gone(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    factory = start(config(tmp_path, queue("Q0"), max_per_factory=4))
    watch.until(lambda _: journal.submitted["Q0"] == 3)
    factory.reload(config(tmp_path, queue("Q1", source="other"), max_per_factory=4))
    watch.cycles("Q1", more=3)
    assert journal.submitted["Q1"] == 1, "three of four are still at the other source"
    factory._former.look()
    assert "former queue Q0: 3 pilots (pending 3) at fake local; 'formerly = Q0' in a queue adopts them" in caplog.text
    journal.groups["local"].clear()
    factory._former.look()
    watch.until(lambda _: journal.submitted["Q1"] == 3)
    assert "former queue Q0: no pilot is left at fake local" in caplog.text
    assert not journal.closed, "what was submitted a moment ago may still be asked for"


def test_a_section_that_is_renamed_goes_on_with_its_pilots(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    journal.groups["local"] = journal.groups["other"] = []
    factory = start(config(tmp_path, queue("Q0")))
    watch.until(lambda _: journal.submitted["Q0"] == 3)
    watch.cycles("Q0")
    factory.reload(config(tmp_path, queue("Q0", source="other")))
    watch.cycles("Q0", more=3)
    counts = watch.last("Q0").pilots
    assert counts is not None
    assert (counts.pending, counts.awaited, counts.in_flight) == (3, 0, 3)
    assert [source.name for source in factory._parts.all_sources()] == ["fake other"]


def test_after_a_restart_sources_on_record_are_asked_although_no_queue_uses_them(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    first = start(config(tmp_path, queue("Q0"), queue("Q1", source="other")))
    watch.until(lambda _: journal.submitted["Q0"] == journal.submitted["Q1"] == 3)
    first.stop()
    journal.submitted.clear()
    gone = config(tmp_path, queue("Q1", source="other"), max_per_factory=7)
    start(gone)
    watch.cycles("Q1", more=2)
    assert source_names(journal) == {"local", "other"}
    assert journal.submitted["Q1"] <= 1
    gone.sources.pop("local")  # type: ignore[attr-defined]
    start(gone)
    assert "fake local has no section any more" in caplog.text


def source_names(journal: Journal) -> set[str]:
    return {name for name in journal.polls if journal.polls[name]}


def test_a_source_that_is_used_again_begins_anew(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    factory = start(config(tmp_path, queue("Q0")))
    watch.until(lambda _: journal.submitted["Q0"] == 3)
    factory.reload(config(tmp_path, queue("Q1", source="other")))
    factory.reload(config(tmp_path, queue("Q2", formerly="Q0", wmsqueue="Q0")))
    watch.cycles("Q2", more=2)
    assert journal.closed == ["local"]
    assert journal.submitted["Q2"] == 0, "three pilots wait already, under the former name"
    counts = watch.last("Q2").pilots
    assert counts is not None
    assert counts.waiting == 3


def test_a_queue_by_type_that_is_out_leaves_its_jobs_to_its_siblings(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    journal.broken.add("other")
    types = {"SCORE": {"cores": 1}, "MCORE": {"cores": 1}}
    out = replace(queue("Q1", source="other", wmsqueue="Q0", resource_types="SCORE, MCORE"), by_type=types)
    start(config(tmp_path, out, queue("Q0"), max_per_factory=100))
    watch.cycles("Q0", more=2)
    assert watch.last("Q1").blocked
    assert journal.submitted["Q0"] == 3


def test_a_broken_queue_does_not_stop_the_others(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    journal.broken |= {"Q1", "other"}
    start(config(tmp_path, queue("Q0"), queue("Q1"), queue("Q2", source="other")))
    watch.cycles("Q0", "Q1", more=2)
    watch.until(lambda _: journal.submitted["Q0"] == 3)
    blocked = watch.last("Q1").blocked
    assert blocked is not None
    assert "a bug in this cycle: ZeroDivisionError" in blocked.reason
    blocked = watch.last("Q2").blocked
    assert blocked is not None
    assert "cannot be built" in blocked.reason


def test_a_part_that_could_not_be_built_is_tried_again_by_a_reload(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    journal.broken |= {"local", "w", "m"}
    same = config(tmp_path, queue("Q0"), queue("Q1", wms="", rules={"fixed": 1}), queue("Q2", source="other"))
    factory = start(same)
    assert runners(factory) == {}
    journal.broken.clear()
    factory.reload(same)
    watch.until(lambda _: journal.submitted["Q0"] and journal.submitted["Q2"])
    assert runners(factory).keys() == {"Q0", "Q1", "Q2"}


def test_a_part_that_cannot_be_closed_does_not_keep_the_others_open(
    tmp_path: Path, start: Callable[..., Factory], journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.broken.add("close local")
    start(config(tmp_path, queue("Q0"))).stop()
    assert {"local", "w"} <= set(journal.closed)
    assert "could not be closed" in caplog.text


def test_an_operators_pause_and_drain(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    operator = Operator(tmp_path)
    operator.set("Q0", OperatorState("drain", "me", Clock().now(), "old nodes"))
    start(config(tmp_path, queue("Q0"), queue("Q1")))
    watch.cycles("Q0", "Q1", more=2)
    blocked = watch.last("Q0").blocked
    assert blocked is not None
    assert blocked.reason.startswith("draining by me")
    assert blocked.reason.endswith("old nodes; no pilot is left")
    assert journal.submitted == {"Q1": 3}


def test_a_full_disk_blocks(tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal) -> None:
    start(config(tmp_path, queue("Q0"), min_free="1000TB"))
    watch.cycles("Q0")
    blocked = watch.last("Q0").blocked
    assert blocked is not None
    assert "min_free is 1000000000 MB: make room there" in blocked.reason
    assert not journal.submitted


def test_downtimes_that_nobody_can_read_block(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    (tmp_path / "downtimes.json").write_text("{")
    start(config(tmp_path, queue("Q0")))
    watch.cycles("Q0")
    blocked = watch.last("Q0").blocked
    assert blocked is not None
    assert "downtimes.json is damaged" in blocked.reason
    assert not journal.submitted


def test_a_twin_at_one_source_blocks_all(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    factory = start(config(tmp_path, queue("Q0"), queue("Q1", source="other")))
    watch.cycles("Q0", "Q1")
    source(factory)._twin.text = "local shows pilots of this factory's id from host there that it did not submit"
    blocked = factory._standstill("Q1")
    assert blocked is not None
    assert "from host there" in blocked.reason
    assert "stop one of the two factories" in blocked.reason


def test_halt_removes_pilots(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    factory = start(config(tmp_path, queue("Q0"), queue("Q1")))
    watch.cycles("Q0", "Q1")
    factory.halt(frozenset({PilotState.PENDING}))
    assert journal.removed == ["Q0"]
    assert "the pilots of Q1 stay: local: will not" in caplog.text


def test_a_ledger_that_cannot_be_kept_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "submissions.jsonl").mkdir()
    with pytest.raises(ConfigError, match="cannot keep what is submitted"):
        Factory(config(tmp_path), clock=Clock(), operator=Operator(tmp_path))


def test_free_space_is_looked_at_now_and_then() -> None:
    clock, free, looks = ManualClock(), {Path("/a"): 5e9, Path("/b"): 50e6}, []

    def usage(folder: Path) -> Any:
        looks.append(folder)
        if folder not in free:
            raise FileNotFoundError(2, "No such file or directory")
        return SimpleNamespace(free=free[folder])

    space, both = FreeSpace(clock, usage), [Path("/a"), Path("/b")]
    lacking = "/b has 50 MB free, min_free is 100 MB: make room there"
    assert space.lacking(both, 100_000_000) == lacking
    free[Path("/b")] = 1e9
    assert space.lacking(both, 100_000_000) == lacking
    clock.at += 11
    assert space.lacking(both, 100_000_000) == ""
    assert len(looks) == 4


def test_of_a_folder_that_is_missing_the_one_above_it_counts(tmp_path: Path) -> None:
    def usage(folder: Path) -> Any:
        if not folder.exists():
            raise FileNotFoundError(2, "No such file or directory")
        return SimpleNamespace(free=50e6)

    missing = tmp_path / "not" / "yet"
    assert FreeSpace(ManualClock(), usage).lacking([missing], 10_000_000) == ""
    assert FreeSpace(ManualClock(), usage).lacking([missing], 100_000_000).startswith(f"{missing} has 50 MB free")


def test_one_looks_beside_another_that_runs(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, journal: Journal
) -> None:
    """What the running one has submitted counts, also after the look began; nothing is written or submitted."""
    settings = config(tmp_path, queue("Q0", wmsqueue="W"), queue("Q1", wmsqueue="W"), record_keep=0.0)
    factory = start(settings)
    watch.cycles("Q0", "Q1", more=2)
    other = Factory(settings, clock=Clock(), operator=Operator(tmp_path), dry_run=True, looking=True)
    watch.cycles("Q0", "Q1", more=2)
    factory.stop()
    journal.groups["local"].append(PilotGroup("99991231T000000-x", "Q0", PilotState.PENDING, 1, "here"))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    submitted = dict(journal.submitted)
    [twin] = other.look(["Q1"])
    assert twin.blocked is not None
    assert "from host here that it did not submit" in twin.blocked.reason
    journal.groups["local"].pop()
    [report] = other.look(["Q1"])
    other.stop()
    assert report.decision is not None
    assert report.decision.count == 0
    assert report.pilots is not None
    assert report.pilots.waiting == submitted["Q1"]
    assert report.siblings == ("Q0",)
    assert dict(journal.submitted) == submitted
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_sum_follows_its_parts_through_a_reload(
    tmp_path: Path, start: Callable[..., Factory], watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = {"static": "autopyfactory.wms.static:Static", "sum": "autopyfactory.wms.sum:Sum"}
    monkeypatch.setattr(plugins, "ALIASES", {**FAKES, "autopyfactory.wms": shipped})

    def given(jobs: int) -> Config:
        wms = {
            "all": Section("wms", "all", SumOptions(of="s, s:Q"), "sum"),
            "s": Section("wms", "s", StaticOptions(activated=jobs), "static"),
        }
        return replace(config(tmp_path, queue("Q", wms="all")), wms=wms)

    factory = start(given(3))
    watch.until(lambda reports: reports.get("Q") and reports["Q"][-1].activated == 6)
    factory.reload(given(5))
    watch.until(lambda reports: reports["Q"][-1].activated == 10)
