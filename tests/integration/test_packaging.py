"""What packagers take: the RPM builds from the sources and its command works, systemd can read unit and script."""

import os
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


CONF = """
[factory]
id = packaged
state_dir = {base}/state
run_dir = {base}/run
pilot_log_dir = {base}/pilots
[schedd local]
config = /dev/null
"""
QUEUES = """
[Q]
backend = condor
type = vanilla
rules = fixed
fixed = 1
"""
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-sysv-generator")


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def package(workdir: Path, testbed: Path) -> Path:
    """The RPM, built from a copy of the sources."""
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
    [built] = (workdir / "RPMS" / "noarch").glob("*.rpm")
    return built


def test_the_rpm_holds_all_files_and_keeps_what_the_admin_wrote(package: Path) -> None:
    listed = run("rpm", "-qpl", package).splitlines()
    assert [name for name in INSIDE if name not in listed] == []
    kept = run("rpm", "-qpc", package).splitlines()
    assert {"/etc/apf/autopyfactory.conf", "/etc/apf/queues.conf", "/etc/sysconfig/autopyfactory"} <= set(kept)


def test_the_packaged_command_runs_also_with_children_that_import_it(
    package: Path, workdir: Path, testbed: Path, user: str
) -> None:
    run("rpm2archive", package, cwd=workdir)
    root = workdir / "root"
    root.mkdir()
    run("tar", "-xzf", f"{package}.tgz", "-C", root, "./usr")
    packages = root / "usr/lib/python3.11/site-packages"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(packages), "HOME": "/", "USER": user}
    command = [testbed / "venv" / "bin" / "python", root / "usr/bin/autopyfactory"]
    assert run(*command, "--version", env=environment).startswith("autopyfactory, version 3.0.0")
    base = workdir / "factory"
    base.mkdir()
    shutil.chown(base, user)
    (base / "apf.conf").write_text(CONF.format(base=base))
    (base / "queues.conf").write_text(QUEUES)
    words: list[str | Path] = ["run", "--runas", user, "--once", "--dry-run", "--conf", base / "apf.conf"]
    said = run(*command, *words, env=environment)
    # No HTCondor answers; that must be what HTCondor's own bindings say, in a child that lives.
    assert "blocked: " in said
    assert "its child process" not in said
    assert said.count(" starts as factory 'packaged'") == 1, said


@pytest.mark.skipif(not GENERATOR.exists(), reason="this host has no systemd tools")
def test_systemd_knows_the_process_that_the_script_starts(workdir: Path) -> None:
    scripts, units = workdir / "init.d", workdir / "units"
    scripts.mkdir()
    units.mkdir()
    shutil.copy(ROOT / "init.d" / "autopyfactory", scripts)
    environment = {"SYSTEMD_SYSVINIT_PATH": str(scripts), "SYSTEMD_SYSVRCND_PATH": str(workdir)}
    run(GENERATOR, units, units, units, env=dict(os.environ) | environment)
    unit = (units / "autopyfactory.service").read_text().splitlines()
    assert "PIDFile=/run/autopyfactory/autopyfactory.pid" in [line.replace("/var/run/", "/run/") for line in unit]
    assert "RemainAfterExit=no" in unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this host has no systemd tools")
def test_systemd_reads_the_unit(workdir: Path) -> None:
    text = (ROOT / "systemd" / "autopyfactory.service").read_text()
    unit = workdir / "autopyfactory.service"
    unit.write_text(text.replace("/usr/bin/autopyfactory", "/bin/true").replace("User=autopyfactory", "User=daemon"))
    assert run("systemd-analyze", "verify", unit) == ""
