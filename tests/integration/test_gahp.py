"""HTCondor's batch gahp over a real Slurm and stand-ins of Torque and LSF: what was asked for is what a job got."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from autopyfactory.batch.held import SHIPPED
from autopyfactory.simulate.jobs import SimulatedQueue
from tests.integration.removal import remove_by_command
from tests.integration.shapes import GOT, SHAPE, of_row
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.condor import GRID
from tests.testbed.daemon import Daemon
from tests.testbed.slurm import SlurmCluster
from tests.testbed.world import Options, World, until

pytestmark = pytest.mark.xdist_group("gahp")
STAND_INS = pytest.mark.xdist_group("gahp-stand-ins")
OUTAGE = pytest.mark.xdist_group("gahp-outage")

JOBS = 6
MAX_PILOTS = 4
SEVEN: Options = {"rules": "fixed", "wms": "", "wmsqueue": "", "fixed": 1, "max_pilots": 1}

# Two of three such pilots run beside all others, and the third waits.
WIDE = 16
CPUS = 2 * WIDE + 2 * MAX_PILOTS + 1
LONG: Options = {**SEVEN, "fixed": 3, "max_pilots": 3, "cores": WIDE, "walltime": "5m"}
OVER = {"ended", "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT"}

Job = Mapping[str, str]
System = tuple[dict[str, str], str, str, Callable[[], list[tuple[str, Job]]]]
"""What daemons need to find it, two of its queues, and its jobs: the queue of each, and what it got.

Of every system `JobState` and `NumCPUs`, in the words of Slurm or of the stand-ins.
"""


@contextmanager
def slurm(workdir: Path, testbed: Path, user: str) -> Iterator[System]:
    with SlurmCluster(workdir / "slurm", cpus=CPUS) as cluster:

        def jobs() -> list[tuple[str, Job]]:
            lines = cluster.run("scontrol", "-o", "show", "job").splitlines()
            told = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]
            return [(job["Partition"], job) for job in told]

        yield cluster.environment, "normal", "short", jobs


@contextmanager
def pretended(kind: str, key: str, workdir: Path, testbed: Path, user: str) -> Iterator[System]:
    # Outside of any test, HTCondor's scripts remember the jobs of the last minute by number.
    with PretendedSystem(workdir / kind, kind, user, first=int(time.time()) % 1_000_000, slots=CPUS) as system:

        def jobs() -> list[tuple[str, Job]]:
            return [
                (job["queue"], {**job[key], "JobState": job["state"], "NumCPUs": str(job["cores"])})
                for job in system.jobs().values()
            ]

        yield {"PATH": f"{system.bin}:{testbed}/htcondor/usr/bin:/usr/bin:/bin"}, "grid", "normal", jobs


@contextmanager
def pbs(workdir: Path, testbed: Path, user: str) -> Iterator[System]:
    with pretended("torque", "resources", workdir, testbed, user) as system:
        yield system


@contextmanager
def lsf(workdir: Path, testbed: Path, user: str) -> Iterator[System]:
    with pretended("lsf", "asked", workdir, testbed, user) as system:
        yield system


@pytest.mark.parametrize(
    ("start", "codes"),
    [
        pytest.param(slurm, {0}, id="slurm"),  # the scripts know exit codes of Slurm by its accounting only
        pytest.param(pbs, {0}, id="pbs", marks=STAND_INS),  # the script writes 0 over each
        pytest.param(lsf, {7}, id="lsf", marks=STAND_INS),
    ],
)
def test_pilots_run_behind_a_schedd(
    start: Callable[..., AbstractContextManager[System]],
    codes: set[int],
    testbed: Path,
    user: str,
    workdir: Path,
    daemon: Callable[..., Daemon],
    request: pytest.FixtureRequest,
) -> None:
    row = request.node.callspec.id
    for name, line in (("seven.sh", "exit 7"), ("long.sh", "exec sleep 600")):
        (workdir / name).write_text(f"#!/bin/sh\n{line}\n")
        (workdir / name).chmod(0o755)
    with (
        start(workdir, testbed, user) as (environment, batchqueue, other, jobs_there),
        World(
            workdir,
            testbed,
            user,
            [SimulatedQueue("GAHP", backlog=JOBS, duration=2.0)],
            slots=1,
            extra=GRID,
            environment=environment,
        ) as world,
    ):

        def pilots(queue: str) -> list[dict[str, object]]:
            return [ad for ad in world.pilots() if ad["APF_QUEUE"] == queue]

        queues = world.queues(("GAHP",), type="grid", subtype=row, max_pilots=MAX_PILOTS)
        queues["GAHP"] = {**queues["GAHP"], **SHAPE, "batchqueue": batchqueue}
        queues["SEVEN"] = {**SEVEN, "batchqueue": other, "executable": workdir / "seven.sh"}
        queues["LONG"] = {**LONG, "batchqueue": other, "executable": workdir / "long.sh"}
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
        factory.start()
        remove_by_command(factory, "LONG", {"pending": 1, "running": 2})
        assert {ad["JobStatus"] for ad in pilots("LONG")} == {3}

        def wide() -> list[str]:
            return [job["JobState"] for _, job in jobs_there() if job["NumCPUs"] == str(WIDE)]

        until(lambda: len(wide()) == 3 and set(wide()) <= OVER, 60, "all that the command named are gone there")
        until(lambda: world.panda.totals()["GAHP"].finished == JOBS, 120, "all jobs finished")
        until(lambda: {ad["JobStatus"] for ad in pilots("GAHP")} == {4}, 150, "all pilots ended")
        until(lambda: 4 in {ad["JobStatus"] for ad in pilots("SEVEN")}, 60, "one that fails, too")
        assert 0 < len(pilots("GAHP")) <= JOBS
        assert {ad["ExitCode"] for ad in pilots("GAHP")} == {0}
        factory.stop(within=9)
        factory.assert_nothing_left()
        outputs = {path.stem for path in (workdir / "factory/pilots").rglob("*/GAHP/*.out")}
        assert outputs == {f"{ad['ClusterId']}.{ad['ProcId']}" for ad in pilots("GAHP")}
        got = [of_row(f"grid {row}", job) for queue, job in jobs_there() if queue == batchqueue]
        assert got == [GOT[f"grid {row}"]] * len(outputs)
        assert {ad["ExitCode"] for ad in pilots("SEVEN") if ad["JobStatus"] == 4} == codes
        assert not factory.lines(" (ERROR|CRITICAL) ")


@OUTAGE
def test_pilots_that_met_a_dead_slurmctld_run_when_it_is_back(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """They are held, released and run, and none is sent in their place.

    One that ran before makes HTCondor try at all; it may seem to have ended, so nothing is said of it.
    """
    sleeper = workdir / "sleeper.sh"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    two: Options = {**SEVEN, "executable": sleeper, "fixed": 2, "max_pilots": 2, "batchqueue": "normal"}
    row: Options = {"match": SHIPPED["gahp-unreachable"].match, "action": "release", "times": 30, "after": "5s"}
    extra = f"{GRID}GRIDMANAGER_RESOURCE_PROBE_INTERVAL = 5\n"
    with (
        SlurmCluster(workdir / "slurm") as cluster,
        World(workdir, testbed, user, [], slots=1, extra=extra, environment=cluster.environment) as world,
    ):
        queues = {**world.queues((), type="grid", subtype="slurm"), "MEANWHILE": two}
        queues["BEFORE"] = {**two, "fixed": 1, "max_pilots": 1, "batchqueue": "short"}
        main = {**world.main(), "held gahp-unreachable": row}
        factory = daemon(world.write(main, queues), environment=world.pool.environment)

        def states(queue: str) -> list[object]:
            return [ad["JobStatus"] for ad in world.pilots() if ad["APF_QUEUE"] == queue]

        assert factory.run("pause", "MEANWHILE", "--why", "test").returncode == 0
        factory.start()
        until(lambda: states("BEFORE") == [2], 60, "one runs")
        cluster.end_controller()
        assert factory.run("resume", "MEANWHILE").returncode == 0
        factory.wait_for(r" MEANWHILE .* held: \d x 'submission command failed .*\(code 0\)", 60)
        factory.wait_for(r" released \d held pilots; of \d held: .*'submission command failed", 30)
        cluster.start_controller()
        until(lambda: states("MEANWHILE") == [2, 2], 180, "both run")
        assert [job["job_state"] for job in cluster.jobs() if job["partition"] == "normal"] == ["RUNNING"] * 2
        assert len(factory.lines(" MEANWHILE submitted [1-9]")) == 1
        factory.stop(within=9)
        assert not factory.lines(" (ERROR|CRITICAL) ")
