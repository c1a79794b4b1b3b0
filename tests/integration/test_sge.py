"""The daemon on a real Grid Engine: counts, caps, exit codes, removal, refusals, and a master that dies and hangs."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.batch import Context, Order, remove
from autopyfactory.batch.sge import Sge, SgeOptions, SgeQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Refused
from autopyfactory.model import EndedPilot, PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from tests.integration.batch_scenarios import (
    FIXED,
    alive,
    day_with_an_outage,
    hung_server,
    removed_and_sent_again,
    script,
)
from tests.testbed.batchsite import BatchSite
from tests.testbed.daemon import Daemon
from tests.testbed.network import Network
from tests.testbed.sge import CARELESS, GridEngine
from tests.testbed.sudoers import allowed
from tests.testbed.world import FACTORY, Options, until

pytestmark = pytest.mark.xdist_group("sge")

SLOTS = 6
REMOVED = "removed, or killed on its node"
HIDING = """\
#!/bin/sh
case $(cat {base}/mode) in
    strange) /usr/bin/qstat "$@" | sed 's,<state>r</state>,<state>Xr</state>,' ;;
    cut) /usr/bin/qstat "$@" | head -n 9 ;;
    *) exec /usr/bin/qstat "$@" ;;
esac
"""
"""A qstat that can tell of a state that nobody knows, or half of the truth."""


@pytest.fixture
def engine(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GridEngine]:
    with Network(), GridEngine(workdir / "sge", slots=SLOTS, request=CARELESS) as one:
        for name, value in one.environment.items():
            monkeypatch.setenv(name, value)
        yield one


@pytest.fixture
def site(workdir: Path, user: str, engine: GridEngine) -> BatchSite[GridEngine]:
    return BatchSite(workdir, user, engine, "sge")


def test_a_day_with_an_outage(site: BatchSite[GridEngine], daemon: Callable[..., Daemon]) -> None:
    day_with_an_outage(site, daemon, r"sge local: .*qstat: error: commlib error")


def test_kill_9_and_a_start_again_count_what_is_there(
    site: BatchSite[GridEngine], daemon: Callable[..., Daemon]
) -> None:
    """A factory that lost its state finds its pilots by their names, and does not submit beyond the cap."""
    sleep = script(site, "sleep", "exec sleep 600")
    queues: dict[str, Options] = {"LONG": {**FIXED, "fixed": 4, "max_pilots": 8, "executable": sleep}}
    conf = site.write("http://127.0.0.1:9", "http://127.0.0.1:9", queues, monitor="")
    factory = daemon(conf, environment=site.system.environment)
    factory.start()
    until(lambda: Counter(alive(site).values()) == {"running": SLOTS, "pending": 2}, 60, "eight pilots, six run")
    factory.kill()
    shutil.rmtree(site.home / "state" / "sge")
    since = factory.mark()
    factory.start()
    factory.wait_for(r"LONG submitted 0: .*pending=2 running=6 .*in_flight=8 ", 30, since=since)
    assert len(site.pilots()) == 8
    factory.stop(within=9)


def test_all_faults_and_removal(site: BatchSite[GridEngine], daemon: Callable[..., Daemon], workdir: Path) -> None:
    """Half a submission refused, wrong queue, wrong host, a strange word, a cut answer, a hung master, a lost job."""
    system, host = site.system, site.system.host
    mode, tools = workdir / "mode", workdir / "bin"
    mode.write_text("plain")
    tools.mkdir()
    (tools / "qstat").write_text(HIDING.format(base=workdir))
    (tools / "qstat").chmod(0o755)
    site = BatchSite(workdir, "apftest", system, "sge", bin_dir=tools)
    sleep = script(site, "sleep", "exec sleep 600")
    queues: dict[str, Options] = {
        "LONG": {**FIXED, "fixed": 3, "max_pilots": 5, "executable": sleep},
        "WRONG": {**FIXED, "fixed": 1, "batchqueue": "nosuch", "executable": sleep},
    }
    conf = site.write("http://127.0.0.1:9", "http://127.0.0.1:9", queues, monitor="")
    factory = daemon(conf, environment=system.environment)
    system.configure(max_u_jobs="2")
    factory.start()
    factory.wait_for(r"LONG submitted 2\b.*refused: .*only 2 jobs are allowed per user.*max_u_jobs", 20)
    since = factory.mark()
    system.run("qconf", "-ds", host)
    factory.wait_for(r"LONG submitted 0\b.*refused: .*is not a submit host \(.*qconf -as HOST", 20, since=since)
    assert len(site.pilots()) == 2
    system.run("qconf", "-as", host)
    system.configure(max_u_jobs="0")
    until(lambda: len(alive(site)) == 5, 40, "five pilots")
    # Only now, for Grid Engine looks at its limits and the host first.
    factory.wait_for(r'WRONG submitted 0\b.*refused: .*unknown queue "nosuch" \(correct batchqueue', 20)

    since = factory.mark()
    mode.write_text("strange")
    factory.wait_for(r"states that we do not know, counted as unknown: Xr", 20, since=since)
    mode.write_text("cut")
    factory.wait_for(r"sge local: .*qstat: ", 20, since=since)
    factory.wait_for(r"LONG blocked", 30, since=since)
    mode.write_text("plain")
    factory.wait_for(r" local answers again", 20, since=since)

    since = factory.mark()
    system.suspend()
    factory.wait_for(r" local: .*no answer within 3 s", 20, since=since)
    factory.wait_for(r"LONG blocked", 30, since=since)
    system.resume()
    factory.wait_for(r" local answers again", 30, since=since)
    assert len(alive(site)) == 5

    lost = sorted(alive(site))[0]
    system.run("qdel", site.pilots()[lost]["number"])
    until(lambda: lost not in alive(site) and len(alive(site)) == 5, 40, "another pilot in the place of the lost one")
    until(lambda: site.pilots()[lost]["state"] == "ended", 40, "nothing is left of the lost one")
    removed_and_sent_again(site, factory, {"running": 5})
    assert site.most <= 5
    factory.stop(within=9)
    assert not factory.lines(" (ERROR|CRITICAL) ")
    assert len(factory.lines("states that we do not know")) == 1

    # Another factory of this name, which has lost its record: it finds the pilots by their tags and removes them.
    options = FactoryOptions(id=FACTORY, host="here", state_dir=workdir / "other")
    sge = Sge("local", SgeOptions(deadline=3.0), Context(options, Clock()))
    assert sum(group.count for group in sge.poll().groups) == 5
    assert remove(sge, "LONG", frozenset({PilotState.PENDING, PilotState.RUNNING})).total() == 5
    until(lambda: not alive(site), 20, "all are removed")
    time.sleep(2)  # until their records are written
    ended = sge.poll().ended
    assert [(end.exit_code, end.fault) for end in ended] == [(-9, REMOVED)] * 5
    hung_server(site, sge)


class Bench:
    """The backend alone, as root, with orders of one line of shell."""

    def __init__(self, home: Path, engine: GridEngine, *, accounting: bool = False) -> None:
        self.home = home
        factory = FactoryOptions(id="F1", host="here", state_dir=home / "state", submit_users=("apftest",))
        options = SgeOptions(accounting=engine.accounting if accounting else None)
        self.batch = Sge("local", options, Context(factory, Clock()))
        self.ended: dict[str, EndedPilot] = {}
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text('#!/bin/sh\n#$ -N stolen\n#$ -h\nexec /bin/sh -c "$1"\n')
        self._orders = 0

    def submit(
        self, line: str, shape: Shape | None = None, backend: dict[str, str] | None = None, **options: Any
    ) -> str:
        self._orders += 1
        section = QueueOptions(backend="batch", type="sge", **{"batchqueue": "grid"} | options)
        order = Order(
            id=f"s{self._orders}",
            queue=QueueConfig("Q", section, SgeQueueOptions(**(backend or {})), RuleOptions()),
            endpoint="here",
            shape=shape or Shape(),
            count=1,
            executable=self.wrapper,
            log_dir=self.home / "logs",
            arguments=(line,),
        )
        return self.batch.submit(order).cids[0]

    def counts(self) -> dict[str, int]:
        report = self.batch.poll()
        self.ended |= {end.cid: end for end in report.ended}
        found: Counter[str] = Counter()
        for group in report.groups:
            found[str(group.state)] += group.count
        # The records come up to a second after the end.
        time.sleep(1.2)
        return dict(found)


@pytest.mark.parametrize("accounting", [False, True])
def test_ends_and_what_a_pilot_gets(engine: GridEngine, workdir: Path, accounting: bool) -> None:
    bench = Bench(workdir, engine, accounting=accounting)
    smp = {"parallel_environment": "smp"}
    zero, seven = bench.submit("ulimit -v; exit 0", Shape(2, 2001, 601), smp), bench.submit("exit 7")
    killed, long = bench.submit("kill -KILL $$"), bench.submit("sleep 600", Shape(1, 2000, 2))
    removed = bench.submit("sleep 600", Shape(2, 2001, 601), smp)
    held = bench.submit("sleep 1", backend={"extra_arguments": "-h"})
    until(lambda: bench.counts() == {"running": 1, "held": 1}, 40, "one runs, one is held, the others ended")
    [number] = [number for number, job in engine.jobs().items() if job["state"] == "running"]
    told = engine.told(number)
    assert told["hard resource_list"] == "h_rt=601,h_vmem=1001m"
    assert told["parallel environment"] == "smp range: 2"
    assert told["hard_queue_list"] == "grid"
    assert remove(bench.batch, "Q", frozenset({PilotState.RUNNING, PilotState.HELD})).total() == 2
    until(lambda: bench.counts() == {}, 40, "they are gone")
    ends = {cid: (end.exit_code, end.fault) for cid, end in bench.ended.items()}
    assert ends == {
        zero: (0, ""),
        seven: (7, ""),
        killed: (-9, REMOVED),
        long: (-9, "ran longer than its walltime"),
        removed: (-9, REMOVED),
        held: (None, ""),
    }
    # Of all its slots, in units of 1024 bytes.
    assert int((workdir / "logs" / f"{zero}.out").read_text()) == 2 * 1001 * 1_000_000 // 1024


def test_what_grid_engine_refuses_and_what_it_never_starts(engine: GridEngine, workdir: Path) -> None:
    bench = Bench(workdir, engine)
    for more, text in (
        ({"parallel_environment": "nosuch"}, r"environment \"nosuch\" does not exist \(correct parallel_environment"),
        ({"account": "nosuch"}, r"project \"nosuch\" does not exist \(correct account"),
        ({"memory_resource": "nosuch"}, r"unknown resource \"nosuch\" \(correct submit.X or memory_resource"),
        ({"extra_arguments": "-w e"}, r"no suitable queues \(no queue takes so many cores"),
    ):
        with pytest.raises(Refused, match=text):
            bench.submit("exit 0", Shape(64, 64000), {"parallel_environment": "smp"} | more)

    # With exit code 1 and "Unable to run job: warning: ..." it has taken the pilot all the same.
    users = workdir / "users"
    users.write_text("name nobody\ntype ACL\nfshare 0\noticket 0\nentries root\n")
    engine.run("qconf", "-Au", str(users))
    engine.run("qconf", "-aattr", "queue", "xuser_lists", "nobody", "grid")
    bench.submit("exit 0")
    assert bench.counts() == {"pending": 1}
    assert remove(bench.batch, "Q", frozenset({PilotState.PENDING})).total() == 1
    engine.run("qconf", "-dattr", "queue", "xuser_lists", "nobody", "grid")

    # Its output cannot be written: Eqw, and a record of its end while it is still there.
    bench.submit("exit 0", backend={"extra_arguments": "-h"})
    shutil.rmtree(workdir / "logs")
    [number] = [number for number, job in engine.jobs().items() if job["state"] == "held"]
    engine.run("qrls", number)
    until(lambda: engine.told(number).get("error reason          1", "") != "", 20, "it has failed")
    until(lambda: bench.counts() == {"held": 1}, 20, "it is held, and the other one is gone")
    assert not any(end.exit_code for end in bench.ended.values())


def test_pilots_of_another_account(engine: GridEngine, workdir: Path, user: str) -> None:
    """Root may run everything by sudo; the clients find the cell by variables that sudo lets through."""
    bench = Bench(workdir, engine)
    with allowed(f'Defaults env_keep += "{" ".join(engine.environment)}"\n', "sge-test"):
        cid = bench.submit("id -un; sleep 600", submit_user=user)
        output = workdir / "logs" / f"{cid}.out"
        until(lambda: output.exists() and output.read_text() == f"{user}\n", 20, "it says who it is")
        assert bench.counts() == {"running": 1}
        assert [job["user"] for job in engine.jobs().values()] == [user]
        assert remove(bench.batch, "Q", frozenset({PilotState.RUNNING})).total() == 1
        until(lambda: bench.counts() == {}, 20, "it is gone")
    assert list(bench.ended) == [cid]
