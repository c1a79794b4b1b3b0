"""A factory whose queues go to one batch system, a pretended or a real one, in one test."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from autopyfactory.batch.commands_words import Tags
from tests.testbed.world import FACTORY, PILOT, Options, write_conf


class System(Protocol):
    """A batch system of one test, as `GridEngine` and `PretendedSystem` are."""

    @property
    def environment(self) -> dict[str, str]:
        """What a daemon needs in its environment to find the commands."""
        ...

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all jobs that it remembers, by number."""
        ...

    def kill(self) -> None:
        """End the server as a crash does."""
        ...

    def start(self) -> None:
        """Start the server again."""
        ...

    def suspend(self) -> None:
        """Let the server hang."""
        ...

    def resume(self) -> None:
        """Let a hanging server go on."""
        ...


S = TypeVar("S", bound=System)


class BatchSite(Generic[S]):
    """Writes a factory's files and looks at its pilots; `source` are the options of the system's section."""

    def __init__(self, workdir: Path, user: str, system: S, kind: str, **source: object) -> None:
        self.system = system
        self.home = workdir / "factory"
        self.most = 0
        self.states: Counter[str] = Counter()
        self._user = user
        self._kind = kind
        self._source = source

    def write(self, panda_url: str, monitor_url: str, queues: dict[str, Options], **default: object) -> Path:
        """Write the files of the factory and return its main file; `default` goes to all queues."""
        for folder in (self.home, *(self.home / part for part in ("log", "state", "run", "pilots"))):
            folder.mkdir(exist_ok=True)
            shutil.chown(folder, self._user, self._user)
        main: dict[str, Options] = {
            "factory": {
                "id": FACTORY,
                "host": self.home.parent.name,  # other tests play other hosts, at the same time
                **{f"{part}_dir": self.home / part for part in ("log", "state", "run")},
                "pilot_log_dir": self.home / "pilots",
                "pilot_log_url": "http://logs.example.org/pilots",
            },
            "wms panda": {"url": panda_url, "interval": "1s", "site_interval": "2s", "lag": "1s", "max_age": "8s"},
            "monitor apfmon": {"url": monitor_url},
            f"{self._kind} local": {"interval": "1s", "max_age": "8s", "deadline": "3s"} | self._source,
        }
        base = {
            "backend": "batch",
            "type": self._kind,
            "batchqueue": "grid",
            "wms": "panda",
            "monitor": "apfmon",
            "interval": "1s",
            "rules": "ready",
            "first_job_after": "0s",
            "walltime": "5m",
            "memory": "100MB",
            "max_per_cycle": 4,
            "arguments": f"-- {PILOT} --url {panda_url} --queue %(wmsqueue)s",
        }
        return write_conf(self.home / "etc", main, {"DEFAULT": base | default, **queues}, user=self._user)

    def pilots(self, queue: str = "") -> dict[str, dict[str, Any]]:
        """Return the system's own jobs of this factory by cid; keeps the largest number alive and all states."""
        found = {}
        for number, job in self.system.jobs().items():
            text = job["environment"]["APF_TAGS"] if self._kind == "torque" else job["name"]
            tags = Tags.read(text)
            if tags is not None and tags.factory == FACTORY and queue in {"", tags.queue}:
                found[tags.cid] = job | {"number": number, "queue": tags.queue}
        self.states.update({job["state"] for job in found.values()})
        self.most = max(self.most, sum(job["state"] not in {"ending", "ended"} for job in found.values()))
        return found

    def outputs(self) -> set[str]:
        """Return the cids whose output is there."""
        return {path.stem for path in (self.home / "pilots").rglob("*.out")}
