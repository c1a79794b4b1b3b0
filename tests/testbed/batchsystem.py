"""Torque or LSF for one test: stand-in commands that cannot be told from the real ones, over a server that runs jobs.

with PretendedSystem(folder, "torque", user) as torque:
    daemon(conf, environment=torque.environment)
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.testbed.standin.engine import Folder
from tests.testbed.system import System

_HERE = Path(__file__).parent


class PretendedSystem(System):
    """One system of a kind (torque, lsf); `folder` is created and the user's. `conf`: see `engine.DEFAULTS`."""

    def __init__(self, folder: Path, kind: str, user: str, **conf: object) -> None:
        self.folder = folder
        self._kind = kind
        self._account = pwd.getpwnam(user)
        self._conf = conf
        self._state = Folder(folder)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def bin(self) -> Path:
        """The folder of its commands."""
        return self.folder / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """What a daemon needs in its environment to find the commands."""
        return {"PATH": f"{self.bin}:/usr/local/bin:/usr/bin:/bin"}

    def begin(self) -> None:
        """Copy its commands, configure and start it."""
        # A copy, for the clone may lie where the user cannot go.
        shutil.copytree(_HERE / "bin" / self._kind, self.bin)
        shutil.copytree(_HERE / "standin", self.folder / "standin", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("lock", "alive"):
            (self.folder / name).touch()
        self.configure(**self._conf)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
        self.start()

    def stop(self) -> None:
        """End the server and its jobs."""
        if self._server is None:
            return
        self.resume()
        self.kill()
        for job in self.jobs().values():
            if job["state"] == "running":
                self._end(job["pid"])

    def start(self) -> None:
        """Start the server, again too: it remembers its jobs."""
        self._server = subprocess.Popen(
            ["/usr/bin/python3", "-B", "-m", "standin.engine", str(self.folder)],
            cwd=self.folder,
            user=self._account.pw_uid,
            group=self._account.pw_gid,
            extra_groups=[],
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while not self._state.server():
            assert time.monotonic() < deadline and self._server.poll() is None, "the server does not start"
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server as a crash does; jobs go on."""
        assert self._server is not None, "not started"
        self._server.kill()
        self._server.wait(10)

    def suspend(self) -> None:
        """Stop the server by SIGSTOP: commands wait for its answer and get none."""
        assert self._server is not None, "not started"
        self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended server go on."""
        assert self._server is not None, "not started"
        self._server.send_signal(signal.SIGCONT)

    def configure(self, **conf: object) -> None:
        """Change what is configured, at any time."""
        with self._state.state() as state:
            state.conf |= conf

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all jobs that it remembers, by number."""
        with self._state.state() as state:
            return state.jobs

    def alter(self, number: str, **values: object) -> None:
        """Change what it knows of a job; `word` is the state that it shows."""
        with self._state.state() as state:
            state.jobs[number] |= values

    def lose(self, number: str) -> None:
        """Forget a job, as a server that has lost its state."""
        with self._state.state() as state:
            self._end(state.jobs.pop(number).get("pid"))

    @staticmethod
    def _end(pid: int | None) -> None:
        if pid is not None:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
