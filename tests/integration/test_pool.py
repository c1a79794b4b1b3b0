"""The whole factory on a real HTCondor pool behind a real squid: five queues, two hundred jobs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import FACTORY, World, until

pytestmark = pytest.mark.xdist_group("pool")

QUEUES = ("SITE_A", "SITE_B", "SITE_C", "SITE_D", "SITE_E")
JOBS = 40
MAX_PILOTS = 15


def test_five_queues_and_two_hundred_jobs(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """Every job is run, no cap is broken, and factory, pool and monitor tell the same."""
    jobs = [SimulatedQueue(name, backlog=JOBS, duration=1.0) for name in QUEUES]
    with World(workdir, testbed, user, jobs) as world:
        queues = world.queues(QUEUES, max_per_cycle=8, max_pending=10, max_pilots=MAX_PILOTS)
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
        factory.start()

        def finished() -> int:
            return sum(total.finished for total in world.panda.totals().values())

        until(lambda: finished() == JOBS * len(QUEUES), 150, "all jobs finished")
        assert all(total.failed == 0 for total in world.panda.totals().values())
        most = [world.most_in_flight(name) for name in QUEUES]
        law(max(most) <= MAX_PILOTS, f"{most} pilots at a time, {MAX_PILOTS} at most")
        until(lambda: all(ad["JobStatus"] == 4 for ad in world.condor("condor_q", "-all")), 60, "all pilots ended")
        until(lambda: all(job.state == "done" for job in world.apfmon.jobs.values()), 60, "the monitor has all ends")
        factory.stop(within=9)
        factory.assert_nothing_left()

        pilots = world.pilots()
        submissions = world.submissions()
        told = Counter(str(ad["APF_SUBMISSION"]) for ad in pilots)
        assert told == {name: entry["count"] for name, entry in submissions.items() if entry["count"]}
        assert all(entry["outcome"] == "settled" for entry in submissions.values())
        assert all(ad["ExitCode"] == 0 for ad in pilots)
        cids = {f"{ad['ClusterId']}.{ad['ProcId']}" for ad in pilots}
        assert {name.partition(":")[2] for name in world.apfmon.jobs} == cids
        assert set(world.apfmon.labels) == {f"{FACTORY}:{name}" for name in QUEUES}
        outputs = {path.stem for path in (workdir / "factory" / "pilots").rglob("*.out")}
        assert outputs == cids
        assert not factory.lines(" (ERROR|CRITICAL) ")
        assert world.squid.access_log
