"""Five hundred queues on one schedd and one PanDA: cost grows with sources; they come back slowly together."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import World, until

pytestmark = pytest.mark.xdist_group("many-queues")

QUEUES = 500
INTERVAL = 4
CAP = 4


def status_queries(world: World) -> int:
    """Return how many job queries the schedd has served, by its own log."""
    log = (world.workdir / "pool" / "local" / "log" / "SchedLog").read_text(errors="replace")
    return len(re.findall(r"command \d+ \(QUERY_JOB_ADS", log))


def counts(factory: Daemon, since: int) -> dict[str, list[int]]:
    """Return by queue how many pilots each of its submissions had."""
    found: dict[str, list[int]] = {}
    for line in factory.lines(r" submitted [1-9]", since=since):
        match = re.search(r"(SITE_\d+) submitted (\d+):", line)
        assert match
        found.setdefault(match[1], []).append(int(match[2]))
    return found


def test_five_hundred_queues(testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]) -> None:
    """One status query per source and interval, a ramp after an outage, a stop within 3 s."""
    names = [f"SITE_{k:03d}" for k in range(QUEUES)]
    jobs = [SimulatedQueue(name, backlog=1, duration=600.0) for name in names]
    extra = "SCHEDD_DEBUG = D_COMMAND\nMAX_SCHEDD_LOG = 1000000000"
    with World(workdir, testbed, user, jobs, slots=1, extra=extra) as world:
        main = world.main()
        main["wms panda"] = dict(main["wms panda"]) | {"interval": f"{INTERVAL}s", "max_age": "30s"}
        main["schedd local"] = {"interval": f"{INTERVAL}s", "max_age": "12s", "deadline": "5s"}
        queues = world.queues(names, interval="2s", monitor="", max_per_cycle=CAP, max_pilots=CAP)
        factory = daemon(world.write(main, queues), environment=world.pool.environment)
        factory.start(timeout=60)
        factory.wait_for(r" submitted 1: ", 60, count=QUEUES)

        asked, panda = status_queries(world), world.panda.requests["active_job_detailed_stats_by_site"]
        began = time.monotonic()
        time.sleep(5 * INTERVAL)
        intervals = (time.monotonic() - began) / INTERVAL
        assert 1 < status_queries(world) - asked <= intervals + 2
        assert 1 < world.panda.requests["active_job_detailed_stats_by_site"] - panda <= intervals + 2

        since = factory.mark()
        world.pool.stop_schedd()
        factory.wait_for(r" blocked: .*pilots unknown", 60, since=since, count=QUEUES)
        for name in names:
            world.panda.jobs.add(name, 20)
        since = factory.mark()
        world.pool.cont_schedd()
        until(lambda: set(counts(factory, since)) == set(names), 60, "all queues came back", step=1.0)
        first = {name: submitted[0] for name, submitted in counts(factory, since).items()}
        law(set(first.values()) == {1}, "a queue came back with more than one pilot")
        until(lambda: set(world.by_queue().values()) == {CAP}, 60, "all queues reached their cap", step=2.0)
        most = max(map(sum, counts(factory, since).values()))
        law(most <= CAP - 1, f"beside its first one a queue got {most} more pilots, {CAP} at most")
        factory.stop(within=9)
        factory.assert_nothing_left()
