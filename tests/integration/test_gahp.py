"""HTCondor's batch gahp over a real Slurm: what a pilot asked for is what its job got."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.condor import GRID
from tests.testbed.daemon import Daemon
from tests.testbed.slurm import SlurmCluster
from tests.testbed.world import World, until

pytestmark = pytest.mark.xdist_group("gahp")

JOBS = 8
MAX_PILOTS = 4


def test_pilots_run_in_slurm_behind_a_schedd(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    jobs = [SimulatedQueue("GAHP", backlog=JOBS, duration=2.0)]
    slurm = SlurmCluster(workdir / "slurm")
    with slurm, World(workdir, testbed, user, jobs, slots=1, extra=GRID, environment=slurm.environment) as world:
        queues = world.queues(
            ("GAHP",),
            type="grid",
            subtype="slurm",
            batchqueue="normal",
            max_pilots=MAX_PILOTS,
            cores=2,
            job_cores="SCORE:2",
            memory="300MB",
            walltime="601s",
        )
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
        factory.start()
        until(lambda: world.panda.totals()["GAHP"].finished == JOBS, 120, "all jobs finished")
        until(lambda: all(ad["JobStatus"] == 4 for ad in world.condor("condor_q", "-all")), 90, "all pilots ended")
        pilots = world.pilots()
        assert 0 < len(pilots) <= JOBS
        assert {ad["ExitCode"] for ad in pilots} == {0}
        factory.stop(within=9)
        factory.assert_nothing_left()
        told = [
            dict(re.findall(r"(\w+)=(\S+)", line)) for line in slurm.run("scontrol", "-o", "show", "job").splitlines()
        ]
        assert len(told) == len(pilots)
        got = {(job["Partition"], job["NumCPUs"], job["MinMemoryNode"], job["TimeLimit"]) for job in told}
        assert got == {("normal", "2", "300M", "00:11:00")}
        assert {path.stem for path in (workdir / "factory/pilots").rglob("*/GAHP/*.out")} == {
            f"{ad['ClusterId']}.{ad['ProcId']}" for ad in pilots
        }
        assert not factory.lines(" (ERROR|CRITICAL) ")
