"""The daemon on a real Slurm: counts, caps, exit codes, removal, and a controller that dies, hangs and comes back."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.batch import Context, Order, remove
from autopyfactory.batch.commands_words import Tags
from autopyfactory.batch.slurm import Slurm, SlurmOptions, SlurmQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.model import EndedPilot, PilotState, Shape
from autopyfactory.sched.options import RuleOptions
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda
from autopyfactory.wms.slurm import SlurmJobs, SlurmJobsOptions
from tests.testbed.apfmon import ApfmonServer
from tests.testbed.daemon import Daemon
from tests.testbed.slurm import SlurmCluster
from tests.testbed.world import FACTORY, PILOT, Options, until, write_conf

pytestmark = pytest.mark.xdist_group("slurm")

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}
CPUS = 6
JOBS = 60


@pytest.fixture
def cluster(workdir: Path) -> Iterator[SlurmCluster]:
    with SlurmCluster(workdir / "slurm", cpus=CPUS) as one:
        yield one


def pilots(cluster: SlurmCluster) -> list[tuple[Tags, Mapping[str, Any]]]:
    """Return all pilots that Slurm knows, with their tags."""
    found = [(Tags.read(str(job["comment"])), job) for job in cluster.jobs()]
    return [(tags, job) for tags, job in found if tags is not None and tags.factory == FACTORY]


def main(workdir: Path, user: str, panda: str, monitor: str) -> dict[str, Options]:
    home = workdir / "factory"
    for folder in (home, *(home / part for part in ("log", "state", "run", "pilots"))):
        folder.mkdir(exist_ok=True)
        shutil.chown(folder, user, user)
    return {
        "factory": {
            "id": FACTORY,
            "host": workdir.name,  # other tests play other hosts, at the same time
            **{f"{part}_dir": home / part for part in ("log", "state", "run")},
            "pilot_log_dir": home / "pilots",
            "pilot_log_url": "http://logs.example.org/pilots",
        },
        "wms panda": {"url": panda, "interval": "1s", "site_interval": "2s", "lag": "1s", "max_age": "8s"},
        "monitor apfmon": {"url": monitor},
        "slurm local": {"interval": "1s", "max_age": "8s", "deadline": "15s"},
    }


def queue(panda: str, **more: object) -> dict[str, Options]:
    base = {
        "backend": "batch",
        "type": "slurm",
        "batchqueue": "normal",
        "wms": "panda",
        "monitor": "apfmon",
        "interval": "1s",
        "rules": "ready",
        "first_job_after": "0s",
        "walltime": "5m",
        "memory": "100MB",
        "max_per_cycle": 4,
        "arguments": f"-- {PILOT} --url {panda} --queue %(wmsqueue)s",
    }
    return {"DEFAULT": base | more}


def test_a_queue_with_an_outage(cluster: SlurmCluster, user: str, workdir: Path, daemon: Callable[..., Daemon]) -> None:
    """Every job is run, no cap is broken, a controller that dies in between stops submission and no more."""
    limit = 10
    with SimulatedPanda([SimulatedQueue("SITE", backlog=JOBS, duration=2.0)], lag=1.0) as panda, ApfmonServer() as mon:
        sections = queue(panda.url, max_pending=5, max_pilots=limit) | {"SITE": {"wmsqueue": "SITE"}}
        conf = write_conf(workdir / "factory" / "etc", main(workdir, user, panda.url, mon.url), sections, user=user)
        factory = daemon(conf, environment=cluster.environment)
        factory.start()
        states: Counter[str] = Counter()
        most = 0

        def look() -> int:
            nonlocal most
            jobs = [str(job["job_state"]) for _, job in pilots(cluster)]
            states.update(set(jobs))
            most = max(most, sum(state not in ENDED for state in jobs))
            return panda.totals()["SITE"].finished

        until(lambda: look() >= 5, 60, "the first jobs finished")
        cluster.end_controller()
        since = factory.mark()
        factory.wait_for(r"slurm local: squeue: .*Failed while looking for jobs", 40, since=since)
        factory.wait_for(r"blocked", 40, since=since)
        cluster.start_controller()
        factory.wait_for(r"slurm local answers again", 60, since=since)
        # What began before the crash may have been accepted; after the source is blocked nothing is submitted.
        between = factory.lines(r"SITE |answers again", since=since)
        blocked = next(k for k, line in enumerate(between) if "SITE blocked" in line)
        back = next(k for k, line in enumerate(between) if "answers again" in line)
        assert not [line for line in between[blocked:back] if "SITE submitted" in line]
        until(lambda: look() == JOBS, 90, "all jobs finished")
        until(lambda: all(job["job_state"] in ENDED for _, job in pilots(cluster)), 60, "all pilots ended")
        until(lambda: {job.state for job in mon.jobs.values()} <= {"done", "fault"}, 60, "the monitor has all ends")
        factory.stop(within=9)
        factory.assert_nothing_left()

        assert most <= limit
        assert states["RUNNING"]
        assert panda.totals()["SITE"].failed == 0
        assert {job["user_name"] for _, job in pilots(cluster)} == {user}
        cids = [tags.cid for tags, _ in pilots(cluster)]
        assert len(set(cids)) == len(cids)
        assert {path.stem for path in (workdir / "factory" / "pilots").rglob("*.out")} >= set(cids)
        # A slurmctld that is killed forgets what it accepted in its last seconds; the monitor has these as well.
        assert {name.partition(":")[2] for name in mon.jobs} >= set(cids)
        assert not factory.lines(" (ERROR|CRITICAL) ")


def test_kill_9_and_a_start_again_count_what_is_there(
    cluster: SlurmCluster, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """A factory that lost its state finds its pilots by their tags, and does not submit beyond the cap."""
    sections = queue("http://127.0.0.1:9", max_pilots=8, rules="fixed", fixed=4, wms="", monitor="") | {
        "LONG": {"arguments": "-- /bin/sleep 600"}
    }
    conf = write_conf(workdir / "factory" / "etc", main(workdir, user, "http://x", "http://x"), sections, user=user)
    factory = daemon(conf, environment=cluster.environment)
    factory.start()
    until(lambda: len(pilots(cluster)) == 8, 60, "eight pilots")
    until(lambda: sum(job["job_state"] == "RUNNING" for _, job in pilots(cluster)) == CPUS, 30, "all CPUs are busy")
    factory.kill()
    shutil.rmtree(workdir / "factory" / "state" / "slurm")
    since = factory.mark()
    factory.start()
    factory.wait_for(r"LONG submitted 0: .*pending=2 running=6 .*in_flight=8 ", 30, since=since)
    assert len(pilots(cluster)) == 8
    factory.stop(within=9)


class Bench:
    """The backend alone, as root, with orders of one line of shell."""

    def __init__(self, home: Path, cluster: SlurmCluster, *, deadline: float = 20.0) -> None:
        self.home = home
        factory = FactoryOptions(id="F1", host="here", state_dir=home / "state", submit_users=("apftest",))
        self.batch = Slurm("local", SlurmOptions(deadline=deadline, jobcomp=cluster.jobcomp), Context(factory, Clock()))
        self.ended: dict[str, EndedPilot] = {}
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text('#!/bin/sh\nexec /bin/sh -c "$1"\n')

    def submit(self, script: str, count: int = 1, *, shape: Shape | None = None, **options: Any) -> tuple[str, ...]:
        name = f"s{len(list(self.home.iterdir()))}-{script[:10]}"
        section = QueueOptions(backend="batch", type="slurm", **{"batchqueue": "normal"} | options)
        order = Order(
            id=name,
            queue=QueueConfig("Q", section, SlurmQueueOptions(), RuleOptions()),
            endpoint="here",
            shape=shape or Shape(),
            count=count,
            executable=self.wrapper,
            log_dir=self.home / "logs",
            arguments=(script,),
        )
        return self.batch.submit(order).cids

    def counts(self) -> dict[str, int]:
        report = self.batch.poll()
        self.ended |= {end.cid: end for end in report.ended}
        found: Counter[str] = Counter()
        for group in report.groups:
            found[str(group.state)] += group.count
        return dict(found)


@pytest.fixture
def bench(workdir: Path, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    return Bench(workdir, cluster)


def test_ends_and_what_a_pilot_gets(bench: Bench, cluster: SlurmCluster) -> None:
    zero, seven = bench.submit("exit 0")[0], bench.submit("exit 7")[0]
    killed = bench.submit("kill -KILL $$")[0]
    removed = bench.submit("sleep 600", shape=Shape(1, 2000, 601))[0]
    until(lambda: bench.counts() == {"running": 1}, 30, "one runs, the others ended")
    [job] = [job for job in cluster.jobs() if job["job_state"] == "RUNNING"]
    assert (job["cpus"], job["time_limit"], "mem=1908M" in job["tres_req_str"]) == (1, 11, True)
    assert remove(bench.batch, "Q", frozenset({PilotState.RUNNING})).total() == 1
    until(lambda: bench.counts() == {}, 30, "it is gone")
    assert [bench.ended[cid].exit_code for cid in (zero, seven, killed)] == [0, 7, -9]
    lost = "its node could not start it, or it was killed"
    assert [bench.ended[cid].fault for cid in (zero, seven, killed, removed)] == ["", "", lost, "removed"]
    assert (bench.home / "logs" / f"{zero}.out").exists()


def test_held_pilots_are_released(bench: Bench, cluster: SlurmCluster) -> None:
    bench.submit("sleep 600", 2)
    until(lambda: bench.counts() == {"running": 2}, 30, "they run")
    bench.submit(f"sleep {CPUS}", 2, shape=Shape(cores=CPUS))
    waiting = bench.batch.pilots("Q", frozenset({PilotState.PENDING}))
    assert len(waiting) == 2
    cluster.run("scontrol", "hold", *(pilot.id for pilot in waiting))
    held = bench.batch.pilots(states=frozenset({PilotState.HELD}))
    assert {pilot.hold_reason for pilot in held} == {"PENDING (JobHeldAdmin)"}
    assert bench.batch.release_pilots(held) == 2
    assert bench.counts() == {"running": 2, "pending": 2}
    assert remove(bench.batch, "Q", frozenset(PilotState)).total() == 4


def test_kill_beside_the_daemon(
    cluster: SlurmCluster, testbed: Path, user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    """Root removes what waits, the daemon's user what runs; nothing of others goes."""
    foreign = cluster.run("sbatch", "--parsable", "--wrap=sleep 600").strip()
    sleeper = workdir / "sleeper.sh"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    jobs = {"rules": "fixed", "fixed": CPUS + 2, "max_pilots": CPUS + 2, "max_per_cycle": CPUS + 2, "walltime": "1h"}
    sections = queue("http://127.0.0.1:9", status_test="none", status_offline="none", **jobs)
    sections["DEFAULT"] = {
        key: value for key, value in sections["DEFAULT"].items() if key not in {"wms", "monitor", "arguments"}
    } | {"executable": sleeper}
    sections |= {"SITE": {}}
    conf = write_conf(
        workdir / "factory" / "etc",
        {key: value for key, value in main(workdir, user, "", "").items() if key in {"factory", "slurm local"}},
        sections,
        user=user,
    )
    factory = daemon(conf, environment=cluster.environment)
    factory.start()

    def states() -> Counter[str]:
        return Counter(str(job["job_state"]) for _, job in pilots(cluster) if job["job_state"] not in ENDED)

    until(lambda: states().total() == CPUS + 2 and states()["RUNNING"] >= 2, 40, "pilots run and wait")
    running, waiting = states()["RUNNING"], states()["PENDING"]
    assert factory.run("drain", "SITE", "--why", "test").returncode == 0
    command = [str(testbed / "venv/bin/autopyfactory"), "kill", "--conf", str(conf), "--queue", "SITE"]
    said = subprocess.run(
        [*command, "--state", "pending"],
        env={"PATH": "/usr/bin:/bin", **cluster.environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, f"removed {waiting} pilots of SITE: pending {waiting}\n"), said
    until(lambda: states() == Counter(RUNNING=running), 20, "only the waiting ones are gone")
    cluster.suspend()
    try:
        done = factory.run("kill", "--queue", "SITE")
    finally:
        cluster.resume()
    assert done.returncode == 1
    assert "not done: slurm local: squeue: no answer" in done.stderr
    done = factory.run("kill", "--queue", "SITE", "--state", "running")
    assert (done.returncode, done.stdout) == (0, f"removed {running} pilots of SITE: running {running}\n")
    until(lambda: not states(), 20, "all are gone")
    [state] = [job["job_state"] for job in cluster.jobs() if str(job["job_id"]) == foreign]
    assert state in {"RUNNING", "PENDING"}
    factory.wait_for(r"SITE blocked: .*no pilot is left", 20)
    factory.stop(within=9)


def test_the_end_of_a_forgotten_job_stands_in_the_jobcomp_file(bench: Bench, cluster: SlurmCluster) -> None:
    [cid] = bench.submit("sleep 2; exit 5")
    until(lambda: bench.counts() == {"running": 1}, 20, "it runs")
    until(lambda: "ExitCode=5:0" in cluster.jobcomp.read_text(), 20, "it ended")
    cluster.forget()
    until(lambda: bench.counts() == {}, 20, "it is gone")
    assert bench.ended[cid].exit_code == 5


def test_what_slurm_refuses_and_what_it_never_starts(bench: Bench) -> None:
    with pytest.raises(Refused, match=r"Invalid partition name.*correct batchqueue"):
        bench.submit("exit 0", batchqueue="nosuch")
    with pytest.raises(Refused, match=r"no node of the partition has so many cores"):
        bench.submit("exit 0", shape=Shape(cores=1, memory_mb=900_000_000))
    bench.submit("exit 0", batchqueue="short", shape=Shape(walltime_s=36000))
    until(lambda: bench.counts() == {"held": 1}, 20, "Slurm has judged it")
    assert bench.ended == {}


def test_a_controller_that_hangs_took_the_job_all_the_same(bench: Bench, cluster: SlurmCluster) -> None:
    cluster.suspend()
    try:
        with pytest.raises(Ambiguous, match="timed out"):
            bench.submit("sleep 30")
        with pytest.raises(SourceError, match="no answer of slurmctld"):
            bench.counts()
    finally:
        cluster.resume()
    until(lambda: bench.counts() == {"running": 1}, 20, "the pilot is there")
    assert bench.ended == {}


def test_pending_jobs_are_demand_and_pilots_and_silence_are_not(bench: Bench, cluster: SlurmCluster) -> None:
    cluster.run("sbatch", f"--ntasks={CPUS}", "--wrap=sleep 600")
    until(lambda: [job["job_state"] for job in cluster.jobs()] == ["RUNNING"], 30, "the cluster is full")
    for _ in range(3):
        cluster.run("sbatch", "--wrap=sleep 600")
    cluster.run("sbatch", "--array=1-4", "--ntasks=2", "--job-name=wide", "--wrap=sleep 600")
    cluster.run("sbatch", "--hold", "--wrap=sleep 600")
    bench.submit("sleep 600", 2)

    def demand(**options: Any) -> list[tuple[int, int, int]] | str:
        source = SlurmJobs("farm", SlurmJobsOptions(deadline="30s", **options), Clock())
        try:
            return [(cell.cores, cell.activated, cell.by_status["running"]) for cell in source.jobs("normal").value]
        except SourceError as error:
            return error.reason

    until(lambda: demand() == [(1, 3, 0), (2, 4, 0), (CPUS, 0, 1)], 20, "all are listed")
    assert demand(expression="name == 'wide'") == [(2, 4, 0)]
    assert demand(users="nobody") == []
    cluster.kill_controller()
    said = demand()
    assert isinstance(said, str)
    assert said.startswith("squeue: ")
