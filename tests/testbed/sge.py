"""A real Grid Engine: sge_qmaster and one sge_execd from Debian's packages, started by hand as root.

    with Network(), GridEngine(folder) as engine:
        daemon(conf, environment=engine.environment)

Everything lies below the folder, which is its SGE_ROOT; clients find it by `environment`. Its daemons listen on all
addresses and on fixed ports, hence the network of their own.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.testbed.system import System, comes, kill_all, pid_in, processes, run_as

_LIB = Path("/usr/lib/gridengine")
_SHARE = Path("/usr/share/gridengine")
_ADMIN = "sgeadmin"

_BOOTSTRAP = """\
admin_user {admin}
default_domain none
ignore_fqdn false
spooling_method classic
spooling_lib libspoolc
spooling_params {spooling}
binary_path /usr/sbin
qmaster_spool_dir {root}/spool/qmaster
security_mode none
listener_threads 1
worker_threads 1
scheduler_threads 1
"""

_CLUSTER = {
    "execd_spool_dir": "{root}/spool/execd",
    "mailer": "/bin/true",
    "min_uid": "0",
    "min_gid": "0",
    "load_report_time": "00:00:02",
    "loglevel": "log_info",
    "gid_range": "{gids}",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
}

_SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}

_HOST = {
    "hostname": "{host}",
    "load_scaling": "NONE",
    "complex_values": "h_vmem=64G",
    **dict.fromkeys(
        ("user_lists", "xuser_lists", "projects", "xprojects", "usage_scaling", "report_variables"), "NONE"
    ),
}

_PARALLEL = {
    "pe_name": "smp",
    "slots": "999",
    "user_lists": "NONE",
    "xuser_lists": "NONE",
    "start_proc_args": "NONE",
    "stop_proc_args": "NONE",
    "allocation_rule": "$pe_slots",
    "control_slaves": "FALSE",
    "job_is_first_task": "TRUE",
    "urgency_slots": "min",
    "accounting_summary": "FALSE",
    "qsort_args": "NONE",
}

# What a careless admin may set: pilots must run all the same.
_QUEUE = {
    "qname": "grid",
    "hostlist": "@allhosts",
    "slots": "{slots}",
    "load_thresholds": "NONE",
    "pe_list": "smp",
    "shell": "/bin/false",
    "tmpdir": "{root}/tmp",
    "shell_start_mode": "posix_compliant",
}
CARELESS = "-b y\n-j y\n-cwd\n"
"""Default options of qsub that would spoil a submission which does not say otherwise."""


class GridEngine(System):
    """One cell of one host with pretended slots; `root` is created. All times are in seconds.

    `request` is what its sge_request says.
    """

    def __init__(self, root: Path, *, slots: int = 32, request: str = "") -> None:
        self.root = root
        self._request = request
        self.host = socket.gethostname().partition(".")[0]
        self.accounting = root / "default/common/accounting"
        self._slots = slots
        self._jobs: dict[str, dict[str, Any]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What the commands need in their environment to find this cell."""
        ports = {"SGE_QMASTER_PORT": "6444", "SGE_EXECD_PORT": "6445"}
        return {"SGE_ROOT": str(self.root), "SGE_CELL": "default", **ports}

    def begin(self) -> None:
        """Write its files, start both daemons and configure them."""
        self._write()
        self.start()
        self._configure()
        self._daemon("sge_execd")
        ready = comes(lambda: not self.run("qselect", "-qs", "u", check=False), 30.0)
        assert ready, f"sge_execd does not come up:\n{self.run('qstat', '-f')}"

    def stop(self) -> None:
        """End all jobs and both daemons."""
        try:
            if self.pid("qmaster"):
                self.resume()
                self.run("qdel", "-u", "*", check=False)
                comes(lambda: not self._listed(), 5.0)
        finally:
            kill_all(processes(self._left_behind))

    def start(self) -> None:
        """Start sge_qmaster, again too: it remembers its jobs."""
        self._daemon("sge_qmaster")
        assert comes(lambda: bool(self.run("qconf", "-sh", check=False)), 30.0), "sge_qmaster does not answer"

    def kill(self) -> None:
        """End sge_qmaster as a crash does; jobs go on."""
        os.kill(self.pid("qmaster"), signal.SIGKILL)
        assert comes(lambda: not self.pid("qmaster"), 10.0), "sge_qmaster does not end"

    def suspend(self) -> None:
        """Stop sge_qmaster by SIGSTOP: it takes connections and never answers."""
        os.kill(self.pid("qmaster"), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended sge_qmaster go on."""
        os.kill(self.pid("qmaster"), signal.SIGCONT)

    def run(self, *argv: str, user: str = "root", check: bool = True) -> str:
        """Return what a command of Grid Engine printed, run by a user."""
        return run_as(user, argv, self._env(), check=check)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return all jobs that were ever seen here or accounted for, by number: `name`, `user`, `state`.

        The state is pending, running, held, ending or ended. While the master is down it is that of before.
        """
        if not self.pid("qmaster"):
            return self._jobs
        listed = self._listed()
        text = self.accounting.read_text() if self.accounting.exists() else ""
        words = [line.split(":") for line in text.splitlines() if not line.startswith("#")]
        accounted = {one[5]: {"name": _plain(one[4]), "user": one[3]} for one in words if len(one) > 12}
        known = {number: job | {"state": "ended"} for number, job in (accounted | self._jobs).items()}
        self._jobs = known | listed
        return self._jobs

    def _listed(self) -> dict[str, dict[str, Any]]:
        paper = ElementTree.fromstring(self.run("qstat", "-u", "*", "-xml"))
        keys = ("JB_job_number", "JB_name", "JB_owner", "state")
        rows = [[one.findtext(key) or "" for key in keys] for one in paper.iter("job_list")]
        return {row[0]: {"name": _plain(row[1]), "user": row[2], "state": _state(row[3])} for row in rows}

    def told(self, number: str) -> dict[str, str]:
        """Return what `qstat -j` says of a job."""
        pairs = [line.partition(":") for line in self.run("qstat", "-j", number).splitlines()]
        return {key.strip(): value.strip() for key, _, value in pairs}

    def configure(self, **values: str) -> None:
        """Change the cluster's configuration (sge_conf(5)), at any time."""
        self._change(["qconf", "-sconf", "global"], ["qconf", "-Mconf"], values, "global")

    def pid(self, name: str) -> int:
        """Return the process id of a daemon (qmaster, execd), 0 when it does not run."""
        files = (self.root / "spool" / name).rglob(f"{name}.pid")
        return next(filter(None, (pid_in(file, f"sge_{name}") for file in files)), 0)

    def _env(self) -> dict[str, str]:
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **self.environment}

    def _write(self) -> None:
        common, qmaster = self.root / "default/common", self.root / "spool/qmaster"
        for folder in (
            common,
            qmaster / "job_scripts",
            self.root / "spool/execd",
            self.root / "bin",
            self.root / "tmp",
        ):
            folder.mkdir(parents=True)
        (self.root / "bin/lx-amd64").symlink_to(_LIB)
        (self.root / "util").symlink_to(_SHARE / "util")
        spooling = f"{common};{qmaster}"
        (common / "bootstrap").write_text(_BOOTSTRAP.format(admin=_ADMIN, spooling=spooling, root=self.root))
        (common / "act_qmaster").write_text(f"{self.host}\n")
        # Its address may have another name first.
        (common / "host_aliases").write_text(f"{self.host} localhost\n")
        (common / "sge_request").write_text(self._request)
        first = self.root / "configuration"
        first.write_text(_changed((_SHARE / "default-configuration").read_text(), self._filled(_CLUSTER)))
        for path in (self.root, *self.root.rglob("*")):
            shutil.chown(path, _ADMIN, _ADMIN)
        (self.root / "tmp").chmod(0o1777)
        self.run(str(_LIB / "spoolinit"), "classic", "libspoolc", spooling, "init", user=_ADMIN)
        for what, source in (("configuration", first), ("complexes", _SHARE / "util/resources/centry")):
            self.run(str(_LIB / "spooldefaults"), what, str(source), user=_ADMIN)
        self.run(str(_LIB / "spooldefaults"), "usersets", str(_SHARE / "util/resources/usersets"), user=_ADMIN)
        self.run(str(_LIB / "spooldefaults"), "managers", _ADMIN, "root", user=_ADMIN)

    def _configure(self) -> None:
        """Tell the master its host, queue, parallel environment and how to be quick."""
        self.run("qconf", "-as", self.host)
        # Each slot gets what its job asks for; without a default, a job that does not ask is killed.
        self._change(["qconf", "-sc"], ["qconf", "-Mc"], {"h_vmem": "h_vmem MEMORY <= YES YES 1G 0"})
        self._add("-Ae", _HOST)
        self._add("-Ahgrp", {"group_name": "@allhosts", "hostlist": self.host})
        self._add("-Ap", _PARALLEL)
        self._change(["qconf", "-sq"], ["qconf", "-Aq"], self._filled(_QUEUE))
        self._change(["qconf", "-ssconf"], ["qconf", "-Msconf"], _SCHEDULER)

    def _add(self, option: str, values: Mapping[str, str]) -> None:
        path = self.root / f"given{option}"
        path.write_text("".join(f"{key} {value}\n" for key, value in self._filled(values).items()))
        self.run("qconf", option, str(path))

    def _change(
        self, show: Sequence[str], set_: Sequence[str], values: Mapping[str, str], name: str = "changed"
    ) -> None:
        path = self.root / name
        path.write_text(_changed(self.run(*show), values))
        self.run(*set_, str(path))

    def _filled(self, values: Mapping[str, str]) -> dict[str, str]:
        # It kills by group id: two cells of one host must not have the same ones.
        first = 100_000 + os.getpid() % 10_000 * 100
        words = {"root": self.root, "host": self.host, "slots": self._slots, "gids": f"{first}-{first + 99}"}
        return {key: value.format(**words) for key, value in values.items()}

    def _daemon(self, name: str) -> None:
        with (self.root / f"{name}.out").open("ab") as output:
            subprocess.run(
                [f"/usr/sbin/{name}"], env=self._env(), cwd="/", stdout=output, stderr=output, check=True, timeout=60
            )

    def _left_behind(self, words: Sequence[bytes], folder: Path) -> bool:
        """Tell what belongs to this cell: its daemons, shepherds and jobs."""
        job = f"SGE_JOB_SPOOL_DIR={self.root}/".encode()
        if any(word.startswith(job) for word in words):
            return True
        return f"SGE_ROOT={self.root}".encode() in words and (folder / "comm").read_text().startswith("sge_")


def _plain(name: str) -> str:
    """Return the tags of a pilot's name with their own colons, which no name may have here."""
    return name.replace("+", ":")


def _state(word: str) -> str:
    """Return a word for the letters of a state."""
    named = {"d": "ending", "E": "held", "h": "held", "r": "running"}
    return next((name for letter, name in named.items() if letter in word), "pending")


def _changed(text: str, values: Mapping[str, str]) -> str:
    """Return a configuration of lines `key value` with other values; a backslash continues a line."""
    lines = text.replace("\\\n", " ").splitlines()
    first = [line.split(None, 1)[0] if line.strip() else "" for line in lines]
    return "".join(
        f"{key} {values[key]}\n" if key in values else f"{line}\n" for key, line in zip(first, lines, strict=True)
    )
