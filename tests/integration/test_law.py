"""A law that was broken once is not forgiven: the run ends with a code after which nothing is run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import BROKEN_LAW

pytestmark = pytest.mark.xdist_group("demo")

ROOT = Path(__file__).parents[2]
LATE = "def test_late():\n    assert False, 'not within 5 s'\n"
BROKEN = """
import pytest
from tests.testbed.law import law
@pytest.fixture
def world():
    yield
    law(False, "7 pilots, 6 at most")
def test_broken(world):
    pass
"""


@pytest.mark.parametrize(
    ("text", "workers", "code"), [(LATE, "2", 1), (BROKEN, "0", BROKEN_LAW), (LATE + BROKEN, "2", BROKEN_LAW)]
)
def test_a_broken_law_has_a_code_of_its_own(workdir: Path, text: str, workers: str, code: int) -> None:
    (workdir / "pytest.ini").write_text("[pytest]\n")
    (workdir / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.integration.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-n", workers, "test_it.py"],
        cwd=workdir,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("7 pilots, 6 at most" in done.stdout) == (code == BROKEN_LAW)
