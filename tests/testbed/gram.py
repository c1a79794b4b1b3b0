"""A real GRAM 5 CE for one test: gatekeeper, job managers that fork, and an authority of its own.

    with Network(), GramService(folder, "apftest") as gram:
        gram.run("globusrun", "-a", "-r", gram.endpoint)

The gatekeeper listens on all addresses, so it belongs into a network of its own; whoever talks to it too.
"""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tests.testbed.certificates import Authority
from tests.testbed.patience import patience
from tests.testbed.system import System, kill_all

PORT = 2119
_MARK = "APF_TESTBED_GRAM"
_HOST = "localhost"


class GramService(System):
    """One CE below `base`, which is made; its users are mapped to the account `user`. All times are in seconds."""

    def __init__(self, base: Path, user: str) -> None:
        self.base = base
        self.endpoint = f"{_HOST}:{PORT}/jobmanager-fork"
        self.proxy = base / "proxy"
        self.expired = base / "expired"
        self.stranger = base / "stranger"
        self.ours = base / "ours"
        """A proxy of the mapped subject for the account that runs the test."""
        self._user = user
        self._account = pwd.getpwnam(user)
        self._gatekeeper: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs in its environment, without the proxy."""
        return {"X509_CERT_DIR": str(self.base / "ca/certificates"), "GLOBUS_HOSTNAME": _HOST}

    def begin(self) -> None:
        """Write its files and start it."""
        self._write()
        self.start()

    def end(self) -> None:
        """End the gatekeeper, job managers and jobs."""
        self.stop()
        kill_all(pid for pid, _ in self._processes())
        # Job managers keep what they need for a job below the home of its account.
        shutil.rmtree(Path(self._account.pw_dir, ".globus/job", _HOST), ignore_errors=True)

    def start(self) -> None:
        """Start the gatekeeper, again too."""
        base = self.base
        options = {
            "-p": PORT,
            "-l": base / "gatekeeper.log",
            "-grid_services": base / "services",
            "-gridmap": base / "gridmap",
            "-x509_cert_dir": base / "ca/certificates",
            "-x509_user_cert": base / "ca/localhost.pem",
            "-x509_user_key": base / "ca/localhost.key",
        }
        words = [str(word) for pair in options.items() for word in pair]
        with (base / "gatekeeper.out").open("ab") as output:
            self._gatekeeper = subprocess.Popen(
                ["globus-gatekeeper", "-f", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GLOBUS_HOSTNAME": _HOST, _MARK: str(base)},
            )
        self._wait_ready()

    def stop(self) -> None:
        """End the gatekeeper, at once; job managers and jobs live on."""
        if self._gatekeeper is not None:
            self._gatekeeper.kill()
            self._gatekeeper.wait(10)
            self._gatekeeper = None

    def managers(self, number: int) -> int:
        """Send a signal to the job managers; return how many there are."""
        found = [pid for pid, words in self._processes() if words.startswith("globus-job-manager -conf")]
        kill_all(found, number)
        return len(found)

    def alive(self, queue: str) -> set[str]:
        """Return the cids of a queue's pilots that run, from their environment."""
        found = set()
        for pid, _ in self._processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
                values = dict(word.partition("=")[::2] for word in words)
                if values.get("APF_QUEUE") == queue and _HOST in values.get("APF_ENDPOINT", ""):
                    found.add(values["APFCID"])
        return found

    def run(self, *argv: str, proxy: Path | None = None, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Run a client's command as the user."""
        account = self._account
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            cwd="/",
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": account.pw_dir,
                "USER": self._user,
                "X509_USER_PROXY": str(proxy or self.proxy),
                **self.environment,
            },
        )

    def _write(self) -> None:
        base = self.base
        base.mkdir(exist_ok=True)
        authority = Authority(base / "ca")
        authority.certify("host", _HOST)
        lines = []
        for name in ("Pilot Submitter", "Stranger"):
            certificate, subject = authority.certify("user", name)
            if name == "Stranger":
                authority.proxy(certificate, subject, self.stranger, owner=self._user)
                continue
            lines.append(f'"{subject}" {self._user}\n')
            authority.proxy(certificate, subject, self.proxy, owner=self._user)
            authority.proxy(certificate, subject, self.expired, owner=self._user, days=-1)
            authority.proxy(certificate, subject, self.ours, owner=pwd.getpwuid(os.geteuid()).pw_name)
        (base / "gridmap").write_text("".join(lines))
        for name in ("state", "log", "jobs", "cache", "services"):
            (base / name).mkdir(exist_ok=True)
            (base / name).chmod(0o755 if name == "services" else 0o1777)
        (base / "manager.conf").write_text(
            "-globus-toolkit-version 6.2\n"
            f"-state-file-dir {base}/state\n"
            f"-globus-job-dir {base}/jobs\n"
            f"-cache-location {base}/cache\n"
            f"-log-pattern {base}/log/gram.log\n"
            "-log-levels FATAL|ERROR|WARN|INFO\n"
            f"-x509-cert-dir {base}/ca/certificates\n"
        )
        line = f"globus-job-manager -conf {base}/manager.conf -type fork\n"
        (base / "services/jobmanager-fork").write_text(f"stderr_log,local_cred - /usr/sbin/globus-job-manager {line}")
        (base / "services/jobmanager").symlink_to("jobmanager-fork")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + patience(20)
        while True:
            answer = self.run("globusrun", "-a", "-r", self.endpoint)
            if "successful" in answer.stdout:
                return
            assert time.monotonic() < deadline, f"no gatekeeper: {answer.stdout}{answer.stderr}, see {self.base}"
            time.sleep(0.1)

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Return the job managers and jobs with their command lines: all that carries our folder or our mark."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environ, words = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
                marks = (f"X509_CERT_DIR={self.base}/".encode(), f"{_MARK}={self.base}".encode())
                ours = any(mark in environ for mark in marks) or f"{self.base}/manager.conf".encode() in words
                if ours and int(folder.name) != os.getpid():
                    yield int(folder.name), words.replace(b"\0", b" ").decode(errors="replace")
