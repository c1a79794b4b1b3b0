"""What integration tests stand on: the prepared test bed, an ordinary user, a folder of his; and who took long."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.testbed.daemon import Daemon
from tests.testbed.law import Breach

USER = "apftest"
PILOT_USER = "apfpilot"
LONGEST_GROUP_MINUTES = 5.0
_FAILED = pytest.StashKey[bool]()
_GROUP = "group"
_BREACH = "breach"
BROKEN_LAW = 10
"""Exit code of a run in which a law was broken, unlike any of pytest's: what failed is not run again."""


@pytest.fixture(scope="session")
def testbed() -> Path:
    """The folder that `scripts/prepare-testbed` filled: `venv`, `htcondor`."""
    path = os.environ.get("APF_TESTBED", "")
    assert path, "run the integration tests by 'make test' or scripts/test-integration"
    assert os.geteuid() == 0, "the integration tests need root"
    return Path(path)


@pytest.fixture(scope="session")
def user() -> str:
    """The ordinary user that daemons and pools run as."""
    pwd.getpwnam(USER)
    return USER


@pytest.fixture(scope="session")
def pilot_user() -> str:
    """Another ordinary user, for pilots of an account that is not the factory's."""
    try:
        pwd.getpwnam(PILOT_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "-d", "/nonexistent", PILOT_USER], check=True)
    return PILOT_USER


@pytest.fixture
def workdir(testbed: Path, user: str, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh folder that the user owns; it stays for a look when the test fails."""
    parent = testbed / "work"
    parent.mkdir(mode=0o755, exist_ok=True)
    # Short: a socket of a step of Slurm lies four folders below, and its whole path may have 107 characters.
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))[:16].strip("-")
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    account = pwd.getpwnam(user)
    os.chown(folder, account.pw_uid, account.pw_gid)
    folder.chmod(0o755)
    yield folder
    if not request.node.stash.get(_FAILED, False):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def daemon(testbed: Path, user: str, workdir: Path) -> Iterator[Callable[..., Daemon]]:
    """Make daemons: `daemon(conf, environment={...})`, their log is `daemon.log` in the workdir or `log`."""
    with ExitStack() as stack:

        def make(conf: Path, *, log: Path | None = None, environment: dict[str, str] | None = None) -> Daemon:
            log = log or workdir / "daemon.log"
            return stack.enter_context(Daemon(testbed, conf, log, user=user, environment=environment))

        yield make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember for the fixtures that a test failed, and name its group for the summary."""
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(Breach):
        report.user_properties.append((_BREACH, report.nodeid))
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    marker = item.get_closest_marker("xdist_group")
    report.user_properties.append((_GROUP, marker.args[0] if marker and marker.args else item.path.name))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End with a code of its own when a law was broken; a worker of xdist has no terminal and tells its reports."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and any(_BREACH in dict(report.user_properties) for report in _reports(reporter)):
        session.exitstatus = BROKEN_LAW


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which laws were broken, and how long each group took: its tests run one after the other."""
    minutes: dict[str, float] = defaultdict(float)
    for report in _reports(terminalreporter):
        properties = dict(report.user_properties)
        minutes[str(properties.get(_GROUP, "?"))] += report.duration / 60
        if _BREACH in properties:
            terminalreporter.write_line(f"a law was broken, see above: {properties[_BREACH]}", red=True)
    terminalreporter.section("minutes by group")
    for group, took in sorted(minutes.items(), key=lambda pair: -pair[1]):
        long = f"  more than {LONGEST_GROUP_MINUTES:.0f}, divide it" if took > LONGEST_GROUP_MINUTES else ""
        terminalreporter.write_line(f"{took:6.1f}  {group}{long}")


def _reports(reporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    return (one for reports in reporter.stats.values() for one in reports if isinstance(one, pytest.TestReport))
