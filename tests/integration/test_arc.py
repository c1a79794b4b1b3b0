"""A real ARC CE over a real Slurm: by token pilots run through, by proxy the CE's refusal is told."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.integration.shapes import GOT, SHAPE, of_row
from tests.integration.test_condor_c import figures, jobs_of
from tests.testbed.arc import ArcCE
from tests.testbed.condor import GRID
from tests.testbed.daemon import Daemon
from tests.testbed.network import Network
from tests.testbed.world import Options, World, until

pytestmark = pytest.mark.xdist_group("arc")

JOBS = 5
MAX_PILOTS = 3
QUICK = f"""{GRID}
GRIDMANAGER_RESOURCE_PROBE_INTERVAL = 3
ARC_GAHP_LOG = $(LOG)/gahp/ARCGAHPLog.$(USERNAME)
"""
WORDS = {"undefined", "ACCEPTING", "ACCEPTED", "PREPARING", "SUBMITTING", "QUEUING", "OTHER", "RUNNING"} | {
    *("EXITINGLRMS", "EXECUTED", "FINISHING", "FINISHED", "None")
}
FIXED: Options = {"rules": "fixed", "wms": "", "wmsqueue": "", "max_pilots": 1, "fixed": 1}

HANDSHAKE: Options = {"match": "SSL connect error", "action": "release", "times": 9, "after": "0s", "rate": "1/s"}
"""A busy A-REX drops connections; what the shipped table does after five minutes is done at once here."""


@contextmanager
def site(workdir: Path, testbed: Path, user: str, jobs: list[SimulatedQueue]) -> Iterator[tuple[World, ArcCE]]:
    """A world in a network of its own, in which a CE stands."""
    with (
        Network(),
        ArcCE(workdir / "arc", user) as ce,
        World(workdir, testbed, user, jobs, slots=1, extra=QUICK, environment=ce.environment) as world,
    ):
        yield world, ce


def arc(ce: ArcCE, **options: object) -> Options:
    return {"type": "grid", "subtype": "arc", "endpoint": ce.endpoint} | options


def written(world: World, queues: dict[str, Options]) -> Path:
    return world.write(world.main() | {"held handshake": HANDSHAKE}, queues)


def wrapper(workdir: Path, name: str, text: str) -> Path:
    path = workdir / f"{name}.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def states(world: World, queue: str) -> list[str]:
    return [ad[0] for ad in jobs_of(world.pool, queue, "JobStatus")]


def ended(world: World, queue: str) -> set[str]:
    """Return the exit codes of a queue's pilots that have ended."""
    return {ad[1] for ad in jobs_of(world.pool, queue, "JobStatus", "ExitCode") if ad[0] == "4"}


def test_pilots_run_through_by_token_and_an_outage_passes(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """Pending, running, finished with exit codes; the cap holds; while the CE is down there is no more."""
    with site(workdir, testbed, user, [SimulatedQueue("ARC", backlog=JOBS, duration=15.0)]) as (world, ce):
        queues = world.queues(("ARC",), max_per_cycle=MAX_PILOTS, max_pilots=MAX_PILOTS)
        one_job = f"{queues['DEFAULT']['arguments']} --life 1"
        queues["ARC"] = {**queues["ARC"], **arc(ce, token=ce.token, arguments=one_job, batchqueue="normal"), **SHAPE}
        seven = wrapper(workdir, "seven", "echo here; exit 7")
        queues["SEVEN"] = {**arc(ce, token=ce.token, executable=seven, batchqueue="short"), **FIXED}
        factory = daemon(written(world, queues), environment=world.pool.environment)
        words: set[tuple[str, ...]] = set()

        def finished() -> int:
            pilots = [tuple(ad) for ad in jobs_of(world.pool, "ARC", "JobStatus", "GridJobStatus")]
            assert sum(ad[0] != "4" for ad in pilots) <= MAX_PILOTS
            words.update(pilots)
            return world.panda.totals()["ARC"].finished

        factory.start()
        until(lambda: ended(world, "SEVEN") == {"7"}, 90, "the first that fails")
        until(lambda: finished() < JOBS and "2" in states(world, "ARC"), 60, "the first ones run")
        ce.stop()
        factory.wait_for(rf"endpoint {ce.endpoint} is unreachable since", 60)
        down = factory.mark()
        factory.wait_for(r" SEVEN submitted 0: .* endpoint 0 \(.* is unreachable since", 20)
        ce.start()
        factory.wait_for(rf"endpoint {ce.endpoint} is no longer in trouble", 60, since=down)
        between = factory.lines(since=down)
        up = next(place for place, line in enumerate(between) if "no longer in trouble" in line)
        assert not [line for line in between[:up] if re.search(" submitted [1-9]", line)]

        until(lambda: finished() == JOBS, 120, "all jobs")
        # A CE that goes down while it hands out a pilot's output leaves that one held.
        until(lambda: set(states(world, "ARC")) <= {"4", "5"}, 60, "all pilots ended")
        counts = [figures(line) for line in factory.lines(" ARC submitted ")]
        assert any(at["running"] for at in counts)
        assert {word for _, word in words} <= WORDS, "words of the CE"
        assert (ended(world, "ARC"), ended(world, "SEVEN")) == ({"0"}, {"7"})
        outputs = {path.stem for path in (workdir / "factory/pilots").rglob("*/ARC/*.out") if path.stat().st_size}
        pilots = jobs_of(world.pool, "ARC", "ClusterId", "ProcId", "JobStatus")
        assert outputs >= {".".join(ad[:2]) for ad in pilots if ad[2] == "4"}
        told = ce.slurm.run("scontrol", "-o", "show", "job").splitlines()
        got = [of_row("grid arc", dict(re.findall(r"(\w+)=(\S+)", line))) for line in told if "=normal " in line]
        # HTCondor submits one anew that was held and released.
        assert len(got) >= len(pilots)
        assert all(one == GOT["grid arc"] for one in got)
        assert not factory.lines(" (ERROR|CRITICAL) ")
        factory.stop(within=9)
        factory.assert_nothing_left()


def test_a_refused_proxy_is_told_and_removed_pilots_end_at_the_batch_system(
    testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    with site(workdir, testbed, user, []) as (world, ce):
        queues = world.queues((), interval="1s")
        sleep = wrapper(workdir, "sleep", "exec sleep 600")
        queues["LONG"] = {**arc(ce, token=ce.token, executable=sleep), **FIXED, "fixed": 2, "max_pilots": 2}
        queues["PROXY"] = {**arc(ce, proxy=ce.proxy, executable=sleep), **FIXED}
        factory = daemon(written(world, queues), environment=world.pool.environment)
        factory.start()
        until(lambda: states(world, "PROXY") == ["5"], 60, "the pilot with a proxy is held")
        until(lambda: states(world, "LONG") == ["2", "2"], 60, "the others run")
        factory.wait_for(r" WARNING .*'HTTP response 500'.* with a proxy authenticate by token", 30)
        factory.wait_for(r" PROXY submitted 0: .* held=1 .*\| 1 held: 1 x 'HTTP response 500'", 30)
        factory.stop(within=9)
        assert factory.run("kill", "--queue", "LONG").stdout == "removed 2 pilots of LONG: running 2\n"
        until(lambda: {job["job_state"] for job in ce.slurm.jobs()} == {"CANCELLED"}, 60, "cancelled")
        factory.assert_nothing_left()
