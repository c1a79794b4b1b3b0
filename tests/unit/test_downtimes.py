"""Downtimes: the file, the gate, and what a queue does before and after one."""

import logging
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.downtimes import ALL, Downtimes
from autopyfactory.errors import OperateError
from autopyfactory.model import Downtime, Site
from autopyfactory.sched import slowed
from autopyfactory.sched.demand import Demand
from tests.unit.sched.test_rules import number, run, state
from tests.unit.world import START, World, make_queue

HOUR = 3600.0
DOWN = Downtime(START + 10 * HOUR, START + 20 * HOUR, "cooling", "ada")


@pytest.mark.parametrize(
    ("hours", "walltime", "options", "count"),
    [
        (7.99, 2 * HOUR, {}, 9),
        (8.0, 2 * HOUR, {}, 0),
        (15.0, 2 * HOUR, {}, 0),
        (19.99, 2 * HOUR, {}, 0),
        (20.0, 2 * HOUR, {}, 9),
        (9.99, None, {}, 9),
        (10.0, None, {}, 0),
        (8.0, 2 * HOUR, {"downtime_drain_before": 0.0}, 9),
        (5.0, 2 * HOUR, {"downtime_drain_before": "5h"}, 0),
    ],
)
def test_no_pilots_that_would_run_into_it(
    hours: float, walltime: float | None, options: dict[str, Any], count: int
) -> None:
    given: dict[str, Any] = {"now": START + hours * HOUR, "walltime": walltime, "downtimes": (DOWN,)}
    assert number("ready", options, demand=Demand(9, 9), **given) == count
    assert slowed(state(options, **given)) is (count == 0)
    assert number("fixed", {"fixed": 9, **options}, demand=None, site=None, **given) == count
    assert number("ready", {"status_test": 3, **options}, site=Site("test"), **given) == min(count, 3)


def test_of_several_the_one_that_ends_last_is_told() -> None:
    inner = Downtime(DOWN.start, DOWN.start + 60.0, "a switch")
    given = state(now=DOWN.start, downtimes=(inner, DOWN))
    step = next(step for step in run("ready", given).steps if step.rule == "downtime")
    assert step.why == "down from 2023-11-15 08:13 to 2023-11-15 18:13 UTC, by ada: cooling"
    draining = state(now=DOWN.start - 1, walltime=60.0, downtimes=(DOWN,))
    step = next(step for step in run("ready", draining).steps if step.rule == "downtime")
    assert step.why.startswith("draining, down from ")


def test_they_survive_and_are_seen_by_another_process(tmp_path: Path) -> None:
    watcher, writer = Downtimes(tmp_path), Downtimes(tmp_path)
    assert watcher.of("Q") == ()
    writer.add("Q", DOWN, START)
    writer.add(ALL, Downtime(START, START + 1, "short"), START)
    assert [one.why for one in watcher.of("Q")] == ["cooling", "short"]
    assert [one.why for one in watcher.of("R")] == ["short"]
    writer.add("R", DOWN, START + 2)
    assert set(writer.all(START + 2)) == {"Q", "R"}, "what is over is dropped"
    assert writer.cancel("Q", START + 2) == 1
    assert writer.cancel("Q", START + 2) == 0
    assert watcher.of("Q") == ()
    assert writer.cancel(ALL, START + 2) == 1
    assert watcher.of("R") == ()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"Q": [{"start": "soon"}]}', b"\xff"])
def test_a_damaged_file_says_so_once_until_it_is_mended(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    downtimes = Downtimes(tmp_path)
    downtimes.add("Q", DOWN, START)
    assert downtimes.of("Q") == (DOWN,)
    (tmp_path / "downtimes.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert "damaged" in downtimes.damage()
        assert downtimes.of("Q") == (DOWN,)
    assert len(caplog.messages) == 1
    with pytest.raises(OperateError, match="--all --cancel"):
        downtimes.add("Q", DOWN, START)
    with pytest.raises(OperateError, match="damaged"):
        downtimes.cancel("Q", START)
    assert downtimes.cancel(ALL, START) == 0
    assert (downtimes.damage(), downtimes.of("Q")) == ("", ())


def test_after_a_downtime_a_queue_begins_slowly(tmp_path: Path) -> None:
    world = World(tmp_path, [make_queue("Q", walltime=120.0)])
    world.activate("Q", 100)
    world.downtimes["Q"] = (Downtime(START + 600.0, START + 1200.0, "cooling"),)
    world.pool.start_after = None
    world.clock.at = START + 490.0
    counts = []
    while world.clock.now() < START + 1330.0:
        world.wms.tick()
        counts.append(world.cycle("Q")["Q"].submitted_count)
        world.advance(30.0)
    assert counts[0] == 0
    assert [count for count in counts if count] == [1, 2, 4, 8]


def test_siblings_take_the_jobs_of_a_queue_in_a_downtime(tmp_path: Path) -> None:
    world = World(tmp_path, [make_queue("A", wmsqueue="W"), make_queue("B", wmsqueue="W")])
    world.activate("W", 10)
    world.downtimes["A"] = (Downtime(START, START + HOUR, "cooling"),)
    for _ in range(2):
        world.cycle()
    assert world.pool.count("B") == 10


def test_a_downtime_of_the_site_table_counts_too(tmp_path: Path) -> None:
    world = World(tmp_path, [make_queue("Q")])
    world.activate("Q", 10)
    world.wms.downtimes = (Downtime(START, START + HOUR, "cooling", "the site table"),)
    report = world.cycle("Q")["Q"]
    assert report.decision is not None
    assert report.decision.count == 0
