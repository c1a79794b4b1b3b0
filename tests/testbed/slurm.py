"""A real Slurm on the loopback interface: munged, slurmctld and one slurmd, started by hand as root.

    with SlurmCluster(folder) as cluster:
        cluster.run("sinfo", user="apftest")

Everything lies below the folder, the key of munge too; clients find it by `environment`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.testbed.ports import free_port
from tests.testbed.system import System, comes, kill_all, pid_in, processes, run_as

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={base}/munge.socket
CryptoType=crypto/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.log
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={base}/log/jobcomp.log
MinJobAge={min_job_age}
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=normal Nodes={host} Default=YES MaxTime=2-00:00:00 DefaultTime=60 State=UP
PartitionName=short Nodes={host} Default=NO MaxTime=5 DefaultTime=1 State=UP
"""


class SlurmCluster(System):
    """One cluster of one node with pretended CPUs; `base` is created. All times are in seconds."""

    def __init__(self, base: Path, *, cpus: int = 32, min_job_age: int = 300) -> None:
        self.base = base
        self.host = socket.gethostname().partition(".")[0]
        self._cpus = cpus
        self._min_job_age = min_job_age

    @property
    def environment(self) -> dict[str, str]:
        """What the commands need in their environment to find this cluster."""
        return {"SLURM_CONF": str(self.base / "slurm.conf")}

    @property
    def jobcomp(self) -> Path:
        """The file in which it writes down every job that has ended."""
        return self.base / "log" / "jobcomp.log"

    def start(self) -> None:
        """Write the files and start all daemons; return when the node takes jobs."""
        self._write()
        self._start_munged()
        self.start_controller(ready=False)
        self._daemon("slurmd")
        self._wait_ready()

    def stop(self) -> None:
        """End all jobs and all daemons."""
        try:
            self._cancel()
        finally:
            for name in ("slurmd", "slurmctld", "munged"):
                self._end(name, signal.SIGTERM)
            # Jobs that ended while the controller was dead wait for it for ever; what still runs has lost its guard.
            kill_all(processes(self._left_behind))

    def _cancel(self) -> None:
        if self.pid("slurmctld"):
            self.resume()
            if ids := self.run("squeue", "--all", "-h", "-o", "%A", check=False).split():
                self.run("scancel", "--quiet", "--full", *ids, check=False)
            comes(lambda: not self._unfinished(), 10.0)

    def start_controller(self, *, ready: bool = True) -> None:
        """Start slurmctld, again too: it remembers its jobs."""
        self._daemon("slurmctld")
        if ready:
            self._wait_ready()

    def kill_controller(self) -> None:
        """End slurmctld as a crash does."""
        self._end("slurmctld", signal.SIGKILL)

    def end_controller(self) -> None:
        """End slurmctld in order: when it is back it knows what runs, and does not drain the node for it."""
        self._end("slurmctld", signal.SIGTERM)

    def forget(self) -> None:
        """Let slurmctld forget all jobs that have ended, as MinJobAge does after minutes."""
        for job in self.jobs():
            assert job["end_time"], "a job still runs"
        self._end("slurmctld", signal.SIGTERM)
        for path in (self.base / "state").glob("job_state*"):
            path.unlink()
        self.start_controller()

    def suspend(self) -> None:
        """Stop slurmctld by SIGSTOP: it takes connections and never answers."""
        os.kill(self.pid("slurmctld"), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended slurmctld go on."""
        os.kill(self.pid("slurmctld"), signal.SIGCONT)

    def run(self, *argv: str, user: str = "root", check: bool = True) -> str:
        """Return what a command of Slurm printed, run by a user."""
        return run_as(user, argv, self._env(), check=check)

    def jobs(self) -> list[Mapping[str, Any]]:
        """Return all jobs that the controller still knows."""
        paper = json.loads(self.run("squeue", "--all", "--states=all", "--json"))
        assert not paper["errors"], paper["errors"]
        jobs: list[Mapping[str, Any]] = paper["jobs"]
        return jobs

    def pid(self, name: str) -> int:
        """Return the process id of a daemon, 0 when it does not run."""
        return pid_in(self.base / f"{name}.pid")

    def _env(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **self.environment}

    def _write(self) -> None:
        for name in ("log", "state", "spool", "munge"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        self.base.chmod(0o755)
        self.jobcomp.touch(mode=0o644)
        for path in (self.base / "state", self.base / "log", self.jobcomp):
            shutil.chown(path, "slurm", "slurm")
        key = self.base / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        text = _CONF.format(
            base=self.base,
            host=self.host,
            ctld=free_port(),
            slurmd=free_port(),
            cpus=self._cpus,
            min_job_age=self._min_job_age,
        )
        (self.base / "slurm.conf").write_text(text)

    def _start_munged(self) -> None:
        base = self.base
        subprocess.run(
            [
                *("munged", "--force", f"--socket={base}/munge.socket", f"--pid-file={base}/munged.pid"),
                *(f"--key-file={base}/munge/key", f"--seed-file={base}/munge/seed", f"--log-file={base}/munge/log"),
            ],
            env=self._env(),
            check=True,
            timeout=30,
        )

    def _daemon(self, name: str) -> None:
        argv = [name, "-f", str(self.base / "slurm.conf")]
        subprocess.run(argv, env=self._env(), check=True, timeout=30, stdout=subprocess.DEVNULL)
        comes(lambda: bool(self.pid(name)), 10.0)

    def _wait_ready(self) -> None:
        """Wait for a node that takes jobs: the daemons' own exit code means nothing."""

        def ready() -> bool:
            states = self.run("sinfo", "-h", "-p", "normal", "-o", "%T", check=False).split()
            return bool(states) and states[0] in {"idle", "mixed", "allocated"}

        if not comes(ready, 30.0):
            log = self.base / "log" / "slurmctld.log"
            raise RuntimeError(f"Slurm is not ready: {log.read_text()[-2000:] if log.exists() else 'no log'}")

    def _left_behind(self, words: Sequence[bytes], folder: Path) -> bool:
        """Tell a process of this cluster's jobs, and one that watches over them."""
        conf = f"SLURM_CONF={self.base}/slurm.conf".encode()
        if conf in words and any(word.startswith(b"SLURM_JOB_ID=") for word in words):
            return True
        step = (folder / "comm").read_text() == "slurmstepd\n"
        return step and (folder / "cwd").readlink().is_relative_to(self.base)

    def _unfinished(self) -> bool:
        return bool(self.run("squeue", "-h", check=False).strip())

    def _end(self, name: str, how: signal.Signals) -> None:
        pid = self.pid(name)
        if not pid:
            return
        os.kill(pid, how)
        if not comes(lambda: not self.pid(name), 10.0):
            os.kill(pid, signal.SIGKILL)
