"""Queues that were renamed or removed: their pilots are seen, counted and adopted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.config.models import Config, FactoryOptions, QueueConfig
from autopyfactory.former import Former
from autopyfactory.ledger import KEEP
from autopyfactory.model import PilotState
from tests.unit.world import World, make_queue

JOBS = 1000


def queue(name: str, *formerly: str, **rules: Any) -> QueueConfig:
    return make_queue(name, wmsqueue="W", formerly=formerly, rules={"max_pilots": 10, **rules})


def config(queues: Sequence[QueueConfig], **more: Any) -> Config:
    served = {one.name: one for one in queues}
    return Config(Path("/etc/apf"), FactoryOptions(id="F"), {}, {}, {}, {}, served, **more)


def test_a_renamed_queue_takes_over_pilots_and_history(tmp_path: Path) -> None:
    world = World(tmp_path, [queue("OLD")])
    world.activate("W", JOBS)
    world.run(60)
    assert world.pool.in_flight == 10
    world.reload([queue("NEW", "OLD")])
    report = world.cycle("NEW")["NEW"]
    assert report.pilots is not None
    assert report.pilots.in_flight == 10, "at once, and before the next poll"
    assert report.submitted_count == 0
    world.restart()
    world.run(60)
    assert world.pool.in_flight == 10
    assert world.pool.count("NEW") == 0


def test_without_formerly_they_are_told_of_and_counted_for_the_factory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    world = World(tmp_path, [queue("OLD")], maximum=12)
    world.activate("W", JOBS)
    world.run(60)
    new = queue("NEW")
    world.reload([new])
    world.run(60)
    assert world.pool.count("NEW") == 2
    former = Former(world.ledger, world.clock)
    former.configure(config([new], disabled={"OLD": None}), [world.source])
    for _ in range(3):
        former.look()
    text = "former queue OLD (disabled): 10 pilots (running 10) at pool; 'autopyfactory kill --queue OLD' removes them"
    assert [record.getMessage() for record in caplog.records if "former" in record.getMessage()] == [text]
    world.advance(700)
    world.run(60)
    former.look()
    assert caplog.records[-1].getMessage() == "former queue OLD: no pilot is left at pool"
    assert former.pilots() == {}


def test_an_idle_source_is_let_go_when_it_has_none(tmp_path: Path) -> None:
    world = World(tmp_path, [queue("OLD")])
    world.activate("W", 5)
    world.run(60)
    former = Former(world.ledger, world.clock)
    former.configure(config([]), [])
    former.idle["pool"] = world.source
    former.look()
    assert former.idle
    world.pool.down = True
    world.advance(2 * KEEP)
    former.look()
    assert former.idle, "unknown is not zero"
    world.pool.down = False
    world.advance(120)
    former.look()
    assert world.ledger.sources() == set()
    assert not former.idle
    world.restart()
    assert world.ledger.sources() == set(), "and it is not asked at the next start"


STEPS = st.sampled_from(["cycle", "advance", "rename", "restart", "ambiguous", "poll late"])


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=25))
def test_a_rename_never_breaks_the_cap(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    names = ["N0"]
    world = World(tmp_path_factory.mktemp("w"), [queue("N0")])
    world.activate("W", JOBS)
    for step in steps:
        if step == "rename":
            names.append(f"N{len(names)}")
            world.reload([queue(names[-1], *names[:-1])])
        elif step == "restart":
            world.restart()
        elif step == "advance":
            world.advance(40)
        elif step == "poll late":
            world.pool.visible_after = 30.0 - world.pool.visible_after
        else:
            world.pool.answer = "ambiguous" if step == "ambiguous" else "ok"
            world.cycle()
        world.advance(1)
        alive = sum(pilot.state is not PilotState.FINISHING for pilot in world.pool.pilots.values())
        assert alive <= 10
