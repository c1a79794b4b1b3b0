"""Five hundred queues on one schedd and one PanDA: cost grows with sources; they come back slowly together."""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.world import World

pytestmark = pytest.mark.xdist_group("many-queues")

QUEUES = 500
INTERVAL = 4


def status_queries(world: World) -> int:
    """Return how many job queries the schedd has served, by its own log."""
    log = (world.workdir / "pool" / "local" / "log" / "SchedLog").read_text(errors="replace")
    return len(re.findall(r"command \d+ \(QUERY_JOB_ADS", log))


def test_five_hundred_queues(testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]) -> None:
    """One status query per source and interval, a ramp after an outage, a stop within 3 s."""
    names = [f"SITE_{k:03d}" for k in range(QUEUES)]
    jobs = [SimulatedQueue(name, backlog=3, duration=600.0) for name in names]
    extra = "SCHEDD_DEBUG = D_COMMAND\nMAX_SCHEDD_LOG = 1000000000"
    with World(workdir, testbed, user, jobs, slots=1, extra=extra) as world:
        main = world.main()
        main["wms panda"] = dict(main["wms panda"]) | {"interval": f"{INTERVAL}s", "max_age": "30s"}
        main["schedd local"] = {"interval": f"{INTERVAL}s", "max_age": "12s", "deadline": "5s"}
        queues = world.queues(names, interval="2s", monitor="", max_per_cycle=1, max_pilots=50)
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
        factory.wait_for(r" submitted 1: ", 60, since=since, count=QUEUES // 2)
        first: dict[str, int] = {}
        for line in factory.lines(r" submitted [1-9]", since=since):
            match = re.search(r"(SITE_\d+) submitted (\d+):", line)
            assert match
            first.setdefault(match[1], int(match[2]))
        assert set(first.values()) == {1}, "a queue came back with more than one pilot"
        assert max(Counter(world.by_queue()).values()) <= 50
        factory.stop(within=9)
        factory.assert_nothing_left()
