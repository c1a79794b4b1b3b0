"""Grid universe on real pools: a schedd hands pilots to another one (Condor-C), to itself and to a dead CE."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.integration.removal import remove_by_command
from tests.integration.shapes import GOT, SHAPE
from tests.testbed.condor import GRID, TOKENS_ONLY, CondorPool
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import Options, World, until

pytestmark = pytest.mark.xdist_group("condor-c")

MAX_PILOTS = 6
JOBS = 10
LONG: Options = {"rules": "fixed", "wms": "", "wmsqueue": "", "fixed": 3, "max_pilots": 3}


@contextmanager
def two_pools(
    workdir: Path, testbed: Path, user: str, jobs: list[SimulatedQueue]
) -> Iterator[tuple[World, CondorPool]]:
    """A world whose schedd goes on to the schedd of a second pool, which asks for a token."""
    with (
        World(workdir, testbed, user, jobs, slots=4, extra=GRID) as world,
        CondorPool(workdir / "ce", user, testbed / "htcondor", slots=2, slot_cpus=2, extra=TOKENS_ONLY) as ce,
    ):
        shutil.copy(ce.base / "tokens.d/user", world.pool.base / "tokens.d/ce")
        shutil.chown(world.pool.base / "tokens.d/ce", user)
        yield world, ce


def grid(schedd: str, collector: str) -> Options:
    return {"type": "grid", "subtype": "condor", "remote_schedd": schedd, "endpoint": collector}


def jobs_of(pool: CondorPool, queue: str, *attributes: str) -> list[list[str]]:
    """Return attributes of a queue's jobs that a pool has or had."""
    words = ["-constraint", f'APF_QUEUE == "{queue}"', "-af", *attributes]
    out = pool.run(["condor_q", "-all", *words]) + pool.run(["condor_history", *words])
    return [line.split() for line in out.splitlines()]


def figures(line: str) -> dict[str, int]:
    """Return the counts that a line of the log tells."""
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line.partition("|")[0])}


def test_pilots_run_behind_another_schedd_and_only_there(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """Unsent, pending, running, finished with exit codes; caps hold; a dead CE gets no more than its first pilots."""
    long = workdir / "long.sh"
    long.write_text("#!/bin/sh\nexec sleep 600\n")
    long.chmod(0o755)
    jobs = [SimulatedQueue(name, backlog=JOBS, duration=2.0) for name in ("REMOTE", "SELF", "DEAD")]
    with two_pools(workdir, testbed, user, jobs) as (world, ce):
        queues = world.queues(("REMOTE", "SELF", "DEAD"), max_per_cycle=3, max_pilots=MAX_PILOTS)
        queues["REMOTE"] = {
            **queues["REMOTE"],
            **grid(ce.schedd, ce.collector),
            **SHAPE,
        }
        queues["SELF"] = {**queues["SELF"], **grid(world.pool.schedd, world.pool.collector)}
        queues["DEAD"] = {**queues["DEAD"], **grid("nobody@nowhere", "127.0.0.1:9")}
        main = world.main()
        factory = daemon(world.write(main, queues), environment=world.pool.environment)
        factory.start()
        dead = factory.wait_for(r" DEAD submitted 0: .* endpoint 0 \(127\.0\.0\.1:9 is unreachable since", 60)
        assert "unsent=" in dead

        def finished() -> bool:
            alive = [ad for ad in world.condor("condor_q", "-all") if ad["JobStatus"] != 4]
            pilots = [ad for ad in alive if ad.get("JobUniverse") == 9]
            for queue in ("REMOTE", "SELF"):
                alive = sum(ad["APF_QUEUE"] == queue for ad in pilots)
                law(alive <= MAX_PILOTS, f"{alive} pilots of {queue}, {MAX_PILOTS} at most")
            totals = world.panda.totals()
            return totals["REMOTE"].finished == totals["SELF"].finished == JOBS

        until(finished, 120, "all jobs of two queues finished")
        counts = [figures(line) for line in factory.lines(" REMOTE submitted ")]
        assert any(at["pending"] > at.get("unsent", 0) + at.get("unseen", 0) for at in counts)
        assert any(at["running"] for at in counts)
        until(lambda: {ad[0] for ad in jobs_of(world.pool, "REMOTE", "JobStatus")} == {"4"}, 60, "pilots at their end")
        assert {ad[0] for ad in jobs_of(world.pool, "REMOTE", "ExitCode")} == {"0"}
        submissions = world.submissions()
        for queue, pool in (("REMOTE", ce), ("SELF", world.pool)):
            asked = sum(entry["count"] for entry in submissions.values() if entry["queue"] == queue)
            copies = jobs_of(pool, queue, "JobUniverse", "SubmitterId")
            arrived = sum(words[0] == "5" for words in copies)
            law(arrived <= asked, f"{asked} pilots were submitted to {queue}, {arrived} arrived")
            assert arrived == asked, queue
        assert len(jobs_of(world.pool, "DEAD", "JobStatus")) <= MAX_PILOTS
        granted = {tuple(words) for words in jobs_of(ce, "REMOTE", *GOT["grid condor"])}
        assert granted == {tuple(GOT["grid condor"].values())}
        outputs = {path.stem for path in (workdir / "factory/pilots").rglob("*/REMOTE/*.out")}
        assert outputs == {f"{ad[0]}.{ad[1]}" for ad in jobs_of(world.pool, "REMOTE", "ClusterId", "ProcId")}

        # The CE is free now: two run, the third waits, and the command removes them there too.
        queues["LONG"] = {**LONG, **grid(ce.schedd, ce.collector), "executable": long}
        world.write(main, queues)
        factory.reload()
        remove_by_command(factory, "LONG", {"pending": 1, "running": 2})
        assert factory.run("drain", "DEAD", "--why", "test").returncode == 0
        unsent = len(jobs_of(world.pool, "DEAD", "JobStatus"))
        done = factory.run("kill", "--queue", "DEAD")
        assert done.stdout == f"removed {unsent} pilots of DEAD: unsent {unsent}\n", done

        def left() -> bool:
            places = ((world.pool, "LONG"), (ce, "LONG"), (world.pool, "DEAD"))
            return any({ad[0] for ad in jobs_of(*place, "JobStatus")} != {"3"} for place in places)

        until(lambda: not left(), 60, "all that the command named are removed")
        assert not factory.lines(" (ERROR|CRITICAL) ")
        factory.stop(within=9)
        factory.assert_nothing_left()


def test_a_ce_that_hangs_is_silent_costs_nobody_else_and_comes_back(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """A CE that accepts connections and never answers: nothing tells, but that nothing moves."""
    jobs = [SimulatedQueue(name, backlog=JOBS, duration=1.0) for name in ("HUNG", "SELF")]
    with two_pools(workdir, testbed, user, jobs) as (world, ce):
        queues = world.queues(("HUNG", "SELF"), max_per_cycle=3, max_pilots=MAX_PILOTS)
        queues["HUNG"] = {**queues["HUNG"], **grid(ce.schedd, ce.collector), "max_pilots": MAX_PILOTS + 2}
        queues["SELF"] = {**queues["SELF"], **grid(world.pool.schedd, world.pool.collector)}
        main = world.main()
        main["schedd local"] = {**main["schedd local"], "silent_after": "15s"}
        factory = daemon(world.write(main, queues), environment=world.pool.environment)
        ce.halt("schedd")
        try:
            factory.start()
            factory.wait_for(rf" HUNG submitted 0: .* endpoint 0 \({ce.collector} is silent since", 60)
            until(lambda: world.panda.totals()["SELF"].finished == JOBS, 90, "the other queue goes on")
            assert not factory.lines(r" SELF .*endpoint 0")
        finally:
            ce.cont("schedd")
        until(lambda: world.panda.totals()["HUNG"].finished == JOBS, 120, "all jobs of the CE that came back")
        factory.wait_for(rf"endpoint {ce.collector} is no longer in trouble", 60)
        assert len(jobs_of(world.pool, "HUNG", "JobStatus")) <= JOBS
        factory.stop(within=9)
        factory.assert_nothing_left()
