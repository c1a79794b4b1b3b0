from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autopyfactory.cli import main
from autopyfactory.operate import Operator

CONF = """
[factory]
id = F1
state_dir = {state}
"""
QUEUES = """
[DEFAULT]
backend = fork
rules = fixed
fixed = 1
executable = /bin/true
allow_same_user = yes
[BNL_PROD]
[BNL_TEST]
[OFF]
enabled = no
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "queues.conf").write_text(QUEUES)
    path = tmp_path / "apf.conf"
    path.write_text(CONF.format(state=tmp_path / "state"))
    return path


@pytest.fixture(autouse=True)
def operator_is_ada(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")


def say(conf: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], "--conf", str(conf), *words[1:]])


def test_pause_for_a_while(conf: Path) -> None:
    result = say(conf, "pause", "BNL_PROD", "--for", "4h", "--why", "too\n hot")
    assert result.exit_code == 0
    assert result.output.startswith("BNL_PROD paused until ")
    assert result.output.endswith(": too hot\n")
    assert result.output.count("\n") == 1
    [(name, state)] = Operator(conf.parent / "state").states(0.0).items()
    assert (name, state.action, state.who, state.why) == ("BNL_PROD", "pause", "ada", "too hot")
    assert state.until == state.when + 4 * 3600


def test_drain_and_resume(conf: Path) -> None:
    operator = Operator(conf.parent / "state")
    assert "draining by ada" in say(conf, "drain", "BNL_PROD", "OFF", "--why", "moving").output
    assert set(operator.states(0.0)) == {"BNL_PROD", "OFF"}
    assert say(conf, "resume", "BNL_PROD").output == "BNL_PROD runs\n"
    assert set(operator.states(0.0)) == {"OFF"}
    assert say(conf, "pause", "--all", "--why", "x").output.startswith("all queues paused by ada")
    assert say(conf, "resume", "--all").output == "all queues run\n"
    assert operator.states(0.0) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause", "BNL_PORD", "--why", "x"], "did you mean 'BNL_PROD'?"),
        (["pause", "nothing like it", "--why", "x"], "there is no queue"),
        (["pause", "BNL_PROD"], "--why"),
        (["pause", "BNL_PROD", "--why", " "], "say why"),
        (["drain", "BNL_PROD", "--why", "x", "--for", "4"], "is no duration"),
        (["pause", "--why", "x"], "name queues or give --all"),
        (["resume", "BNL_PROD", "--all"], "name queues or give --all"),
    ],
)
def test_a_wrong_command_line_changes_nothing(conf: Path, words: list[str], said: str) -> None:
    result = say(conf, *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert list((conf.parent / "state").iterdir()) == []


def test_it_cannot_be_written_down(conf: Path) -> None:
    (conf.parent / "state" / "operator.json").write_text("{")
    for words in (["pause", "BNL_PROD", "--why", "x"], ["resume", "BNL_PROD"]):
        result = say(conf, *words)
        assert result.exit_code == 1
        assert "is damaged" in result.output
    assert say(conf, "resume", "--all").exit_code == 0
