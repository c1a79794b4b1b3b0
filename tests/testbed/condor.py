"""A real HTCondor pool of one host, run from an installed prefix (`scripts/install-htcondor`) for one test."""

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.testbed.patience import patience
from tests.testbed.ports import free_port
from tests.testbed.system import System, kill_all

_MARK = "APF_TESTBED_POOL"
_MB_PER_CPU = 256
# The scripts of the batch gahp call perl and others: that must be the host's, for the prefix has some that run nowhere.
_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

_CONFIG = """
RELEASE_DIR = {prefix}/usr
BIN = {prefix}/usr/bin
SBIN = {prefix}/usr/sbin
LIB = {prefix}/usr/lib
LIBEXEC = {prefix}/usr/libexec/condor
SHARE = {prefix}/usr/share/condor
LOCAL_DIR = {base}/local
RUN = {base}/local/run
LOG = {base}/local/log
LOCK = {base}/local/lock
# A socket's whole path may have 107 characters.
DAEMON_SOCKET_DIR = {base}/s
SPOOL = {base}/local/spool
EXECUTE = {base}/local/execute
CRED_STORE_DIR = {base}/local/cred
ETC = {base}/local/etc
use ROLE: CentralManager
use ROLE: Submit
use ROLE: Execute
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{port}
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = {domain}
SCHEDD_NAME = test
UID_DOMAIN = {domain}
FILESYSTEM_DOMAIN = {domain}
TRUST_DOMAIN = {domain}
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_READ_AUTHENTICATION = OPTIONAL
SEC_CLIENT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS
SEC_TOKEN_DIRECTORY = {base}/tokens.d
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = {user}@{domain}
ALLOW_NEGOTIATOR = {user}@{domain}
ALLOW_ADMINISTRATOR = {user}@{domain}
NUM_CPUS = {cpus}
MEMORY = {memory}
SLOT_TYPE_1 = cpus={slot_cpus},mem={slot_memory},disk=auto
NUM_SLOTS_TYPE_1 = {slots}
START = True
RUNBENCHMARKS = False
BASE_CGROUP =
CGROUP_MEMORY_LIMIT_POLICY = none
MOUNT_UNDER_SCRATCH =
NEGOTIATOR_INTERVAL = 1
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
JOB_START_COUNT = 50
PERIODIC_EXPR_INTERVAL = 5
UPDATE_INTERVAL = 5
MASTER_BACKOFF_CONSTANT = {backoff}
CONDOR_FSYNC = False
ENABLE_USERLOG_FSYNC = False
{extra}
"""


GRID = """
GRIDMANAGER_JOB_PROBE_INTERVAL = 2
CONDOR_JOB_POLL_INTERVAL = 2
C_GAHP_CONTACT_SCHEDD_DELAY = 1
GRIDMANAGER_CONTACT_SCHEDD_DELAY = 1
C_GAHP_LOG = $(LOG)/gahp/CGAHPLog.$(USERNAME)
C_GAHP_LOCK = $(LOG)/gahp/CGAHPLock.$(USERNAME)
C_GAHP_WORKER_THREAD_LOG = $(LOG)/gahp/CGAHPWorkerLog.$(USERNAME)
C_GAHP_WORKER_THREAD_LOCK = $(LOG)/gahp/CGAHPWorkerLock.$(USERNAME)
"""
"""What a pool needs as `extra` to hand jobs on to CEs quickly."""


TOKENS_ONLY = "SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS"
"""What a pool needs as `extra` to be a CE of another one."""


class CondorPool(System):
    """Start a pool below `base` on entering, and end every process of it on leaving.

    The daemons and jobs run as `user`; when that is another account than ours we must be root, and `base`
    must be passable for it. A schedd or collector that is killed comes back after `backoff` seconds.
    `environment` is added to that of the daemons, and so of the gahps that they start.
    """

    def __init__(
        self,
        base: Path,
        user: str,
        prefix: Path,
        *,
        slots: int = 50,
        slot_cpus: int = 1,
        backoff: int = 3,
        extra: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.base = base
        self.user = user
        self.prefix = prefix
        self.slots = slots
        self._slot_cpus = slot_cpus
        self.config = base / "condor_config"
        self._backoff = backoff
        self._extra = extra
        self._more = environment or {}
        self._account = pwd.getpwnam(user)
        self._master: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.collector = f"127.0.0.1:{self.port}"
        self._domain = f"p{self.port}.test"
        self.schedd = f"test@127-0-0-1.{self._domain}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment with which a client (the factory, condor_q) uses this pool."""
        return {
            "CONDOR_CONFIG": str(self.config),
            "HOME": self._account.pw_dir,
            "USER": self.user,
            "LOGNAME": self.user,
            "LANG": "C.UTF-8",
            "PATH": f"{self.prefix}/usr/bin:{self.prefix}/usr/sbin:/usr/bin:/bin",
        }

    def as_user(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` as the pool's user."""
        if self._account.pw_uid == os.getuid():
            return list(argv)
        ids = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}"]
        return ["setpriv", *ids, "--init-groups", "--", *argv]

    def run(self, argv: Sequence[str], *, timeout: float = 30, check: bool = True) -> str:
        """Run a command against this pool as its user and return its standard output."""
        done = subprocess.run(
            self.as_user(argv),
            env=self.environment,
            cwd=self.base,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def begin(self) -> None:
        """Write its files and start it."""
        self._prepare()
        self.start()

    def _prepare(self) -> None:
        for folder in (self.base, self.base / "local", self.base / "local/log", self.base / "local/log/gahp"):
            folder.mkdir(parents=True, exist_ok=True)
            self._give(folder)
        self.config.write_text(
            _CONFIG.format(
                prefix=self.prefix,
                base=self.base,
                port=self.port,
                domain=self._domain,
                user=self.user,
                slots=self.slots,
                cpus=self._slot_cpus * self.slots,
                memory=_MB_PER_CPU * self._slot_cpus * self.slots,
                slot_cpus=self._slot_cpus,
                slot_memory=_MB_PER_CPU * self._slot_cpus,
                backoff=self._backoff,
                extra=self._extra,
            )
        )
        self.config.chmod(0o644)
        self._make_token()

    def _make_token(self) -> None:
        """Make a token for the user: recent bindings and an older schedd do not agree on FS authentication."""
        keys, tokens = self.base / "local/etc/passwords.d", self.base / "tokens.d"
        for folder in (keys.parent, keys, tokens):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._give(folder)
        self._secret(keys / "POOL", os.urandom(64))
        identity = f"{self.user}@{self._domain}"
        self._secret(tokens / "user", self.run(["condor_token_create", "-identity", identity]).encode())

    def _secret(self, path: Path, content: bytes) -> None:
        path.touch(mode=0o600)
        path.write_bytes(content)
        self._give(path)

    def _give(self, path: Path) -> None:
        if os.getuid() == 0:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def start(self) -> None:
        """Start the daemons and wait until the schedd and all slots are there."""
        with (self.base / "master.out").open("ab") as out:
            self._master = subprocess.Popen(
                self.as_user([f"{self.prefix}/usr/sbin/condor_master", "-f"]),
                env={**self.environment, **_PATH, **self._blahp(), **self._more, _MARK: str(self.base)},
                cwd=self.base,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_ready()

    def _blahp(self) -> dict[str, str]:
        """Return where the batch gahp finds its scripts: the paths of its own configuration are those of a package."""
        text = (self.prefix / "etc/blah.config").read_text()
        for folder in ("/usr/libexec", "/etc/blahp"):
            text = text.replace(folder, f"{self.prefix}{folder}")
        text += "lsf_nologaccess=yes\n"  # or its scripts look for each job in the logs of LSF's own server
        (self.base / "blah.config").write_text(text)
        return {"BLAHPD_LOCATION": f"{self.prefix}/usr", "BLAHPD_CONFIG_LOCATION": str(self.base / "blah.config")}

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the collector knows the schedd and every slot."""
        end = time.monotonic() + patience(timeout)
        while time.monotonic() < end:
            if self._count("-schedd") == 1 and self._count() >= self.slots:
                return
            if self._master is None or self._master.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"the pool in {self.base} is not ready: {self._last_words()}")

    def _count(self, *options: str) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return len(self.run(["condor_status", *options, "-af", "Name"], timeout=10, check=False).split())
        return 0

    def _last_words(self) -> str:
        words = (self.base / "master.out").read_text(errors="replace")[-500:]
        for log in ("MasterLog", "SchedLog"):
            with contextlib.suppress(OSError):
                words += (self.base / "local/log" / log).read_text(errors="replace")[-1000:]
        return words

    def stop(self) -> None:
        """End the pool: a quick shutdown by the master, then whatever is left by force, the master first."""
        master, self._master = self._master, None
        if master is None:
            return
        for daemon in ("master", "schedd", "collector"):
            self.cont(daemon)
        known = set(self._processes())
        if master.poll() is None:
            master.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.wait(10)
        if master.poll() is None:
            master.kill()
            master.wait(10)
        # A second look finds what was started while we ended the rest.
        for _ in range(20):
            left = {pid for pid in known | set(self._processes()) if self._is_ours(pid)}
            if not left:
                return
            kill_all(left)
            time.sleep(0.1)

    def restart(self) -> None:
        """Stop the pool and start it again on the same files and port."""
        self.stop()
        self.start()

    def kill(self, daemon: str) -> None:
        """Kill a daemon (`schedd`, `collector`, ...) with SIGKILL; the master starts it again."""
        self._signal(daemon, signal.SIGKILL)

    def halt(self, daemon: str) -> None:
        """Make a daemon hang by SIGSTOP: its connections open and nothing answers."""
        self._signal(daemon, signal.SIGSTOP)

    def cont(self, daemon: str) -> None:
        """Let a halted daemon go on."""
        self._signal(daemon, signal.SIGCONT)

    def kill_schedd(self) -> None:
        """Kill the schedd; the master starts it again."""
        self.kill("schedd")

    def stop_schedd(self) -> None:
        """Make the schedd hang."""
        self.halt("schedd")

    def cont_schedd(self) -> None:
        """Let a hanging schedd go on."""
        self.cont("schedd")

    def _signal(self, daemon: str, number: signal.Signals) -> None:
        kill_all((pid for pid in self._processes() if _name(pid) == f"condor_{daemon}"[:15]), number)

    def _processes(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_ours(int(entry.name)):
                yield int(entry.name)

    def _is_ours(self, pid: int) -> bool:
        """Tell by its environment whether a process is a daemon or a job of this pool.

        Daemons inherit our mark; jobs get a scratch directory below the pool's. Zombies have neither.
        """
        try:
            words = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        scratch = f"_CONDOR_SCRATCH_DIR={self.base}/local/execute/".encode()
        mark = f"{_MARK}={self.base}".encode()
        return any(word == mark or word.startswith(scratch) for word in words)


def _name(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""
