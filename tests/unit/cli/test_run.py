from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from autopyfactory.cli import main
from autopyfactory.cli import run as run_module
from autopyfactory.errors import StartError
from autopyfactory.launch import Request


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    requests: list[Request] = []

    def launch(request: Request, **_collaborators: Any) -> int:
        requests.append(request)
        return 0

    monkeypatch.setattr(run_module, "launch", launch)
    return requests


def fails_with(error: Exception) -> Callable[..., int]:
    def launch(*_words: Any, **_collaborators: Any) -> int:
        raise error

    return launch


def test_in_the_foreground_by_default(asked: list[Request]) -> None:
    assert CliRunner().invoke(main, ["run", "--conf", "/etc/x.conf"]).exit_code == 0
    assert asked == [Request(Path("/etc/x.conf"))]


def test_every_option(asked: list[Request]) -> None:
    words = "--conf x.conf --once --dry-run --paused --daemon --pidfile a.pid --runas ada --log a.log --debug"
    assert CliRunner().invoke(main, ["run", *words.split()]).exit_code == 0
    here = Path.cwd()
    assert asked == [Request(here / "x.conf", 1, True, True, True, here / "a.pid", "ada", here / "a.log", True)]


def test_cycles(asked: list[Request]) -> None:
    assert CliRunner().invoke(main, ["run", "--cycles", "3"]).exit_code == 0
    assert asked[0].cycles == 3


@pytest.mark.parametrize("words", ["--once --cycles 3", "--cycles 0", "--cycles x", "--nonsense"])
def test_a_wrong_command_line(words: str, asked: list[Request]) -> None:
    assert CliRunner().invoke(main, ["run", *words.split()]).exit_code == 2
    assert asked == []


@pytest.mark.parametrize("code", [1, 2])
def test_a_start_that_fails_says_why_without_secrets(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "launch", fails_with(StartError("no way, MY_TOKEN=hunter2", code)))
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == code
    assert result.output == "autopyfactory: no way, MY_TOKEN=***\n"
