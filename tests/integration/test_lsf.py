"""The daemon on LSF's commands: stand-ins in the forms of OpenLava and of LSF 10.1, over a server that runs jobs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.batch import Context, remove
from autopyfactory.batch.lsf import Lsf, LsfOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions
from autopyfactory.model import PilotState
from tests.integration.batch_scenarios import alive, all_faults, day_with_an_outage, hung_server
from tests.testbed.batchsite import BatchSite
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.daemon import Daemon
from tests.testbed.world import FACTORY, until

pytestmark = pytest.mark.xdist_group("lsf")


@pytest.fixture(params=["tables", "json"])
def site(workdir: Path, user: str, request: pytest.FixtureRequest) -> Iterator[BatchSite[PretendedSystem]]:
    tables = request.param == "tables"
    with PretendedSystem(workdir / "lsf", "lsf", user, slots=4, json=not tables) as system:
        yield BatchSite(workdir, user, system, "lsf", tables="yes" if tables else "no")


def test_a_day_with_an_outage(site: BatchSite[PretendedSystem], daemon: Callable[..., Daemon]) -> None:
    day_with_an_outage(site, daemon, r"lsf local: .*bjobs: no answer within 3 s; it said: LSF is down")


@pytest.mark.parametrize("site", ["tables"], indirect=True)
def test_all_faults_and_removal(site: BatchSite[PretendedSystem], daemon: Callable[..., Daemon], workdir: Path) -> None:
    refusals = {
        "User's job limit is reached. Job not submitted.": "a limit of jobs",
        "User cannot use the queue. Job not submitted.": r"USERS of the queue",
        "Request from a non-LSF host rejected. Job not submitted.": "add this host to the cluster",
    }
    all_faults(site, daemon, refusals, r"nosuch: No such queue. Job not submitted. \(correct batchqueue")

    # Another factory of this name, which has lost its record: it finds the pilots by their tags and removes them.
    factory = FactoryOptions(id=FACTORY, host="here", state_dir=workdir / "other")
    options = LsfOptions(bin_dir=site.system.bin, deadline=2.0, tables=True)
    lsf = Lsf("local", options, Context(factory, Clock()))
    assert sum(group.count for group in lsf.poll().groups) == 5
    assert remove(lsf, "LONG", frozenset({PilotState.PENDING, PilotState.RUNNING})).total() == 5
    until(lambda: not alive(site), 10, "all are removed")
    faults = [end.fault for end in lsf.poll().ended]
    assert faults == ["removed"] * 5
    hung_server(site, lsf)
