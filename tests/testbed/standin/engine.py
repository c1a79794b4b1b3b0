"""The state of a pretended batch system, in files of one folder, and the server that runs its jobs.

    python3 -m standin.engine FOLDER

The server's life is a lock that it holds: killed or stopped it is down or hung for the commands, while the
jobs go on, as on nodes. Jobs run as the server's user.
"""

import fcntl
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TICK = 0.05
DEFAULTS: dict[str, Any] = {
    "slots": 4,
    "queues": ["grid", "normal"],
    "keep": 300.0,  # seconds that ended jobs are listed
    "linger": 0.3,  # seconds that they are ending before
    "refuse": "",  # what the system says to each submission
    "limit": None,  # jobs that may be submitted before it refuses
    "json": False,  # LSF alone: bjobs has -o and -json
    "first": 1,  # number of the first job
}

# The exit code stands in a file as soon as the job has ended, whoever looks and whenever.
_GUARD = '"$5" "$1" >>"$2" 2>>"$3" </dev/null; echo $? >"$4.new"; mv "$4.new" "$4"'


class State:
    """Jobs by number, what is configured, and the next number. Use within `Folder.state`."""

    def __init__(self, paper: dict[str, Any]) -> None:
        self.conf: dict[str, Any] = DEFAULTS | paper.get("conf", {})
        self.next: int = paper.get("next", 1)
        self.jobs: dict[str, dict[str, Any]] = paper.get("jobs", {})

    def paper(self) -> dict[str, Any]:
        return {"conf": self.conf, "next": self.next, "jobs": self.jobs}


class Folder:
    """The files of one system; any user of the host may use them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_command(cls) -> "Folder":
        """Return the folder in whose `bin` the running command lies."""
        return cls(Path(sys.argv[0]).absolute().parents[1])

    @contextmanager
    def state(self) -> Iterator[State]:
        """Lend the state; what is changed is kept."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            file = self.path / "state.json"
            text = file.read_text() if file.exists() else "{}"
            state = State(json.loads(text))
            yield state
            fresh = json.dumps(state.paper())
            if fresh != text:
                (self.path / "state.new").write_text(fresh)
                (self.path / "state.new").replace(file)

    def server(self) -> bool:
        """Tell whether the server runs; wait for ever for one that is stopped by SIGSTOP."""
        with (self.path / "alive").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                pid = (self.path / "alive").read_text()
        while (state := _process(pid)) == "T":
            time.sleep(TICK)
        return bool(state)

    @staticmethod
    def refusal(state: State) -> str:
        """Return what the system says to a submission now, "" when it takes one."""
        return "" if state.conf["limit"] not in {None, 0} else str(state.conf["refuse"])

    def submit(self, state: State, script: str, job: dict[str, Any]) -> str:
        """Keep a job and its script; return its number."""
        if state.conf["limit"] is not None:
            state.conf["limit"] -= 1
        number = str(max(state.next, state.conf["first"]))
        state.next = int(number) + 1
        (self.path / f"{number}.sh").write_text(script)
        state.jobs[number] = {"state": "pending", "submitted": time.time(), "user": _user(), "cores": 1} | job
        return number

    def kill(self, job: dict[str, Any]) -> None:
        """End a job on somebody's wish."""
        job["killed"] = True
        if job["state"] == "running":
            _signal(job["pid"], signal.SIGTERM)
        else:
            job |= {"state": "ended", "ended": time.time(), "code": None}

    def step(self, state: State) -> None:
        """Take in ends, forget old jobs and start new ones."""
        now = time.time()
        for number, job in list(state.jobs.items()):
            if job["state"] == "running":
                self._end(number, job, now)
            elif job["state"] == "ending" and now > job["ended"] + state.conf["linger"]:
                job["state"] = "ended"
            elif job["state"] == "ended" and now > job["ended"] + state.conf["keep"]:
                del state.jobs[number]
        free = state.conf["slots"] - sum(job["cores"] for job in state.jobs.values() if job["state"] == "running")
        for number, job in state.jobs.items():
            if job["state"] == "pending" and job["cores"] <= free:
                self._start(number, job, now)
                free -= job["cores"]

    def _start(self, number: str, job: dict[str, Any], now: float) -> None:
        words = [str(self.path / f"{number}.sh"), job["output"], job["error"], str(self.path / f"{number}.rc")]
        words.append(job.get("shell", "/bin/sh"))
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.path), **job.get("environment", {})},
            start_new_session=True,
            cwd="/",
        )
        job |= {"state": "running", "started": now, "pid": process.pid}

    def _end(self, number: str, job: dict[str, Any], now: float) -> None:
        file = self.path / f"{number}.rc"
        if not file.exists() and _process(str(job["pid"])):
            return
        code = int(file.read_text()) if file.exists() else 143
        if job.get("killed"):
            _signal(job["pid"], signal.SIGKILL)
        job |= {"state": "ending", "ended": now, "code": 143 if job.get("killed") else code}


def serve(folder: Folder) -> None:
    """Be the server until somebody kills it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with (folder.path / "alive").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        while True:
            with folder.state() as state:
                folder.step(state)
            time.sleep(TICK)


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _signal(pid: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, how)


def _process(pid: str) -> str:
    """Return the state of a process, "" for one that is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if state in "ZX" else state


if __name__ == "__main__":
    serve(Folder(Path(sys.argv[1])))
