"""A whole site for one test: HTCondor pool, squid, PanDA to play with, monitor, and a factory's files."""

import itertools
import json
import os
import pwd
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autopyfactory.simulate import pilot
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda
from tests.testbed.apfmon import ApfmonServer
from tests.testbed.condor import CondorPool
from tests.testbed.patience import patience
from tests.testbed.squid import Squid

FACTORY = "TEST-factory"
PILOT = f"{sys.executable} -I -S {pilot.__file__}"

Options = Mapping[str, object]

METRONOME, ON_PANDA, ON_POOL = "METRONOME", "ON_PANDA", "ON_POOL"
"""Queues that submit one pilot a second: when one pauses, something delayed it. The first shares no source with the
queues under test, the second their PanDA, the third their pool."""

_ON_HOST: Options = {"backend": "fork", "type": "", "allow_same_user": "yes"}
_BEATS: Mapping[str, Options] = {
    METRONOME: {**_ON_HOST, "wms": "", "wmsqueue": "", "rules": "fixed", "fixed": 1},
    ON_PANDA: {**_ON_HOST, "wmsqueue": "OTHER", "rules": "ready, min_per_cycle", "min_per_cycle": 1},
    ON_POOL: {"wms": "", "wmsqueue": "", "rules": "fixed", "fixed": 1},
}
_BEAT: Options = {"monitor": "", "max_per_cycle": 1, "max_pilots": 100, "arguments": "-- /bin/true"}

_OVER = (3, 4)
"""JobStatus of HTCondor: removed, completed."""


def until(condition: Callable[[], bool], timeout: float, what: str, step: float = 0.2) -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + patience(timeout)
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(step)


def write_conf(folder: Path, main: Mapping[str, Options], queues: Mapping[str, Options], *, user: str) -> Path:
    """Write autopyfactory.conf and queues.conf into a folder that belongs to a user; return the main file."""
    account = pwd.getpwnam(user)
    folder.mkdir(exist_ok=True)
    for name, sections in (("autopyfactory.conf", main), ("queues.conf", queues)):
        text = "".join(
            f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"
            for section, options in sections.items()
        )
        (folder / name).write_text(text)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return folder / "autopyfactory.conf"


class World:
    """Everything a factory talks to, for real or as a stand-in, each on its own free port of 127.0.0.1.

    The squid stands before PanDA as an accelerator, as at CERN. `slots` and `extra` go to the pool.
    """

    def __init__(
        self,
        workdir: Path,
        testbed: Path,
        user: str,
        jobs: Sequence[SimulatedQueue],
        *,
        lag: float = 1.0,
        lease: float = 600.0,
        slots: int = 50,
        extra: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.workdir = workdir
        self.user = user
        self.panda = SimulatedPanda(jobs, lag=lag, lease=lease)
        self.squid = Squid(workdir / "squid", origin=int(self.panda.url.rpartition(":")[2]))
        self.pool = CondorPool(
            workdir / "pool", user, testbed / "htcondor", slots=slots, extra=extra, environment=environment
        )
        self.apfmon = ApfmonServer()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for part in (self.panda, self.squid, self.apfmon, self.pool):
                stack.enter_context(part)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def main(self, name: str = "factory", **factory: object) -> dict[str, Options]:
        """Return the sections of a main file that uses this world, with directories below the workdir."""
        home = self.workdir / name
        account = pwd.getpwnam(self.user)
        for folder in (home, *(home / part for part in ("log", "state", "run", "pilots"))):
            folder.mkdir(exist_ok=True)
            os.chown(folder, account.pw_uid, account.pw_gid)
        sections: dict[str, Options] = {
            "factory": {
                "id": FACTORY,
                "host": self.workdir.name,  # other tests play other hosts, at the same time
                "log_dir": home / "log",
                "state_dir": home / "state",
                "run_dir": home / "run",
                "pilot_log_dir": home / "pilots",
                "pilot_log_url": "http://logs.example.org/pilots",
                "admin_email": "admin@example.org",
            }
            | factory,
            "wms panda": {"url": self.squid.url, "interval": "1s", "site_interval": "2s", "lag": "1s", "max_age": "8s"}
            | {"deadline": "3s", "site_max_age": "20s"},
            "monitor apfmon": {"url": self.apfmon.url},
            "schedd local": {"interval": "1s", "max_age": "10s", "deadline": "5s"},
        }
        return sections

    def queues(self, names: Sequence[str], **default: object) -> dict[str, Options]:
        """Return queue sections on the pool, each of the same name as its wmsqueue."""
        base = {
            "backend": "condor",
            "type": "vanilla",
            "wms": "panda",
            "monitor": "apfmon",
            "interval": "1s",
            "rules": "ready",
            "first_job_after": "0s",
            "arguments": self.pilot,
        } | default
        sections: dict[str, Options] = {"DEFAULT": base}
        return sections | {name: {"wmsqueue": name} for name in names}

    @property
    def pilot(self) -> str:
        """The arguments of a queue whose pilots run jobs one after the other until there are none."""
        return f"-- {PILOT} --url {self.panda.url} --queue %(wmsqueue)s"

    def beats(self, *names: str) -> dict[str, Options]:
        """Return the sections of neighbours that beat; PanDA must know the queue OTHER for `ON_PANDA`."""
        return {name: {**_BEATS[name], **_BEAT} for name in names}

    def write(self, main: Mapping[str, Options], queues: Mapping[str, Options], name: str = "factory") -> Path:
        """Write the files of a factory and return its main file."""
        return write_conf(self.workdir / name / "etc", main, queues, user=self.user)

    def condor(self, *words: str) -> list[dict[str, Any]]:
        """Return the ads of `condor_q` or `condor_history` for this factory's pilots."""
        attributes = "ClusterId,ProcId,JobStatus,JobUniverse,APF_QUEUE,APF_SUBMISSION,APF_HOST,ExitCode,"
        attributes += "QDate,EnteredCurrentStatus"
        out = self.pool.run([*words, "-constraint", f'APF_FACTORY == "{FACTORY}"', "-json", "-attributes", attributes])
        ads: list[dict[str, Any]] = json.loads(out) if out.strip() else []
        return ads

    def pilots(self) -> list[dict[str, Any]]:
        """Return every pilot the pool knows or remembers, each once."""
        ads = [*self.condor("condor_q", "-all"), *self.condor("condor_history")]
        return list({(ad["ClusterId"], ad["ProcId"]): ad for ad in ads}.values())

    def by_queue(self) -> Counter[str]:
        """Return how many pilots each queue ever had."""
        return Counter(str(ad["APF_QUEUE"]) for ad in self.pilots())

    def most_in_flight(self, queue: str) -> int:
        """Return how many pilots of a queue there ever were at a time, as the pool remembers it, in whole seconds."""
        ads = [ad for ad in self.pilots() if ad["APF_QUEUE"] == queue]
        changes = [(ad["QDate"], 1) for ad in ads]
        changes += [(ad["EnteredCurrentStatus"], -1) for ad in ads if ad["JobStatus"] in _OVER]
        return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)

    def submissions(self, name: str = "factory") -> dict[str, dict[str, Any]]:
        """Return the factory's own record of its submissions: the last line of each."""
        lines = (self.workdir / name / "state" / "submissions.jsonl").read_text().splitlines()
        return {entry["id"]: entry for entry in map(json.loads, lines)}


def longest_gap(lines: Sequence[str]) -> float:
    """Return the longest time in seconds between two lines of a log."""
    times = [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f") for line in lines]
    return max((later - sooner).total_seconds() for sooner, later in itertools.pairwise(times))
