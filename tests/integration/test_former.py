"""A proxy that expires and a queue that gets another name, on a real pool."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.testbed import papers
from tests.testbed.daemon import Daemon
from tests.testbed.world import World, until

pytestmark = pytest.mark.xdist_group("former")

HOUR = 3600.0


def test_a_renewed_proxy_lets_a_queue_go_and_another_name_keeps_its_pilots(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    jobs = [SimulatedQueue("SITE", backlog=20, duration=40.0)]
    with World(workdir, testbed, user, jobs) as world:
        proxy, now = workdir / "proxy", time.time()

        def renew(until: float) -> None:
            shutil.chown(papers.write(proxy, papers.proxy(now - 4 * HOUR, until)), user)

        def write(name: str, **more: object) -> Path:
            sections = world.queues(["SITE"], max_pilots=3, proxy="production", wmsqueue="SITE")
            return world.write(main, {"DEFAULT": sections["DEFAULT"], name: more})

        main = world.main() | {"credential production": {"file": proxy}}
        renew(now - 3 * HOUR)
        factory = daemon(write("OLD"), environment=world.pool.environment)
        checked = factory.run("check")
        assert f"{proxy} expired 3 h ago, renew it" in checked.stdout
        assert checked.returncode == 0
        factory.start()
        factory.wait_for(rf"OLD blocked: .* no usable proxy: {proxy} expired 3 h ago, renew it$")
        assert not world.pilots()
        renew(now + 12 * HOUR)
        factory.wait_for(r"OLD submitted 3: ")
        until(lambda: world.by_queue() == {"OLD": 3}, 10, "three pilots")

        mark = factory.mark()
        write("NEW")
        factory.reload()
        factory.wait_for(r"former queue OLD: 3 pilots \(.*\) at schedd local; 'formerly = OLD'", 90, since=mark)
        until(lambda: world.by_queue()["NEW"] == 3, 20, "a stranger's pilots do not count")
        mark = factory.mark()
        write("NEWER", formerly="OLD, NEW")
        factory.reload()
        line = factory.wait_for(r"NEWER submitted 0: ", since=mark)
        assert "in_flight=6" in line
        assert "max_pilots 0" in line
        assert world.by_queue()["NEWER"] == 0
        factory.stop(within=9)
        assert not factory.lines(" (ERROR|CRITICAL) ")
