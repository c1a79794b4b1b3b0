"""What squid and PanDA can do to the factory: each time nothing is submitted blindly, and it resumes by itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.simulate.faults import Fault
from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import METRONOME, ON_POOL, World, longest_gap, until

FAULTS = pytest.mark.xdist_group("demand-faults")
QUEUE = "SITE_A"
FIRST, CAP, MORE = 3, 6, 15
"""Jobs before an outage; pilots at most; jobs that come during it, more than may have pilots at a time."""


@pytest.fixture
def world(testbed: Path, user: str, workdir: Path) -> Iterator[World]:
    """A world with a few jobs, and some on another queue, so that PanDA's answer is never empty."""
    jobs = [SimulatedQueue(QUEUE, backlog=FIRST, duration=5.0), SimulatedQueue("OTHER", backlog=1)]
    with World(workdir, testbed, user, jobs, slots=20) as world:
        yield world


@pytest.fixture
def factory(world: World, daemon: Callable[..., Daemon]) -> Iterator[Daemon]:
    """A running factory with a queue on the pool and two beside it; it must keep the cap and stop cleanly."""
    queues = world.queues([QUEUE], max_per_cycle=3, max_pilots=CAP, arguments=f"{world.pilot} --life 1")
    queues |= world.beats(METRONOME, ON_POOL)
    factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
    factory.start()
    finishes(world, FIRST)
    yield factory
    factory.stop(within=9)
    for name in (METRONOME, ON_POOL):
        # By no more than its interval, a second, and as ever three times that is allowed.
        assert longest_gap(factory.lines(f"{name} submitted 1")) < 1 + 3 * 1, f"{name} was delayed"
    most = world.most_in_flight(QUEUE)
    law(most <= CAP, f"{most} pilots at a time, {CAP} at most")
    assert most == CAP, "the cap was never reached, so nothing was tested"


def finishes(world: World, number: int) -> None:
    """Wait until so many jobs of the queue are finished."""
    until(lambda: world.panda.totals()[QUEUE].finished >= number, 60, f"{number} jobs finished")


def outage(world: World, factory: Daemon, begin: Callable[[], None], end: Callable[[], None], lasts: float = 0) -> str:
    """Run through one outage; return the line in which the queue says that it is blocked."""
    since = factory.mark()
    begin()
    began = time.monotonic()
    line = factory.wait_for(f"{QUEUE}.* blocked: .*demand unknown", 40, since=since)
    before = world.by_queue()[QUEUE]
    world.panda.jobs.add(QUEUE, MORE)
    time.sleep(max(3.0, lasts - (time.monotonic() - began)))
    law(world.by_queue()[QUEUE] == before, "pilots were submitted without knowing the demand")
    done = world.panda.totals()[QUEUE].finished
    since = factory.mark()
    end()
    first = factory.wait_for(f"{QUEUE} submitted [1-9]", 60, since=since)
    law(" submitted 1: " in first, f"after an outage a queue begins with one pilot: {first}")
    finishes(world, done + MORE)
    return line


@FAULTS
def test_squid_is_killed_and_comes_back(world: World, factory: Daemon) -> None:
    """A dead squid is named, and costs nothing but time."""
    line = outage(world, factory, world.squid.kill, lambda: void(world.squid.start()))
    assert str(world.squid.port) in line


@pytest.mark.parametrize(
    ("fault", "lasts", "said"),
    [
        pytest.param("db_down", 0, "Database failure", marks=FAULTS),
        pytest.param("repr", 0, "JSON", marks=FAULTS),
        pytest.param("html", 0, "no JSON", marks=FAULTS),
        pytest.param("truncated", 0, "", marks=FAULTS),
        pytest.param("hang", 60, "3 s", marks=pytest.mark.xdist_group("demand-silence")),
    ],
)
def test_panda_answers_nonsense(world: World, factory: Daemon, fault: Fault, lasts: float, said: str) -> None:
    """`success: false`, the repr, HTML, half a body and silence are no information, never zero."""

    def set_fault(value: Fault | None) -> None:
        world.panda.fault = value

    line = outage(world, factory, lambda: set_fault(fault), lambda: set_fault(None), lasts)
    assert said in line


def void(_: object) -> None:
    """Take a value and return none."""
