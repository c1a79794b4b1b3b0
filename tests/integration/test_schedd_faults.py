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
from tests.testbed.law import law
from tests.testbed.world import METRONOME, ON_PANDA, Options, World, longest_gap, until

FAULTS = pytest.mark.xdist_group("schedd-faults")

QUEUES = QUEUE, NAMED = "SITE_A", "SITE_B"
FIRST, CAP, MORE = 3, 6, 15
"""Jobs before an outage; pilots at most; jobs that come during it, more than may have pilots at a time."""


@pytest.fixture
def world(testbed: Path, user: str, workdir: Path) -> Iterator[World]:
    """A world with a few jobs on two queues, and one whose jobs are never touched."""
    jobs = [SimulatedQueue(name, backlog=FIRST, duration=5.0) for name in QUEUES]
    with World(workdir, testbed, user, [*jobs, SimulatedQueue("OTHER", backlog=1)], slots=20) as world:
        yield world


def serve(world: World, daemon: Callable[..., Daemon], main: dict[str, Options], **second: object) -> Daemon:
    """Run a factory with two queues under test and two beside them, until their first jobs are finished."""
    # One job each: a pilot that outlives the outage leaves the others for new ones.
    one_job = f"{world.pilot} --life 1"
    queues = world.queues(QUEUES, max_per_cycle=3, max_pilots=CAP, arguments=one_job)
    queues |= world.beats(METRONOME, ON_PANDA)
    queues[NAMED] = dict(queues[NAMED]) | second
    factory = daemon(world.write(main, queues), environment=world.pool.environment).start()
    for name in QUEUES:
        finishes(world, name, FIRST)
    return factory


@pytest.fixture
def factory(world: World, daemon: Callable[..., Daemon]) -> Daemon:
    """A running factory whose two queues are on the local schedd."""
    return serve(world, daemon, world.main())


@pytest.fixture
def by_name(world: World, daemon: Callable[..., Daemon]) -> Daemon:
    """A running factory, one of its queues on the local schedd, one on the same by name and collector."""
    main = world.main()
    named = {"name": world.pool.schedd, "collector": world.pool.collector, "spool": "no"}
    main["schedd named"] = dict(main["schedd local"]) | named
    return serve(world, daemon, main, source="named")


def finishes(world: World, queue: str, number: int) -> None:
    """Wait until so many jobs of a queue are finished."""
    until(lambda: world.panda.totals()[queue].finished >= number, 60, f"{number} jobs of {queue} finished")


def outage(world: World, factory: Daemon) -> None:
    """Stop the schedd, wait until its queues say that they are blocked, and let many jobs come."""
    since = factory.mark()
    world.pool.stop_schedd()
    for queue in QUEUES:
        factory.wait_for(f"{queue} blocked: .*pilots unknown: ", 40, since=since)
        world.panda.jobs.add(queue, MORE)


def resume(world: World, factory: Daemon, since: int) -> None:
    """Wait until each queue submits again by itself, begins with one pilot, reaches its cap, and its jobs are run."""
    for queue in QUEUES:
        first = factory.wait_for(f"{queue} submitted [1-9]", 60, since=since)
        law(" submitted 1: " in first, f"after an outage a queue begins with one pilot: {first}")
    for queue in QUEUES:
        finishes(world, queue, FIRST + MORE)
        told = Counter(str(ad["APF_SUBMISSION"]) for ad in world.pilots() if ad["APF_QUEUE"] == queue)
        entries = world.submissions()
        law(all(count <= entries[name]["count"] for name, count in told.items()), "pilots were submitted twice")
        assert all(count == entries[name]["count"] for name, count in told.items()), "pilots are missing"
        most = world.most_in_flight(queue)
        law(most <= CAP, f"{most} pilots of {queue} at a time, {CAP} at most")
        assert most == CAP, "the cap was never reached, so nothing was tested"


def undelayed(factory: Daemon) -> None:
    """Fail when a queue beside was delayed by more than a second; as ever three times that is allowed."""
    for name in (METRONOME, ON_PANDA):
        assert longest_gap(factory.lines(f"{name} submitted 1")) < 1 + 3 * 1, f"{name} was delayed"


@FAULTS
def test_schedd_hangs(world: World, factory: Daemon) -> None:
    """A schedd that never answers blocks its queues, and delays neither the others nor a signal."""
    outage(world, factory)
    began = time.monotonic()
    factory.reload()
    assert time.monotonic() - began < 3, "a signal was delayed by the hanging schedd"
    time.sleep(5)
    since = factory.mark()
    world.pool.cont_schedd()
    resume(world, factory, since)
    undelayed(factory)
    world.pool.stop_schedd()
    time.sleep(2)
    factory.stop(within=9)
    factory.assert_nothing_left()


@FAULTS
def test_schedd_is_killed_and_comes_back(world: World, factory: Daemon) -> None:
    """A schedd that dies is asked again until the master has started it anew."""
    # Stopped first: a master that restarts it at once would leave no outage to see.
    outage(world, factory)
    since = factory.mark()
    world.pool.kill_schedd()
    resume(world, factory, since)
    undelayed(factory)
    factory.stop(within=9)


@FAULTS
def test_collector_is_gone(world: World, by_name: Daemon) -> None:
    """Nobody who knows his schedd misses the collector; who must look it up waits for it, and starts all the same."""
    since = by_name.mark()
    # With its master halted nobody starts it again.
    world.pool.halt("master")
    world.pool.kill("collector")
    for name in QUEUES:
        world.panda.jobs.add(name, FIRST)
        by_name.wait_for(f"{name}.* submitted [1-9]", 30, since=since)
    undelayed(by_name)
    by_name.stop(within=9)
    since = by_name.mark()
    by_name.start()
    by_name.wait_for(f"{NAMED}.* blocked: .*pilots unknown: .*named", 40, since=since)
    by_name.wait_for(f"{QUEUE}.* submitted 0: ", 40, since=since)
    world.pool.cont("master")
    for name in QUEUES:
        finishes(world, name, 2 * FIRST)
    world.panda.jobs.add(NAMED, FIRST)
    by_name.wait_for(f"{NAMED}.* submitted [1-9]", 60, since=since)
    finishes(world, NAMED, 3 * FIRST)
    by_name.stop(within=9)


@pytest.mark.xdist_group("schedd-crash")
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
        law(sum(told.values()) <= wanted, "pilots were submitted twice")
        law(set(told) <= set(entries), "there are pilots that the factory does not know")
        law(told[first[0]["id"]] in (0, wanted), "half a submission")
        assert sum(told.values()) == wanted
        factory.stop(within=9)
        world.pool.run(["condor_rm", "-all"])
