"""The daemon on a real GRAM 5 CE: gatekeeper, job managers, an authority of its own, all in a network of their own."""

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autopyfactory.batch import ALL_STATES, Context, Order, remove
from autopyfactory.batch.globus import REMOVED, Globus
from autopyfactory.batch.globus_options import GlobusOptions
from autopyfactory.batch.globus_rsl import GlobusQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous
from autopyfactory.model import PilotReport, PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda
from tests.testbed.apfmon import ApfmonServer
from tests.testbed.daemon import Daemon
from tests.testbed.gram import GramService
from tests.testbed.network import Network
from tests.testbed.world import FACTORY, PILOT, Options, until, write_conf

pytestmark = pytest.mark.xdist_group("globus")

FIXED: Options = {"rules": "fixed", "wms": "", "wmsqueue": "", "monitor": ""}
JOBS = 60


@pytest.fixture
def gram(workdir: Path, user: str) -> Iterator[GramService]:
    """A CE; the test itself is in its network, with all that it starts."""
    with Network(), GramService(workdir / "gram", user) as service:
        yield service


def write(workdir: Path, user: str, gram: GramService, panda: str, monitor: str, queues: dict[str, Options]) -> Path:
    """Write the files of a factory on the CE and return its main file."""
    home = workdir / "factory"
    for folder in (home, *(home / part for part in ("log", "state", "run", "pilots"))):
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, user, user)
    main: dict[str, Options] = {
        "factory": {
            "id": FACTORY,
            "host": workdir.name,  # other tests play other hosts, at the same time
            **{f"{part}_dir": home / part for part in ("log", "state", "run")},
            "pilot_log_dir": home / "pilots",
        },
        "wms panda": {"url": panda, "interval": "1s", "site_interval": "2s", "lag": "1s", "max_age": "8s"},
        "monitor apfmon": {"url": monitor},
        "globus local": {"interval": "1s", "max_age": "30s", "deadline": "12s"},
    }
    base: Options = {
        "backend": "globus",
        "type": "gt5",
        "endpoint": gram.endpoint,
        "proxy": gram.proxy,
        "wms": "panda",
        "monitor": "apfmon",
        "interval": "1s",
        "rules": "ready",
        "first_job_after": "0s",
        "walltime": "5m",
        "memory": "100MB",
        "max_per_cycle": 3,
        "max_held.probe": "3s",
        "arguments": f"-- {PILOT} --url {panda} --queue %(wmsqueue)s",
    }
    return write_conf(home / "etc", main, {"DEFAULT": base, **queues}, user=user)


def sleeper(workdir: Path) -> Path:
    path = workdir / "sleep.sh"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o755)
    return path


def test_a_day_with_an_outage(gram: GramService, daemon: Callable[..., Daemon], workdir: Path, user: str) -> None:
    limit = 4
    with SimulatedPanda([SimulatedQueue("SITE", backlog=JOBS, duration=1.0)], lag=1.0) as panda, ApfmonServer() as mon:
        queues: dict[str, Options] = {"SITE": {"wmsqueue": "SITE", "max_pilots": limit, "type": "gt2"}}
        factory = daemon(write(workdir, user, gram, panda.url, mon.url, queues), environment=dict(gram.environment))
        factory.start()

        def finished() -> int:
            assert len(gram.alive("SITE")) <= limit
            return panda.totals()["SITE"].finished

        until(lambda: finished() >= 2, 60, "the first jobs finished")
        since = factory.mark()
        gram.stop()
        assert gram.managers(signal.SIGKILL) > 0
        factory.wait_for(r"does not answer for its pilots: .*the gatekeeper is down", 30, since=since)
        factory.wait_for(r"SITE submitted 0\b.*unreachable since", 30, since=since)
        gram.start()
        until(lambda: finished() == JOBS, 90, "all jobs finished")
        until(lambda: not gram.alive("SITE"), 40, "all pilots ended")
        until(lambda: {job.state for job in mon.jobs.values()} == {"done"}, 60, "the monitor has all ends")
        factory.stop(within=9)
        factory.assert_nothing_left()
        assert panda.totals()["SITE"].failed == 0
        assert not factory.lines(" (ERROR|CRITICAL) ")
        assert any(re.search(r"running=[1-9]", line) for line in factory.lines(" SITE "))


def test_faults_a_crash_and_removal(gram: GramService, daemon: Callable[..., Daemon], workdir: Path, user: str) -> None:
    nowhere, sleep = "http://127.0.0.1:9", sleeper(workdir)
    queues: dict[str, Options] = {
        "LONG": {**FIXED, "fixed": 3, "max_pilots": 5, "executable": sleep},
        "STRANGE": {**FIXED, "fixed": 1, "proxy": gram.stranger},
        "EXPIRED": {**FIXED, "fixed": 1, "proxy": gram.expired},
        "WRONG": {**FIXED, "fixed": 1, "endpoint": gram.endpoint.replace("fork", "nosuch")},
        "CORES": {**FIXED, "fixed": 1, "cores": 8},
    }
    factory = daemon(write(workdir, user, gram, nowhere, nowhere, queues), environment=dict(gram.environment))
    factory.start()
    factory.wait_for(r"STRANGE submitted 0\b.*refused: .*grid-mapfile", 20)
    factory.wait_for(r"EXPIRED .*expired", 20)
    factory.wait_for(r"WRONG submitted 0\b.*refused: .*error code 93", 20)
    factory.wait_for(r"CORES submitted 0\b.*refused: .*xcount.*globusrsl", 20)
    until(lambda: len(gram.alive("LONG")) == 5, 40, "five pilots")
    factory.wait_for(r" LONG submitted 0\b.*5 of at most 5 in flight", 20)
    five = gram.alive("LONG")

    since = factory.mark()
    gram.managers(signal.SIGKILL)
    factory.kill()
    factory.start()
    factory.wait_for(r" LONG .*running=5", 30, since=since)
    time.sleep(3)
    assert gram.alive("LONG") == five

    since = factory.mark()
    gram.managers(signal.SIGSTOP)
    factory.wait_for(r"does not answer for its pilots: .*no answer within 4 s", 30, since=since)
    gram.managers(signal.SIGCONT)
    time.sleep(3)
    assert gram.alive("LONG") == five

    factory.run("pause", "LONG")
    killed = factory.run("kill", "--queue", "LONG", "--state", "running", timeout=90)
    assert killed.returncode == 0, killed.stdout + killed.stderr
    until(lambda: not gram.alive("LONG"), 90, f"all are removed: {killed.stdout}")
    factory.stop(within=9)
    factory.assert_nothing_left()
    assert not factory.lines(" (ERROR|CRITICAL) ")


def test_a_request_without_an_answer_becomes_no_pilot(
    gram: GramService, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in gram.environment.items():
        monkeypatch.setenv(name, value)
    options = GlobusOptions(deadline=12)
    factory = FactoryOptions(id=FACTORY, host="here", state_dir=workdir / "state")
    batch = Globus("local", options, Context(factory, Clock()))
    ends: dict[str, str] = {}

    def order(count: int, queue: str) -> Order:
        section = QueueOptions(backend="globus", type="gt5", endpoint=gram.endpoint, proxy=(str(gram.ours),))
        config = QueueConfig(queue, section, GlobusQueueOptions(), RuleOptions())
        return Order(
            *(f"s-{queue}", config, gram.endpoint, Shape(), count, sleeper(workdir), workdir / "logs"), proxy=gram.ours
        )

    def poll() -> PilotReport:
        report = batch.poll()
        ends.update({end.cid: end.fault for end in report.ended})
        return report

    def running() -> int:
        return sum(group.count for group in poll().groups if group.state is PilotState.RUNNING)

    cids = batch.submit(order(2, "FIRST")).cids
    until(lambda: running() == 2, 20, "both run")
    gram.managers(signal.SIGSTOP)
    with pytest.raises(Ambiguous, match="globusrun: no answer within"):
        batch.submit(order(2, "HUNG"))
    assert poll().troubles.keys() == {gram.endpoint}
    gram.managers(signal.SIGCONT)
    until(lambda: poll().groups[0].state is not PilotState.UNKNOWN and running() == 2, 20, "they are there again")
    time.sleep(5)
    assert gram.alive("HUNG") == set()
    assert gram.alive("FIRST") == set(cids)

    batch = Globus("local", options, Context(factory, Clock()))
    assert running() == 2
    assert remove(batch, "FIRST", ALL_STATES).total() == 2
    until(lambda: not gram.alive("FIRST"), 20, "they are gone")
    until(lambda: not poll().groups, 20, "GRAM says so")
    assert ends == dict.fromkeys(cids, REMOVED)
