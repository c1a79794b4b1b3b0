"""What a pilot asked for is what its job gets in a pool that cuts its machines into slots."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.integration.shapes import GOT, SHAPE
from tests.integration.test_condor_c import jobs_of
from tests.testbed.daemon import Daemon
from tests.testbed.world import World, until

pytestmark = pytest.mark.xdist_group("flood-held")

DIVISIBLE = """
NUM_CPUS = 4
MEMORY = 2048
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
"""


def test_a_pool_gives_what_was_asked_for(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    jobs = [SimulatedQueue("LOCAL", backlog=2, duration=1.0)]
    with World(workdir, testbed, user, jobs, slots=1, extra=DIVISIBLE) as world:
        queues = world.queues(("LOCAL",), **SHAPE)
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment)
        factory.start()
        until(lambda: {ad[0] for ad in jobs_of(world.pool, "LOCAL", "JobStatus")} == {"4"}, 60, "pilots have ended")
        told = [dict(zip(GOT["vanilla"], ad, strict=True)) for ad in jobs_of(world.pool, "LOCAL", *GOT["vanilla"])]
        assert told == [GOT["vanilla"]] * 2
        factory.stop(within=9)
        factory.assert_nothing_left()
