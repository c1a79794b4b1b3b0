"""One schedd with six grid queues, two of them on CEs that do not work: the other four do not notice."""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.condor import GRID, TOKENS_ONLY, CondorPool
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.slurm import SlurmCluster
from tests.testbed.world import Options, World, until

pytestmark = pytest.mark.xdist_group("six-ces")

GOOD = ("REMOTE", "SELF", "SLURM", "PBS")
DEAD, HUNG = "DEAD", "HUNG"
NOBODY = "127.0.0.1:9"
JOBS = 5
PER_CYCLE = 2
MAX_PILOTS = 4
PROBE = 15
OVER = {3, 4}
"""JobStatus: removed, completed."""


@contextmanager
def site(workdir: Path, testbed: Path, user: str) -> Iterator[tuple[World, CondorPool, CondorPool]]:
    """A schedd with a Slurm and a Torque beside it, and two more pools: one that works, one that will hang."""
    jobs = [SimulatedQueue(name, backlog=JOBS, duration=1.0) for name in (*GOOD, DEAD, HUNG)]
    with ExitStack() as stack:
        slurm = stack.enter_context(SlurmCluster(workdir / "slurm"))
        # HTCondor's scripts remember the jobs of the last minute by number.
        torque = stack.enter_context(
            PretendedSystem(workdir / "torque", "torque", user, first=int(time.time()) % 1_000_000)
        )
        environment = {**slurm.environment, "PATH": f"{torque.bin}:{testbed}/htcondor/usr/bin:/usr/bin:/bin"}
        world = stack.enter_context(World(workdir, testbed, user, jobs, slots=2, extra=GRID, environment=environment))
        ces = []
        for name in ("ce", "hung"):
            ce = CondorPool(workdir / name, user, testbed / "htcondor", slots=2, extra=TOKENS_ONLY)
            ces.append(stack.enter_context(ce))
            token = world.pool.base / "tokens.d" / name
            shutil.copy(ce.base / "tokens.d/user", token)
            shutil.chown(token, user)
        yield world, ces[0], ces[1]


def queues_of(world: World, ce: CondorPool, hung: CondorPool) -> dict[str, Options]:
    def condor(schedd: str, collector: str) -> Options:
        return {"subtype": "condor", "remote_schedd": schedd, "endpoint": collector}

    own: dict[str, Options] = {
        "REMOTE": condor(ce.schedd, ce.collector),
        "SELF": condor(world.pool.schedd, world.pool.collector),
        "SLURM": {"subtype": "slurm", "batchqueue": "normal"},
        "PBS": {"subtype": "pbs", "batchqueue": "grid"},
        DEAD: condor("nobody@nowhere", NOBODY),
        HUNG: condor(hung.schedd, hung.collector),
    }
    more = {"max_per_cycle": PER_CYCLE, "max_pilots": MAX_PILOTS, "max_held.probe": f"{PROBE}s"}
    sections = world.queues(tuple(own), type="grid", **more)
    return sections | {name: {**sections[name], **options} for name, options in own.items()}


def counts(lines: Sequence[str]) -> list[int]:
    """Return how many pilots each line of a queue says were submitted."""
    return [int(found[1]) for line in lines if (found := re.search(r" submitted (\d+): ", line))]


def test_four_go_on(testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]) -> None:
    with site(workdir, testbed, user) as (world, ce, hung):
        main = world.main()
        main["schedd local"] = {**main["schedd local"], "silent_after": "25s"}
        factory = daemon(world.write(main, queues_of(world, ce, hung)), environment=world.pool.environment)
        hung.halt("schedd")
        factory.start()
        words = {DEAD: rf"{NOBODY} is unreachable since", HUNG: rf"{hung.collector} is silent since"}
        for queue, said in words.items():
            factory.wait_for(rf" {queue} submitted 0: .* endpoint 0 \({said}", 60)
        known = factory.mark()
        until(lambda: all(world.panda.totals()[name].finished == JOBS for name in GOOD), 120, "jobs of four queues")
        for name in GOOD:
            assert not factory.lines(rf" {name} .*endpoint 0"), name
        for endpoint, word in ((NOBODY, "unreachable"), (hung.collector, "silent")):
            assert len(factory.lines(rf" WARNING .*endpoint {endpoint} is {word} since")) == 1

        # Nothing more goes there while pilots wait; when none waits any more, one at a time tries it again.
        assert not any(counts(factory.lines(rf" ({DEAD}|{HUNG}) ", since=known)))
        since = factory.mark()
        for queue in words:
            world.pool.run(["condor_rm", "-constraint", f'APF_QUEUE == "{queue}"'])
        for queue in words:
            factory.wait_for(rf" {queue} submitted 1: ", 60, since=since)
        time.sleep(PROBE)
        for queue in words:
            assert sum(counts(factory.lines(rf" {queue} ", since=since))) == 1, queue
        for name in (*GOOD, DEAD, HUNG):
            jobs = [ad for ad in world.condor("condor_q", "-all") if ad["APF_QUEUE"] == name]
            alive = [ad for ad in jobs if ad["JobStatus"] not in OVER]
            law(len(alive) <= MAX_PILOTS, f"{len(alive)} pilots of {name}, {MAX_PILOTS} at most")

        hung.cont("schedd")
        until(lambda: world.panda.totals()[HUNG].finished == JOBS, 90, "all jobs of the CE that came back")
        factory.wait_for(rf"endpoint {hung.collector} is no longer in trouble", 10)
        assert not factory.lines(" (ERROR|CRITICAL) ")
        factory.stop(within=9)
        factory.assert_nothing_left()
