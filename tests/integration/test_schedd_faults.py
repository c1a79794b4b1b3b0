"""What a schedd and a collector can do to the factory, and what a crash of the factory does to its pilots."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.world import METRONOME, World, longest_gap, until

pytestmark = pytest.mark.xdist_group("schedd-faults")

QUEUE, NAMED = "SITE_A", "SITE_B"
CAP = 6


@pytest.fixture
def world(testbed: Path, user: str, workdir: Path) -> Iterator[World]:
    """A world with a few jobs on two queues, and one whose jobs are never touched."""
    jobs = [SimulatedQueue(name, backlog=3, duration=1.0) for name in (QUEUE, NAMED)]
    with World(workdir, testbed, user, [*jobs, SimulatedQueue("OTHER", backlog=1)], slots=10) as world:
        yield world


@pytest.fixture
def factory(world: World, daemon: Callable[..., Daemon]) -> Daemon:
    """A running factory: a queue on the local schedd, one on the same by name and collector, one beside them."""
    main = world.main()
    main["schedd named"] = dict(main["schedd local"]) | {
        "name": world.pool.schedd,
        "collector": world.pool.collector,
        "spool": "no",
    }
    queues = world.queues([QUEUE, NAMED], max_per_cycle=3, max_pilots=CAP) | world.metronome()
    queues[NAMED] = dict(queues[NAMED]) | {"source": "named"}
    factory = daemon(world.write(main, queues), environment=world.pool.environment).start()
    finishes(world, QUEUE, 3)
    finishes(world, NAMED, 3)
    return factory


def finishes(world: World, queue: str, number: int) -> None:
    """Wait until so many jobs of a queue are finished."""
    until(lambda: world.panda.totals()[queue].finished >= number, 60, f"{number} jobs of {queue} finished")


def resumes(world: World, factory: Daemon, queue: str, since: int) -> None:
    """Wait until the queue submits again by itself, beginning with one pilot, and its new jobs are run."""
    factory.wait_for("answers again", 60, since=since)
    # A pilot that outlived the outage would take the new jobs before another one is asked for.
    until(lambda: all(ad["JobStatus"] == 4 for ad in world.condor("condor_q", "-all")), 60, "old pilots have ended")
    done = world.panda.totals()[queue].finished
    world.panda.jobs.add(queue, 3)
    assert " submitted 1: " in factory.wait_for(f"{queue}.* submitted [1-9]", 60, since=since)
    finishes(world, queue, done + 3)
    told = Counter(str(ad["APF_SUBMISSION"]) for ad in world.pilots() if ad["APF_QUEUE"] == queue)
    entries = world.submissions()
    assert all(count == entries[name]["count"] for name, count in told.items())


def test_schedd_hangs(world: World, factory: Daemon) -> None:
    """A schedd that never answers blocks its queues, and delays neither the others nor a signal."""
    since = factory.mark()
    world.pool.stop_schedd()
    factory.wait_for(f"{QUEUE}.* blocked: .*pilots unknown: .*schedd local", 40, since=since)
    factory.wait_for(f"{NAMED}.* blocked: .*pilots unknown", 40, since=since)
    began = time.monotonic()
    factory.reload()
    assert time.monotonic() - began < 3, "a signal was delayed by the hanging schedd"
    time.sleep(5)
    assert longest_gap(factory.lines(f"{METRONOME}.* submitted 1", since=since)) < 1 + 3 * 1
    since = factory.mark()
    world.pool.cont_schedd()
    resumes(world, factory, QUEUE, since)
    world.pool.stop_schedd()
    time.sleep(2)
    factory.stop(within=9)
    factory.assert_nothing_left()


def test_schedd_is_killed_and_comes_back(world: World, factory: Daemon) -> None:
    """A schedd that dies is asked again until the master has started it anew."""
    since = factory.mark()
    # Stopped first: a master that restarts it at once would leave no outage to see.
    world.pool.stop_schedd()
    factory.wait_for(f"{QUEUE}.* blocked: .*pilots unknown", 40, since=since)
    world.pool.kill_schedd()
    resumes(world, factory, QUEUE, since)
    factory.stop(within=9)


def test_collector_is_gone(world: World, factory: Daemon) -> None:
    """Nobody who knows his schedd misses the collector; who must look it up waits for it, and starts all the same."""
    since = factory.mark()
    # With its master halted nobody starts it again.
    world.pool.halt("master")
    world.pool.kill("collector")
    for name in (QUEUE, NAMED):
        world.panda.jobs.add(name, 3)
        factory.wait_for(f"{name}.* submitted [1-9]", 30, since=since)
    factory.stop(within=9)
    since = factory.mark()
    factory.start()
    factory.wait_for(f"{NAMED}.* blocked: .*pilots unknown: .*named", 40, since=since)
    factory.wait_for(f"{QUEUE}.* submitted 0: ", 40, since=since)
    world.pool.cont("master")
    for name in (QUEUE, NAMED):
        finishes(world, name, 6)
    world.panda.jobs.add(NAMED, 3)
    factory.wait_for(f"{NAMED}.* submitted [1-9]", 60, since=since)
    finishes(world, NAMED, 9)
    factory.stop(within=9)


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_kill_between_submission_and_answer(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon], delay: float
) -> None:
    """After kill -9 in the middle of a submission no pilot is an orphan and none is submitted twice."""
    wanted = 200
    jobs = [SimulatedQueue(QUEUE, backlog=wanted, duration=120.0)]
    with World(workdir, testbed, user, jobs, slots=5) as world:
        queues = world.queues([QUEUE], max_pilots=wanted)
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
        record = workdir / "factory" / "state" / "submissions.jsonl"
        factory.start(wait_for="")
        until(lambda: record.exists() and bool(record.read_text().strip()), 30, "a submission begins", step=0.0005)
        time.sleep(delay)
        factory.send(signal.SIGKILL)
        assert factory.wait(5) == -signal.SIGKILL
        first = [json.loads(line) for line in record.read_text().splitlines()]
        factory.start()
        until(lambda: world.by_queue()[QUEUE] == wanted, 60, f"{wanted} pilots")
        time.sleep(8)
        told = Counter(str(ad["APF_SUBMISSION"]) for ad in world.pilots())
        entries = world.submissions()
        assert sum(told.values()) == wanted, "pilots were submitted twice"
        assert set(told) <= set(entries), "there are pilots that the factory does not know"
        assert told[first[0]["id"]] in (0, wanted), "half a submission"
        factory.stop(within=9)
        world.pool.run(["condor_rm", "-all"])
