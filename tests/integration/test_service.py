"""The init script, called as `service` calls it, with the daemon as an ordinary user on a real HTCondor pool."""

import os
import pwd
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.testbed.condor import CondorPool

pytestmark = pytest.mark.xdist_group("service")

ROOT = Path(__file__).resolve().parents[2]

CONF = """
[factory]
id = {name}
log_dir = {base}/log
state_dir = {base}/state
run_dir = {base}/run
pilot_log_dir = {base}/pilots
[schedd test]
config = {condor_config}
interval = 1s
"""
QUEUES = """
[SERVED]
backend = condor
type = vanilla
source = test
executable = {base}/pilot.sh
rules = fixed
fixed = 2
max_pilots = {max_pilots}
interval = 1s
"""
SYSCONFIG = """
COMMAND={venv}/bin/autopyfactory
CONFFILE={base}/apf.conf
LOGFILE={base}/log/daemon.log
RUNAS={user}
GRIDSETUP={base}/setup.sh
"""


class Service:
    """The init script under a name of its own, with its settings where it looks for them."""

    def __init__(self, base: Path, testbed: Path, user: str, pool: CondorPool) -> None:
        self.base = base
        self.name = f"apf-test-{uuid.uuid4().hex[:8]}"
        self.log = base / "log" / "daemon.log"
        self.pidfile = Path("/var/run/autopyfactory") / f"{self.name}.pid"
        self.condor_config = pool.environment["CONDOR_CONFIG"]
        self.installed = (Path("/etc/init.d") / self.name, Path("/etc/default") / self.name)
        shutil.copy(ROOT / "init.d" / "autopyfactory", self.installed[0])
        self.installed[1].write_text(SYSCONFIG.format(venv=testbed / "venv", base=base, user=user))
        (base / "setup.sh").write_text("export APF_TEST_GRID=here\n")
        (base / "pilot.sh").write_text("#!/bin/sh\necho a pilot ran\nsleep 1\n")
        (base / "pilot.sh").chmod(0o755)
        self.configure()

    def configure(self, main: str = CONF, *, max_pilots: int = 5, more: str = "") -> None:
        names = {"name": self.name, "base": self.base, "condor_config": self.condor_config}
        (self.base / "apf.conf").write_text(main.format(**names))
        (self.base / "queues.conf").write_text(QUEUES.format(base=self.base, max_pilots=max_pilots) + more)

    def __call__(self, action: str) -> tuple[int, str]:
        """Return exit code and all that the terminal shows."""
        done = subprocess.run(
            ["service", self.name, action],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        return done.returncode, done.stdout

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text().split()[0])

    def logged(self, words: str, *, since: int = 0, timeout: float = 40.0) -> None:
        until(lambda: words in self.log.read_text()[since:], timeout, lambda: self.log.read_text()[-3000:])

    def remove(self) -> None:
        try:
            self("stop")
        finally:
            for path in self.installed:
                path.unlink()


def until(check: Callable[[], object], timeout: float, otherwise: Callable[[], object]) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def pool(testbed: Path, user: str) -> Iterator[CondorPool]:
    base = testbed / "work" / f"service-pool-{uuid.uuid4().hex[:8]}"
    base.mkdir(parents=True)
    shutil.chown(base, user)
    with CondorPool(base / "pool", user, testbed / "htcondor") as running:
        yield running
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def service(workdir: Path, testbed: Path, user: str, pool: CondorPool) -> Iterator[Service]:
    made = Service(workdir, testbed, user, pool)
    yield made
    made.remove()


def test_start_status_reload_stop(service: Service, user: str) -> None:
    assert service("status")[0] == 3
    code, said = service("start")
    assert code == 0, said
    assert service("status") == (0, f"{service.name} runs (process {service.pid})\n")
    assert service("start")[0] == 0
    pid = service.pid
    assert Path(f"/proc/{pid}").stat().st_uid == pwd.getpwnam(user).pw_uid
    status = Path(f"/proc/{pid}/status").read_text()
    groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    assert "0" not in groups
    assert b"APF_TEST_GRID=here" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    pilots = service.base / "pilots"
    until(lambda: sum("a pilot ran" in out.read_text() for out in pilots.rglob("*.out")) > 2, 90, service.log.read_text)

    since = service.log.stat().st_size
    service.configure(max_pilots=7)
    code, said = service("reload")
    assert (code, said.rstrip(".\n")) == (0, f"{service.name} reloaded")
    service.logged(" reloaded ", since=since)
    service.logged("SERVED", since=since)
    service.configure(max_pilots=7, more="[TYPO]\nbackend = kondor\nrules = fixed\nfixed = 1\n")
    code, said = service("reload")
    assert code == 6
    assert f"refused: {service.base}/queues.conf:12: [TYPO] backend: " in said.splitlines()[-1], said
    service.configure(max_pilots=7)
    assert service("reload")[0] == 0
    os.kill(pid, signal.SIGSTOP)
    code, said = service("reload")
    os.kill(pid, signal.SIGCONT)
    assert code == 1
    assert f"{service.name} was told to reload and has not answered, see {service.log}" in said
    service.configure(CONF + "\n[schedd test]\n")
    code, said = service("reload")
    assert code == 6
    assert f"{service.base}/apf.conf:" in said
    code, said = service("restart")
    assert (code, service.pid) == (6, pid), said
    service.configure()
    (service.base / "apf.conf").chmod(0o600)
    code, said = service("restart")
    assert (code, service.pid) == (6, pid), said
    assert "apf.conf' is not readable" in said
    (service.base / "apf.conf").chmod(0o644)

    code, said = service("restart")
    assert code == 0, said
    assert service.pid != pid
    began = time.monotonic()
    assert service("stop")[0] == 0
    assert time.monotonic() - began < 4
    assert service("status")[0] == 3
    assert service("stop")[0] == 0
    assert service("reload")[0] == 7
    assert service("condrestart")[0] == 0
    assert service("status")[0] == 3
    assert service("explode")[0] == 2


def test_a_broken_main_configuration_fails_the_start_with_its_reason(service: Service) -> None:
    service.configure(CONF.replace("id = {name}", "identity = {name}"))
    code, said = service("start")
    assert code == 1
    assert "apf.conf:3: [factory] identity: " in said
    assert service("status")[0] == 3
    assert not service.log.exists()


def test_a_log_that_cannot_be_written_fails_the_start_with_its_reason(service: Service) -> None:
    with service.installed[1].open("a") as settings:
        settings.write("LOGFILE=/root/no/such.log\n")
    code, said = service("start")
    assert code == 1
    assert "cannot write the log /root/no/such.log as 'apftest'" in said
    assert service("status")[0] == 3


def test_after_a_kill_it_starts_again_at_once(service: Service) -> None:
    assert service("start")[0] == 0
    old = service.pid
    os.kill(old, signal.SIGKILL)
    until(lambda: service("status")[0] == 1, 5, lambda: service("status"))
    code, said = service("start")
    assert code == 0, said
    assert service.pid != old
    assert service("status")[0] == 0
    assert service("stop")[0] == 0


def test_a_pid_file_with_the_number_of_another_process_harms_nobody(service: Service) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        service.pidfile.parent.mkdir(exist_ok=True)
        service.pidfile.write_text(f"{other.pid}\n")
        assert service("status")[0] == 1
        assert service("stop")[0] == 0
        assert other.poll() is None
        other.kill()
