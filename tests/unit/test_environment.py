import os
import time
from pathlib import Path

import pytest

from autopyfactory.environment import source
from autopyfactory.errors import StartError


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APF_T_GONE", "APF_T_NEW", "APF_T_PATH"):
        monkeypatch.setenv(name, "before")
    monkeypatch.delenv("APF_T_NEW")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid set-up.sh"
    path.write_text(text)
    return path


def test_variables_are_taken_over(tmp_path: Path) -> None:
    pwd = os.environ.get("PWD")
    script = write(
        tmp_path, "echo welcome\ncd /\nexport APF_T_NEW='a\nb' APF_T_PATH=$APF_T_PATH:x\nunset APF_T_GONE\nLOCAL=1\n"
    )
    assert source(script) == ["APF_T_GONE", "APF_T_NEW", "APF_T_PATH"]
    assert os.environ["APF_T_NEW"] == "a\nb"
    assert os.environ["APF_T_PATH"] == "before:x"
    assert "APF_T_GONE" not in os.environ
    assert os.environ.get("PWD") == pwd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo oh no >&2\nfalse\n", "failed with code 1: oh no"),
        ("exit 0\n", "ended the shell"),
        ("exit 3\n", "failed with code 3"),
        ("if\n", "failed with code 2"),
    ],
)
def test_it_fails(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        source(write(tmp_path, text))


def test_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot read environment_script"):
        source(tmp_path / "no.sh")


def test_it_never_ends(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(StartError, match="did not end within"):
        source(write(tmp_path, "sleep 60 & sleep 60\n"), deadline=0.2)
    assert time.monotonic() - began < 5
