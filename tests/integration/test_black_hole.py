"""A black hole on a real pool: every pilot dies within a second. What it costs with `throttle`, and without."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed.daemon import Daemon
from tests.testbed.world import PILOT, World, until

pytestmark = pytest.mark.xdist_group("black-hole")

GUARDED, BARE = "GUARDED", "BARE"
HOLE = 40.0
PROBE = 5.0
BATCH = 5
THROTTLE = {
    "throttle": "0.5",
    "throttle.shorter_than": "20s",
    "throttle.window": "20s",
    "throttle.probe": f"{PROBE:.0f}s",
}


def test_a_black_hole_costs_the_probe_rate_and_is_left_by_itself(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """Two queues over one pool, with the rule and without it, for as long as the hole is there and after."""
    hole, script = workdir / "hole", workdir / "pilot.sh"
    hole.touch()
    script.write_text('#!/bin/sh\n[ ! -e "$1" ] || exit 7\nshift\nexec "$@"\n')
    script.chmod(0o755)
    jobs = [SimulatedQueue(name, backlog=500, duration=120.0) for name in (GUARDED, BARE)]
    with World(workdir, testbed, user, jobs, slots=50) as world:
        queues = world.queues(
            [GUARDED, BARE],
            interval="2s",
            max_per_cycle=BATCH,
            max_pending=2 * BATCH,
            max_pilots=20,
            arguments=f"-- {script} {hole} {PILOT} --url {world.panda.url} --queue %(wmsqueue)s",
        )
        queues[GUARDED] = dict(queues[GUARDED]) | THROTTLE
        factory = daemon(world.write(world.main(), queues), environment=world.pool.environment).start()
        factory.wait_for(f"{GUARDED} submitted .*> throttle [01]", 60)
        throttled = time.monotonic()
        before = world.by_queue()
        time.sleep(HOLE)
        during = world.by_queue() - before
        lasted = time.monotonic() - throttled
        hole.unlink()
        healed = time.monotonic()
        until(lambda: world.panda.totals()[GUARDED].running >= BATCH, 60, "the queue is back")
        back = time.monotonic() - healed
        lines = factory.lines(f"{GUARDED} submitted ")
        factory.stop(within=9)
    print(
        f"\nbefore the rule acted {before[GUARDED]} pilots, in the next {lasted:.0f} s {during[GUARDED]} "
        f"(one probe in {PROBE:.0f} s); without the rule {before[BARE]} and {during[BARE]}; "
        f"{BATCH} run again {back:.0f} s after the hole was closed"
    )
    cycles = [line for line in lines if seen_ends(line)]
    assert any("throttle" in line for line in cycles[:2]), "not within two cycles of the ends"
    assert before[GUARDED] <= 4 * BATCH
    assert during[GUARDED] <= lasted / PROBE + 1
    assert during[BARE] >= 3 * during[GUARDED]


def seen_ends(line: str) -> bool:
    """Tell whether a cycle's line counts enough ended pilots for a judgement."""
    found = re.search(r"finishing=(\d+)", line)
    return found is not None and int(found[1]) >= BATCH
