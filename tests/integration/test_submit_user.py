"""Pilots of another account on a real Slurm: an ordinary user does all it has to by the documented lines of sudoers."""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from autopyfactory.batch.commands_words import Tags
from tests.testbed.daemon import Daemon
from tests.testbed.slurm import SlurmCluster
from tests.testbed.sudoers import allowed, of_page
from tests.testbed.world import FACTORY, Options, until, write_conf

pytestmark = pytest.mark.xdist_group("pilot-account")

CPUS = 6
PILOTS = CPUS + 2
HELD: Options = {"match": "JobHeldUser", "action": "release", "times": 1, "after": "5s", "rate": "10/s"}
QUEUE: Options = {
    "backend": "batch",
    "type": "slurm",
    "interval": "1s",
    "walltime": "1h",
    "rules": "fixed",
    "fixed": PILOTS,
    "max_pilots": PILOTS,
    "max_per_cycle": PILOTS,
}


def write(home: Path, user: str, pilot_user: str) -> Path:
    for folder in (home, *(home / part for part in ("log", "state", "run", "pilots"))):
        folder.mkdir()
        shutil.chown(folder, user, user)
    wrapper = home / "wrapper.sh"
    wrapper.write_text("#!/bin/sh\nid -un\nexec sleep 600\n")
    wrapper.chmod(0o755)
    factory: Options = {
        "id": FACTORY,
        "host": home.parent.name,
        **{f"{part}_dir": home / part for part in ("log", "state", "run")},
        "pilot_log_dir": home / "pilots",
        "submit_users": pilot_user,
    }
    source: Options = {"interval": "1s", "max_age": "8s", "deadline": "15s"}
    sections = {"factory": factory, "slurm local": source, "held mine": HELD}
    site = {**QUEUE, "submit_user": pilot_user, "executable": wrapper}
    return write_conf(home / "etc", sections, {"SITE": site}, user=user)


def test_the_lines_of_the_page_are_enough_and_one_that_lacks_is_told(
    user: str, pilot_user: str, workdir: Path, daemon: Callable[..., Daemon]
) -> None:
    lines = of_page("slurm", factory=user, pilot=pilot_user)
    incomplete = lines.replace(", /usr/bin/scontrol", "")
    assert incomplete != lines
    conf = write(workdir / "factory", user, pilot_user)
    with SlurmCluster(workdir / "slurm", cpus=CPUS) as cluster:
        factory = daemon(conf, environment=cluster.environment)

        def states() -> Counter[str]:
            jobs = [job for job in cluster.jobs() if Tags.read(str(job["comment"]))]
            assert {job["user_name"] for job in jobs} <= {pilot_user}
            return Counter("held" if job["state_reason"] == "JobHeldUser" else str(job["job_state"]) for job in jobs)

        with allowed(incomplete, "slurm-test"):
            factory.start()
            until(lambda: states() == {"RUNNING": CPUS, "PENDING": 2}, 60, "pilots run and wait")
            last = max(int(job["job_id"]) for job in cluster.jobs())
            cluster.run("scontrol", "uhold", str(last))
            lacks = re.escape(f"{user} ALL=({pilot_user}) NOPASSWD: /usr/bin/scontrol")
            factory.wait_for(rf"slurm local: sudo refuses, allow it by a line in /etc/sudoers\.d: {lacks} ", 40)
            time.sleep(3)  # more counts: a release that counted would have been followed by the removal
            assert states() == {"RUNNING": CPUS, "PENDING": 1, "held": 1}
        with allowed(lines, "slurm-test"):
            factory.wait_for(r"slurm local: released 1 held pilots", 30)
            until(lambda: states() == {"RUNNING": CPUS, "PENDING": 2}, 20, "it waits for a node again")
            assert factory.run("drain", "SITE", "--why", "test").returncode == 0
            done = factory.run("kill", "--queue", "SITE")
            assert done.stdout == f"removed {PILOTS} pilots of SITE: pending 2, running {CPUS}\n", done
            until(lambda: states() == {"CANCELLED": PILOTS}, 30, "all are gone")
        outputs = [path.read_text().partition("\n")[0] for path in (workdir / "factory/pilots").rglob("*.out")]
        assert outputs == [pilot_user] * CPUS
        assert len(factory.lines("sudo refuses")) == 1
        factory.stop(within=9)
        factory.assert_nothing_left()
