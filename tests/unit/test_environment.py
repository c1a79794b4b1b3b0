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
        ("exit 0\n", "ended the shell with code 0"),
        ("echo oh no >&2\nexit 3\n", "ended the shell with code 3, .*: oh no"),
        ("set -e\nfalse\n", "ended the shell with code 1, look for an 'exit', a 'set -e'"),
        ("if\n", "ended the shell with code 2"),
    ],
)
def test_it_fails(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        source(write(tmp_path, text))


@pytest.mark.parametrize("end", ["[ -f /nowhere ] && . /nowhere", "echo oh no >&2; false", "echo oh no; return 1"])
def test_it_ends_with_another_code(tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str) -> None:
    assert source(write(tmp_path, f"export APF_T_NEW=1\n{end}\n")) == ["APF_T_NEW"]
    said = ": oh no" if "oh no" in end else ""
    assert caplog.messages == [
        f"environment_script {tmp_path}/grid set-up.sh ended with code 1{said}; "
        "where that is no failure, make it end with 'true'"
    ]


def test_it_gives_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    assert source(write(tmp_path, "PATH=/nowhere\n")) == ["PATH"]


def test_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot read environment_script"):
        source(tmp_path / "no.sh")


def test_it_never_ends(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(StartError, match="did not end within"):
        source(write(tmp_path, "sleep 60 & sleep 60\n"), deadline=0.2)
    assert time.monotonic() - began < 5
