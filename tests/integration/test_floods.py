"""Floods that need more than one law to stop: on a real pool not one pilot too many."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import World, until

JOBS = 40
Start = Callable[..., Daemon]


@pytest.mark.xdist_group("flood-frozen")
def test_statistics_are_frozen_while_pilots_start_at_once(
    testbed: Path, user: str, workdir: Path, daemon: Start
) -> None:
    """Forty jobs that look activated for two minutes get forty pilots, in one section as in three."""
    jobs = [SimulatedQueue(name, backlog=JOBS, duration=1.0) for name in ("ONE", "THREE")]
    with World(workdir, testbed, user, jobs) as world:
        world.panda.freeze()
        main = world.main()
        main["wms panda"] = dict(main["wms panda"]) | {"lag": "150s", "max_age": "6m"}
        queues = world.queues(["ONE"])
        queues |= {f"THREE-{k}": {"wmsqueue": "THREE", "weight": k} for k in (1, 2, 3)}
        factory = daemon(world.write(main, queues), environment=world.pool.environment).start()
        began = time.monotonic()
        until(lambda: all(t.finished == JOBS for t in world.panda.totals().values()), 100, "all jobs finished")
        time.sleep(max(0.0, began + 115 - time.monotonic()))
        totals = world.by_queue()
        factory.stop(within=9)
        three = sum(count for name, count in totals.items() if name.startswith("THREE"))
        law(totals["ONE"] <= JOBS and three <= JOBS, f"{JOBS} jobs got {totals['ONE']} and {three} pilots")
        assert totals["ONE"] == three == JOBS


@pytest.mark.xdist_group("flood-held")
def test_every_pilot_is_held_at_once(testbed: Path, user: str, workdir: Path, daemon: Start) -> None:
    """A queue whose pilots are all held gets its jobs' number of pilots once, and then only probes."""
    with World(workdir, testbed, user, [SimulatedQueue("SITE_A", backlog=JOBS)], slots=5) as world:
        queues = world.queues(["SITE_A"], **{"submit.periodic_hold": "True"})
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment).start()
        factory.wait_for(r"SITE_A.* held=[1-9]\d.* max_held 0", 60)
        time.sleep(20)
        states = Counter(ad["JobStatus"] for ad in world.condor("condor_q", "-all"))
        factory.stop(within=9)
        # One of each slot may start before the schedd looks at its policy.
        assert states[5] >= JOBS - 5
        # Until more than max_held (10) are held, a held pilot's job is asked for again.
        law(sum(states.values()) <= JOBS + 10 + 1, f"more than one probe in ten minutes: {states}")
        assert sum(states.values()) >= JOBS


@pytest.mark.xdist_group("flood-held")
def test_two_factories_with_one_id(testbed: Path, user: str, workdir: Path, daemon: Start) -> None:
    """Who sees the other's pilots blocks and names the host; on one host the second does not start at all."""
    with World(workdir, testbed, user, [SimulatedQueue("SITE_A", backlog=4, duration=60)], slots=5) as world:
        queues = world.queues(["SITE_A"], rules="fixed", fixed=1, max_pilots=50)
        hosts = ("gridui1", "gridui2")
        factories = {}
        for host in hosts:
            conf = world.write(world.main(host, host=host), queues, host)
            factories[host] = daemon(conf, log=workdir / f"{host}.log", environment=world.pool.environment)
        for factory in factories.values():
            factory.start()

        def blocked() -> list[str]:
            return [host for host in hosts if factories[host].lines("SITE_A.* blocked: .*host gridui")]

        until(lambda: bool(blocked()), 40, "one of the two is blocked")
        stopped = blocked()
        for host in stopped:
            other = next(name for name in hosts if name != host)
            assert factories[host].lines(f"SITE_A.* blocked: .*host {other}.*stop one")
        before = Counter(ad["APF_HOST"] for ad in world.pilots())
        time.sleep(5)
        after = Counter(ad["APF_HOST"] for ad in world.pilots())
        law(all(after[host] == before[host] for host in stopped), "who blocks submits all the same")

        again = daemon(factories["gridui1"].conf, log=workdir / "again.log", environment=world.pool.environment)
        again.start(wait_for="")
        assert again.wait(20) != 0
        assert again.lines("TEST-factory.*runs already|already")
        for factory in factories.values():
            factory.stop(within=9)
