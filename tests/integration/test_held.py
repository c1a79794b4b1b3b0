"""Held and old pilots on a real HTCondor pool: released, then removed at a limited rate; others' jobs untouched."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.condor import CondorPool
from tests.testbed.daemon import Daemon
from tests.testbed.world import FACTORY, Options, until, write_conf

pytestmark = pytest.mark.xdist_group("held")


@pytest.fixture
def pool(workdir: Path, testbed: Path, user: str) -> Iterator[CondorPool]:
    with CondorPool(workdir / "pool", user, testbed / "htcondor", slots=10) as one:
        yield one


class Site:
    """The pool's pilots, and the factory's files."""

    def __init__(self, pool: CondorPool, workdir: Path, user: str) -> None:
        self.pool = pool
        self._workdir = workdir
        self._user = user

    def conf(self, queues: dict[str, Options], **more: Options) -> Path:
        home = self._workdir / "factory"
        home.mkdir(exist_ok=True)
        home.chmod(0o777)
        main: dict[str, Options] = {
            "factory": {
                "id": FACTORY,
                "host": self._workdir.name,
                **{f"{part}_dir": home / part for part in ("log", "state", "run")},
                "pilot_log_dir": home / "pilots",
            },
            "schedd local": {"interval": "1s", "max_age": "20s", "deadline": "10s"},
        }
        base: Options = {
            "backend": "condor",
            "type": "vanilla",
            "rules": "fixed",
            "interval": "2s",
            "executable": "/bin/sleep",
            "arguments": "600",
        }
        return write_conf(home / "etc", main | more, {"DEFAULT": base, **queues}, user=self._user)

    def jobs(self, constraint: str) -> list[dict[str, Any]]:
        names = "ClusterId,ProcId,APF_QUEUE,APF_ENDPOINT,JobStatus,APF_RELEASES"
        said = self.pool.run(["condor_q", "-allusers", "-const", constraint, "-json", "-attributes", names])
        found: list[dict[str, Any]] = json.loads(said or "[]")
        return found

    def states(self, queue: str) -> Counter[int]:
        return Counter(job["JobStatus"] for job in self.jobs(f'APF_QUEUE == "{queue}" && JobStatus != 3'))


@pytest.fixture
def site(pool: CondorPool, workdir: Path, user: str) -> Site:
    return Site(pool, workdir, user)


def told(factory: Daemon, action: str, reason: str) -> int:
    """Return how many held pilots were released or removed for a reason, by the log."""
    lines = factory.lines(rf"{action} \d+ held pilots; of \d+ held: \d+ x '{reason}'")
    return sum(int(line.split(f"{action} ")[1].split()[0]) for line in lines)


def test_released_twice_then_removed_at_a_rate(site: Site, daemon: Callable[..., Daemon]) -> None:
    """The pilots of HELD and SLOW are held by their own policy as soon as they run, those of LEFT by hand."""

    def held_as(reason: str) -> Options:
        soon = "JobStatus == 2 && time() - EnteredCurrentStatus > 1"
        return {"submit.periodic_hold": soon, "submit.periodic_hold_reason": f'"{reason}"', "max_pilots": 6}

    rows: dict[str, Options] = {
        "held spoiled": {"match": "spoiled", "action": "release", "times": 2, "after": "0s", "rate": "2/s"},
        "held slowly": {"match": "slowly", "action": "remove", "after": "0s", "rate": "6/m"},
    }
    queues: dict[str, Options] = {
        "HELD": {"fixed": 6, **held_as("spoiled")},
        "SLOW": {"fixed": 6, **held_as("slowly")},
        "LEFT": {"fixed": 2, "max_pilots": 2},
    }
    conf = site.conf(queues, **rows)
    factory = daemon(conf, environment=site.pool.environment)
    began = time.monotonic()
    factory.start()
    until(lambda: site.states("LEFT") == Counter({2: 2}), 40, "pilots run")
    site.pool.run(["condor_hold", "-const", 'APF_QUEUE == "LEFT"'])
    factory.wait_for(r"HELD submitted 0: .* \| \d held: \d x 'spoiled'", 40)
    until(
        lambda: any(job.get("APF_RELEASES") == 2 for job in site.jobs('APF_QUEUE == "HELD"')),
        60,
        "one is released twice",
    )
    since = factory.mark()
    factory.wait_for(r"removed \d held pilots; of \d+ held: .*\d x 'spoiled'", 60, since=since)
    assert factory.run("pause", "HELD", "--why", "test").returncode == 0
    until(lambda: not site.states("HELD"), 90, "all are gone")
    assert told(factory, "released", "spoiled") >= 12, "each of six pilots twice"
    assert told(factory, "removed", "spoiled") >= 6
    at_a_rate = told(factory, "removed", "slowly")
    assert 1 <= at_a_rate <= 1 + (time.monotonic() - began) / 10, "one at once, and six a minute"
    assert site.states("LEFT") == Counter({5: 2})
    assert not factory.lines(" (ERROR|CRITICAL) ")
    factory.stop(within=9)


def test_old_waiting_pilots_and_kill_by_state(
    site: Site, testbed: Path, user: str, daemon: Callable[..., Daemon]
) -> None:
    """Pilots that never start go one by one; kill takes the running ones of a queue, and no foreign job."""
    foreign = '+APF_FACTORY = "other"\n+APF_QUEUE = "RUNS"\nexecutable = /bin/sleep\narguments = 600\nqueue 2\n'
    path = site.pool.base / "foreign.sub"
    path.write_text(foreign)
    path.chmod(0o644)
    site.pool.run(["condor_submit", str(path)])
    never: Options = {"fixed": 3, "max_pilots": 3, "submit.requirements": "False", "max_pending_age": "6s"}
    conf = site.conf({"WAITS": never, "RUNS": {"fixed": 4, "max_pilots": 4}})
    factory = daemon(conf, environment=site.pool.environment)
    factory.start()
    factory.wait_for(r"WAITS .*: removed 1 pilots waiting for more than \S+ h", 60, count=2)
    until(lambda: site.states("RUNS") == Counter({2: 6}), 40, "4 of ours and 2 others run")
    assert factory.run("drain", "--all", "--why", "test").returncode == 0
    command = [str(testbed / "venv/bin/autopyfactory"), "kill", "--conf", str(conf), "--queue", "RUNS"]

    def kill(*words: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/bin:/bin", **site.pool.environment}
        return subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    assert kill("--state", "held", "--state", "pending").stdout.startswith("removed nothing")
    assert kill("--dry-run").stdout == "would remove 4 pilots of RUNS: running 4\n"
    assert kill("--endpoint", "nowhere").stdout == "removed nothing: no pilot of RUNS at nowhere is there\n"
    assert site.states("RUNS") == Counter({2: 6})
    [endpoint] = {job["APF_ENDPOINT"] for job in site.jobs(f'APF_QUEUE == "RUNS" && APF_FACTORY == "{FACTORY}"')}
    said = kill("--state", "running", "--endpoint", endpoint)
    assert (said.returncode, said.stdout) == (0, f"removed 4 pilots of RUNS at {endpoint}: running 4\n"), said
    until(lambda: site.states("RUNS") == Counter({2: 2}), 30, "only foreign jobs are left")
    factory.wait_for(r"RUNS blocked: .*no pilot is left", 30)
    factory.stop(within=9)
    site.pool.halt("schedd")
    try:
        said = kill()
    finally:
        site.pool.cont("schedd")
    assert said.returncode == 1
    assert "not done: schedd local: " in said.stderr
    # Without the daemon, and by its user.
    said = factory.run("kill", "--queue", "WAITS")
    assert (said.returncode, said.stdout[:8]) == (0, "removed ")
