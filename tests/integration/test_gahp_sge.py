"""HTCondor's batch gahp over a real Grid Engine: pilots run, what they asked for is what their jobs got, all can go."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.simulate.jobs import SimulatedQueue
from tests.integration.shapes import GOT, SHAPE, of_row
from tests.testbed.condor import GRID
from tests.testbed.daemon import Daemon
from tests.testbed.law import law
from tests.testbed.network import Network
from tests.testbed.sge import GridEngine
from tests.testbed.world import Options, World, until

pytestmark = pytest.mark.xdist_group("gahp-sge")

JOBS = 6
CAPS = {"GAHP": 4, "SEVEN": 1, "LONG": 3}
# A job whose end is seen before it is accounted for seems to have ended with 0, also one that was killed.
AT_ONCE = "accounting=true reporting=false accounting_flush_time=00:00:00 flush_time=00:00:01 joblog=false"
FIXED: Options = {"rules": "fixed", "wms": "", "wmsqueue": "", "fixed": 1}
# Of the 64G of the host two such jobs leave too little for a third.
MEMORY: Options = {"submit.batch_extra_submit_args": "#$ -l h_vmem=28G"}


def ended(engine: GridEngine) -> list[dict[str, str]]:
    """Return what Grid Engine has recorded of the jobs that ended."""
    blocks = re.split(r"^=+$", engine.run("qacct", "-j"), flags=re.MULTILINE)
    records = [dict(re.findall(r"^(\w+) +(\S.*?) *$", block, re.MULTILINE)) for block in blocks]
    return [record for record in records if "jobnumber" in record]


def test_pilots_run_in_grid_engine(testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]) -> None:
    for name, line in (("SEVEN", "exit 7"), ("LONG", "exec sleep 600")):
        (workdir / name).write_text(f"#!/bin/sh\n{line}\n")
        (workdir / name).chmod(0o755)
    jobs = [SimulatedQueue("GAHP", backlog=JOBS, duration=2.0)]
    with (
        Network(),
        GridEngine(workdir / "sge", slots=7) as engine,
        World(workdir, testbed, user, jobs, slots=1, extra=GRID, environment=engine.environment) as world,
    ):

        def pilots(queue: str) -> list[dict[str, object]]:
            found = [ad for ad in world.pilots() if ad["APF_QUEUE"] == queue]
            alive = sum(ad["JobStatus"] != 4 for ad in found)
            law(alive <= CAPS[queue], f"{alive} pilots of {queue}, {CAPS[queue]} at most")
            return found

        def living() -> list[str]:
            states = [job["state"] for job in engine.jobs().values()]
            return sorted(state for state in states if state != "ended")

        engine.configure(reporting_params=AT_ONCE)
        sections = world.queues(("GAHP",), type="grid", subtype="sge", batchqueue="grid")
        sections["GAHP"] = {**sections["GAHP"], **SHAPE, "max_pilots": CAPS["GAHP"]}
        for name, more in (("SEVEN", {}), ("LONG", MEMORY)):
            sections[name] = {**FIXED, **more, "max_pilots": CAPS[name], "executable": workdir / name}
        factory = daemon(world.write(world.main(), sections), environment=world.pool.environment)

        def seen() -> str:
            return factory.run("kill", "--queue", "LONG", "--dry-run").stdout

        factory.start()
        until(lambda: world.panda.totals()["GAHP"].finished == JOBS, 120, "all jobs finished")
        until(lambda: {ad["JobStatus"] for ad in pilots("GAHP")} == {4}, 90, "all pilots ended")
        assert 0 < len(pilots("GAHP")) <= JOBS
        assert {ad["ExitCode"] for ad in pilots("GAHP")} == {0}
        until(lambda: 4 in {ad["JobStatus"] for ad in pilots("SEVEN")}, 60, "one that fails, too")
        assert {ad["ExitCode"] for ad in pilots("SEVEN") if ad["JobStatus"] == 4} == {7}
        until(lambda: seen() == "would remove 3 pilots of LONG: pending 1, running 2\n", 60, "two run, one waits")

        running = [number for number, job in engine.jobs().items() if job["state"] == "running"]
        [first] = [one for one in running if engine.told(one).get("hard resource_list") == "h_vmem=28G"][:1]
        engine.run("qdel", first)
        factory.wait_for(r"LONG .*1 held: 1 x 'Job removed from batch queue manually'", 30)
        until(lambda: seen() == "would remove 3 pilots of LONG: running 2, held 1\n", 30, "the one that waited runs")
        factory.stop(within=9)
        factory.assert_nothing_left()
        said = factory.run("kill", "--queue", "LONG")
        assert said.stdout == "removed 3 pilots of LONG: running 2, held 1\n"
        until(lambda: living() == [], 30, "Grid Engine has none of them")
        law(len(pilots("LONG")) <= CAPS["LONG"], f"more than {CAPS['LONG']} pilots of LONG, none of which ever ended")

        got = [of_row("grid sge", job) for job in ended(engine) if "h_rt" in job["category"]]
        outputs = {path.stem for path in (workdir / "factory/pilots").rglob("*/GAHP/*.out")}
        assert outputs == {f"{ad['ClusterId']}.{ad['ProcId']}" for ad in pilots("GAHP")}
        assert got == [GOT["grid sge"]] * len(outputs)
        assert not factory.lines(" (ERROR|CRITICAL) ")
