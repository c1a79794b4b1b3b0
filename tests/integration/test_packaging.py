"""What packagers take: the RPM builds from the sources, and systemd can read the unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("packaging")

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["autopyfactory", "etc", "init.d", "sysconfig", "systemd", "wrappers"]
FILES = ["setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "autopyfactory.spec"]
INSIDE = [
    "/etc/apf/autopyfactory.conf",
    "/etc/apf/queues.conf",
    "/etc/init.d/autopyfactory",
    "/etc/sysconfig/autopyfactory",
    "/usr/bin/apf",
    "/usr/bin/autopyfactory",
    "/usr/lib/systemd/system/autopyfactory.service",
    "/usr/lib/python3.11/site-packages/autopyfactory/daemon.py",
    "/usr/lib/python3.11/site-packages/autopyfactory/wrappers/autopyfactory-bootstrap.sh",
    "/var/lib/apf/pilots",
    "/var/log/apf",
]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_rpm_builds(workdir: Path, testbed: Path) -> None:
    tree = workdir / "autopyfactory-3.0.0"
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    (workdir / "SOURCES").mkdir()
    run("tar", "-czf", workdir / "SOURCES" / "autopyfactory-3.0.0.tar.gz", tree.name, cwd=workdir)
    python = f"build_python {testbed / 'venv' / 'bin' / 'python'}"
    defines = ["--define", f"_topdir {workdir}", "--define", python]
    run("rpmbuild", "--nodeps", *defines, "-bb", tree / "autopyfactory.spec")
    [package] = (workdir / "RPMS" / "noarch").glob("*.rpm")
    listed = run("rpm", "-qpl", package).splitlines()
    assert [name for name in INSIDE if name not in listed] == []
    kept = run("rpm", "-qpc", package).splitlines()
    assert {"/etc/apf/autopyfactory.conf", "/etc/apf/queues.conf", "/etc/sysconfig/autopyfactory"} <= set(kept)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this host has no systemd tools")
def test_systemd_reads_the_unit(workdir: Path) -> None:
    text = (ROOT / "systemd" / "autopyfactory.service").read_text()
    unit = workdir / "autopyfactory.service"
    unit.write_text(text.replace("/usr/bin/autopyfactory", "/bin/true").replace("User=autopyfactory", "User=daemon"))
    assert run("systemd-analyze", "verify", unit) == ""
