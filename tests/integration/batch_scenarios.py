"""What every command-line batch system has to stand, pretended or real: a day with an outage, and all faults."""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.batch import Order, remove
from autopyfactory.batch.commands import CommandBatch
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, SourceError
from autopyfactory.model import PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda
from tests.integration.removal import remove_by_command
from tests.testbed.apfmon import ApfmonServer
from tests.testbed.batchsite import BatchSite, S
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.world import Options, until

JOBS = 24
OVER = {"ending", "ended"}
FIXED: Options = {"rules": "fixed", "wms": "", "wmsqueue": ""}


def script(site: BatchSite[S], name: str, text: str) -> Path:
    """Write a wrapper that tells no monitor."""
    path = site.home.parent / f"{name}.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def day_with_an_outage(site: BatchSite[S], daemon: Callable[..., Daemon], down: str) -> None:
    """Run jobs and pilots that fail; a server that dies in between stops submission, and nothing else."""
    seven, limit = script(site, "seven", "echo here; exit 7"), 8
    with SimulatedPanda([SimulatedQueue("SITE", backlog=JOBS, duration=1.0)], lag=1.0) as panda, ApfmonServer() as mon:
        queues: dict[str, Options] = {
            "SITE": {"wmsqueue": "SITE", "max_pending": 4, "max_pilots": limit},
            "SEVEN": {**FIXED, "fixed": 1, "max_pilots": 2, "executable": seven},
        }
        factory = daemon(site.write(panda.url, mon.url, queues), environment=site.system.environment)
        factory.start()

        def finished() -> int:
            alive = [pilot for pilot in site.pilots("SITE").values() if pilot["state"] not in OVER]
            law(len(alive) <= limit, f"{len(alive)} pilots, {limit} at most")
            return panda.totals()["SITE"].finished

        def told(queue: str, what: str) -> set[object]:
            jobs = {name.partition(":")[2]: job for name, job in mon.jobs.items()}
            return {getattr(jobs[cid], what) if cid in jobs else None for cid in site.pilots(queue)}

        until(lambda: finished() >= 4, 60, "the first jobs finished")
        since = factory.mark()
        site.system.kill()
        factory.wait_for(down, 30, since=since)
        factory.wait_for(r"SITE blocked", 30, since=since)
        before = len(site.pilots())
        time.sleep(3)
        assert len(site.pilots()) == before
        site.system.start()
        factory.wait_for(r" local answers again", 40, since=since)
        until(lambda: finished() == JOBS, 90, "all jobs finished")
        until(lambda: all(job["state"] in OVER for job in site.pilots("SITE").values()), 40, "the pilots of SITE ended")
        until(lambda: told("SITE", "state") == {"done"}, 40, "the monitor has all ends")
        until(lambda: told("SEVEN", "result") >= {7}, 20, "the monitor has exit codes")
        factory.stop(within=9)
        factory.assert_nothing_left()
        assert panda.totals()["SITE"].failed == 0
        assert site.states["running"]
        pilots = site.pilots()
        assert site.outputs() <= set(pilots)
        assert {name.partition(":")[2] for name in mon.jobs} <= set(pilots)
        assert told("SEVEN", "result") <= {None, -1, 7}
        assert not factory.lines(" (ERROR|CRITICAL) ")


def all_faults(
    site: BatchSite[PretendedSystem], daemon: Callable[..., Daemon], refusals: dict[str, str], unknown_queue: str
) -> Daemon:
    """Refuse, accept half, hang, lose a job and show a strange state: five pilots at most, and five in the end.

    `refusals`: what the system says, and what the factory's log has to say of it.
    """
    sleep = script(site, "sleep", "exec sleep 600")
    system = site.system
    texts = list(refusals)
    system.configure(limit=2, refuse=texts[0])
    queues: dict[str, Options] = {
        "LONG": {**FIXED, "fixed": 3, "max_pilots": 5, "executable": sleep},
        "WRONG": {**FIXED, "fixed": 1, "batchqueue": "nosuch", "executable": sleep},
    }
    conf = site.write("http://127.0.0.1:9", "http://127.0.0.1:9", queues, monitor="")
    factory = daemon(conf, environment=system.environment)
    factory.start()
    factory.wait_for(rf"LONG submitted 2\b.*refused: .*{refusals[texts[0]]}", 20)
    factory.wait_for(rf"WRONG submitted 0\b.*refused: .*{unknown_queue}", 20)
    for text in texts[1:]:
        since = factory.mark()
        system.configure(refuse=text)
        factory.wait_for(rf"LONG submitted 0\b.*refused: .*{refusals[text]}", 20, since=since)
    assert len(site.pilots()) == 2
    system.configure(limit=None, refuse="")
    until(lambda: len(alive(site)) == 5, 40, "five pilots")

    strange, lost = sorted(alive(site))[:2]
    since = factory.mark()
    system.alter(site.pilots()[strange]["number"], word="Z")
    factory.wait_for(r"states that we do not know, counted as unknown: Z", 20, since=since)
    time.sleep(3)
    assert len(alive(site)) == 5
    system.alter(site.pilots()[strange]["number"], word="")

    since = factory.mark()
    system.suspend()
    factory.wait_for(r" local: .*no answer within 3 s", 20, since=since)
    factory.wait_for(r"LONG blocked", 30, since=since)
    system.resume()
    factory.wait_for(r" local answers again", 20, since=since)

    system.lose(site.pilots()[lost]["number"])
    until(lambda: len(alive(site)) == 5, 40, "another pilot in the place of the lost one")
    assert lost not in site.pilots()
    removed_and_sent_again(site, factory, {"pending": 1, "running": 4})
    law(site.most <= 5, f"{site.most} pilots, 5 at most")
    factory.stop(within=9)
    assert not factory.lines(" (ERROR|CRITICAL) ")
    strange_lines = factory.lines("states that we do not know")
    assert len(strange_lines) == 1 and re.search(r" WARNING ", strange_lines[0])
    return factory


def removed_and_sent_again(site: BatchSite[S], factory: Daemon, there: dict[str, int]) -> None:
    """Remove the pilots of LONG by the command; the daemon sees them go, and sends others when it may."""
    remove_by_command(factory, "LONG", there)
    until(lambda: not alive(site), 20, "all that the command named are gone")
    assert factory.run("resume", "LONG").returncode == 0
    until(lambda: Counter(alive(site).values()) == there, 40, "as many others in their place")


def hung_server(site: BatchSite[S], batch: CommandBatch) -> None:
    """Submit to a server that hangs: that is no refusal, and no listing either."""
    section = QueueOptions(backend="batch", type=batch.source_kind, batchqueue="grid")
    order = Order(
        id="s-hung",
        queue=QueueConfig("HUNG", section, batch.QueueOptions(), RuleOptions()),
        endpoint="here",
        shape=Shape(),
        count=2,
        executable=script(site, "sleep", "exec sleep 600"),
        log_dir=site.home / "pilots",
    )
    site.system.suspend()
    try:
        with pytest.raises(Ambiguous, match="no answer within"):
            batch.submit(order)
        with pytest.raises(SourceError, match="no answer within"):
            batch.poll()
        with pytest.raises(SourceError, match="no answer within"):
            remove(batch, "HUNG", frozenset(PilotState))
    finally:
        site.system.resume()
    assert not [group for group in batch.poll().groups if group.queue == "HUNG"]
    assert len(batch.submit(order).cids) == 2
    assert sum(group.count for group in batch.poll().groups if group.queue == "HUNG") == 2
    assert remove(batch, "HUNG", frozenset(PilotState)).total() == 2


def alive(site: BatchSite[S]) -> dict[str, str]:
    """Return the state of the pilots that are not over."""
    return {cid: pilot["state"] for cid, pilot in site.pilots().items() if pilot["state"] not in OVER}
