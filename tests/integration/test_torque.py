"""The daemon on Torque's commands: stand-ins that speak as 2.5.13 does, over a server that really runs jobs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.batch import Context, remove
from autopyfactory.batch.commands_options import CommandOptions
from autopyfactory.batch.torque import Torque
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions
from autopyfactory.model import PilotState
from tests.integration.batch_scenarios import alive, all_faults, day_with_an_outage, hung_server
from tests.testbed.batchsite import BatchSite
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.daemon import Daemon
from tests.testbed.world import FACTORY, until

pytestmark = pytest.mark.xdist_group("torque")


@pytest.fixture
def site(workdir: Path, user: str) -> Iterator[BatchSite[PretendedSystem]]:
    with PretendedSystem(workdir / "torque", "torque", user, slots=4) as system:
        yield BatchSite(workdir, user, system, "torque")


def test_a_day_with_an_outage(site: BatchSite[PretendedSystem], daemon: Callable[..., Daemon]) -> None:
    day_with_an_outage(site, daemon, r"torque local: qstat: cannot connect to server localhost")


def test_all_faults_and_removal(site: BatchSite[PretendedSystem], daemon: Callable[..., Daemon], workdir: Path) -> None:
    refusals = {
        "Maximum number of jobs already in queue": "max_queuable",
        "Bad UID for job execution MSG=ruserok failed validating apf/apf from vm": r"submit_hosts \+= HOST",
        "Server shutting down": "pbs_server is being stopped",
    }
    all_faults(site, daemon, refusals, r"Unknown queue MSG=cannot locate queue \(correct batchqueue")

    # Another factory of this name, which has lost its record: it finds the pilots by their tags and removes them.
    factory = FactoryOptions(id=FACTORY, host="here", state_dir=workdir / "other")
    torque = Torque("local", CommandOptions(bin_dir=site.system.bin, deadline=2.0), Context(factory, Clock()))
    assert sum(group.count for group in torque.poll().groups) == 5
    assert remove(torque, "WRONG", frozenset(PilotState)).total() == 0
    assert remove(torque, "LONG", frozenset({PilotState.PENDING, PilotState.RUNNING})).total() == 5
    until(lambda: not alive(site), 10, "all are removed")
    until(lambda: not torque.poll().groups, 10, "all have ended")
    hung_server(site, torque)
