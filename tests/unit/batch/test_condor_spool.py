"""Spooled pilots: a slow or hopeless one does not keep the others from being fetched."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from autopyfactory.batch.condor_child import Ad, Spooled, Target
from autopyfactory.batch.condor_ends import Ends
from autopyfactory.batch.condor_spool import Spool
from autopyfactory.child import KillableChild, NoAnswer
from tests.unit.monitor.kit import Hands


class World:
    """A schedd with completed pilots, a set of which hang when they are fetched."""

    def __init__(self, pilots: int, hanging: set[str]) -> None:
        self.clock = Hands()
        self.jobs = [f"7.{proc}" for proc in range(pilots)]
        self.hanging = hanging
        self.fetched: list[str] = []
        self.said: list[str] = []
        self.ends = Ends("")
        self.spool = Spool(
            cast(KillableChild, self),
            Target(),
            "f",
            self.ends,
            self.clock,
            deadline=20,
            patience=600,
            say=self.said.append,
        )

    def post(self, deadline: float, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(getattr(self, function.__name__)(*args))
        except NoAnswer as error:
            self.clock.at += deadline
            future.set_exception(error)
        return future

    def spooled(self, *_: object) -> Spooled:
        jobs: list[Ad] = [{"ClusterId": 7, "ProcId": int(name[2:]), "APF_SUBMISSION": "s"} for name in self.jobs]
        return Spooled(tuple(jobs))

    def fetch(self, _: Target, name: str) -> None:
        self.clock.at += 1
        if name in self.hanging:
            raise NoAnswer("no answer within 20 s")
        self.drop(_, name)
        self.fetched.append(name)

    def drop(self, _: Target, name: str, reason: str = "") -> None:
        self.jobs.remove(name)


@pytest.fixture
def world() -> World:
    return World(30, {"7.0", "7.1", "7.15"})


def test_those_that_hang_do_not_starve_those_behind_them(world: World) -> None:
    for _ in range(7):
        world.spool.look_after()
    assert len(world.fetched) == 27
    assert len(world.ends.take()) == 27
    assert world.said[-1] == "no answer within 20 s (fetching the output of pilots; it is tried again)"
    world.hanging.clear()
    world.spool.look_after()
    assert world.jobs == []
    assert world.said[-1] == ""


def test_one_that_fails_for_an_hour_is_removed_and_told(world: World) -> None:
    for _ in range(200):
        world.spool.look_after()
        world.clock.at += 10
        if not world.jobs:
            break
    assert world.clock.at > 1000 + 3600
    faults = {pilot.cid: pilot.fault for pilot in world.ends.take() if pilot.fault}
    assert set(faults) == {"7.0", "7.1", "7.15"}
    assert all(fault.startswith("removed: its output could not be fetched ") for fault in faults.values())
    assert all(fault.endswith("times: no answer within 20 s") for fault in faults.values())
