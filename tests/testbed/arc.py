"""A real ARC CE, A-REX with its REST interface, over a real Slurm; it trusts certificates and tokens made here.

    with Network(), ArcCE(folder, "apftest") as ce:
        ... endpoint = ce.endpoint, token = ce.token ...

A-REX listens on all addresses, so it wants a network of its own. Everything lies below the folder.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.testbed.certificates import Authority
from tests.testbed.ports import free_port
from tests.testbed.slurm import SlurmCluster
from tests.testbed.system import System, comes, kill_all, pid_in, processes
from tests.testbed.token_issuer import TokenIssuer

_SERVICES = {"arex": "arc-arex-start", "ws": "arc-arex-ws-start"}
_TRUST = "/etc/grid-security/certificates"
_SCOPE = "compute.read compute.create compute.modify compute.cancel"

_CONF = """\
[common]
hostname = localhost
x509_host_key = {key}
x509_host_cert = {certificate}
x509_cert_dir = {trust}
[authgroup:pilots]
subject = {subject}
authtokens = * {issuer} * * *
[authtokens]
[mapping]
map_to_user = pilots {user}:{user}
[lrms]
lrms = slurm
slurm_use_sacct = no
slurm_wakeupperiod = 1
[queue:normal]
[queue:short]
[arex]
controldir = {base}/control
sessiondir = {base}/session
logfile = {base}/log/arex.log
joblog = {base}/log/jobs.log
helperlog = {base}/log/helper.log
pidfile = {base}/arex.pid
tmpdir = {base}/tmp
wakeupperiod = 2
[arex/data-staging]
logfile = {base}/log/staging.log
[arex/ws]
wsurl = https://localhost:{port}/arex
logfile = {base}/log/ws.log
pidfile = {base}/ws.pid
[arex/ws/jobs]
allowaccess = pilots
[infosys]
logfile = {base}/log/infoprovider.log
[infosys/glue2]
[infosys/cluster]
"""

# What REST tells of a job at the batch system is as old as the last run of the information provider.
_PERIOD = "<arex:InfoproviderWakeupPeriod>10</arex:InfoproviderWakeupPeriod>"


class ArcCE(System):
    """One CE; its jobs run as `user`. All times are in seconds."""

    def __init__(self, base: Path, user: str) -> None:
        self.base = base
        self.slurm = SlurmCluster(base / "slurm")
        self.token = base / "token"
        self.proxy = base / "proxy"
        self._user = user
        self._trust = base / "ca/certificates"
        self._port = free_port()
        self._stack = ExitStack()

    @property
    def endpoint(self) -> str:
        """What a queue calls it."""
        return f"localhost:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment to trust it."""
        return {"X509_CERT_DIR": str(self._trust)}

    def begin(self) -> None:
        """Start Slurm, the issuer of tokens and the CE."""
        self._prepare()
        self._stack.enter_context(self.slurm)
        self._stack.callback(lambda: kill_all(processes(self._left_behind)))
        self._stack.callback(self.stop)
        self.start()

    def end(self) -> None:
        """End all of it."""
        self._stack.close()

    def start(self) -> None:
        """Start both services, again too; return when it takes our token."""
        for script in _SERVICES.values():
            # For the issuer of a token it trusts the host's own folder, whatever its configuration says.
            command = f"mount --bind {self._trust} {_TRUST} && exec {self.base}/{script}"
            subprocess.run(
                ["unshare", "--mount", "sh", "-c", command], env=self._env(), cwd="/", check=True, timeout=60
            )
        if not comes(self._answers, 60):
            raise RuntimeError(f"A-REX does not answer: {(self.base / 'log/ws.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End both services; jobs go on."""
        for name in reversed(_SERVICES):
            pid = self._pid(name)
            if pid:
                os.kill(pid, signal.SIGTERM)
                if not comes(lambda name=name: not self._pid(name), 20):  # type: ignore[misc]
                    os.kill(pid, signal.SIGKILL)

    def _answers(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token.read_text()}", "Accept": "application/json"}
        try:
            return requests.get(
                f"https://{self.endpoint}/arex/rest/1.0/jobs",
                headers=headers,
                verify=str(self.base / "ca/ca.pem"),
                timeout=5,
            ).ok
        except requests.RequestException:
            return False

    def _prepare(self) -> None:
        # Slurm looks for an address that is not loopback's own.
        subprocess.run(["ip", "addr", "add", "10.255.255.254/32", "dev", "lo"], check=True, timeout=10)
        self.base.mkdir()
        self.base.chmod(0o755)
        for name, mode in (("control", 0o755), ("session", 0o1777), ("tmp", 0o1777), ("log", 0o755)):
            (self.base / name).mkdir()
            (self.base / name).chmod(mode)
        authority = Authority(self.base / "ca")
        certificate, _ = authority.certify("host", "localhost")
        pilot, subject = authority.certify("user", "Pilot Submitter")
        issuer = self._stack.enter_context(TokenIssuer(certificate, certificate.with_suffix(".key")))
        authority.proxy(pilot, subject, self.proxy, owner=self._user)
        self.token.touch(mode=0o600)
        self.token.write_text(issuer.token("pilot", _SCOPE))
        shutil.chown(self.token, self._user, self._user)
        self._configure(
            key=certificate.with_suffix(".key"), certificate=certificate, subject=subject, issuer=issuer.url
        )

    def _configure(self, **values: object) -> None:
        """Write its configuration, a copy of its start scripts, and what it would compute for minutes."""
        values |= {"base": self.base, "trust": self._trust, "user": self._user, "port": self._port}
        (self.base / "arc.conf").write_text(_CONF.format(**values))
        for name in _SERVICES.values():
            text = Path("/usr/share/arc", name).read_text()
            (self.base / name).write_text(text.replace("</arex:gmconfig>", f"</arex:gmconfig>{_PERIOD}"))
            (self.base / name).chmod(0o755)
        parameters = self.base / "control/dhparam.pem"
        parameters.touch(mode=0o600)
        command = ["openssl", "dhparam", "-dsaparam", "-out", str(parameters), "2048"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=60)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C",
            "ARC_CONFIG": str(self.base / "arc.conf"),
            "TMPDIR": str(self.base / "tmp"),  # with the lock of what looks after the jobs
            **self.slurm.environment,
        }

    def _pid(self, name: str) -> int:
        return pid_in(self.base / f"{name}.pid")

    def _left_behind(self, words: Sequence[bytes], _: Path) -> bool:
        return f"ARC_CONFIG={self.base}/arc.conf".encode() in words
