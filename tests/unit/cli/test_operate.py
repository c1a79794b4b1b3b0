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
        (["drain", "--for", "4h"], "say why"),
        (["resume", "--why", "x"], "name queues or give --all"),
        (["resume", "BNL_PROD", "--for", "4h"], "'autopyfactory pause QUEUE --for 4h'"),
        (["resume", "BNL_PROD", "--all"], "not both"),
        (["pause", "BNL_PROD", "--why", "x", "--for", "0m"], "over at once"),
    ],
)
def test_a_wrong_command_line_changes_nothing(conf: Path, words: list[str], said: str) -> None:
    result = say(conf, *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert list((conf.parent / "state").iterdir()) == []


def test_what_is_in_force_is_shown(conf: Path) -> None:
    for command in ("pause", "resume", "drain"):
        assert (say(conf, command).output, say(conf, command).exit_code) == ("no queue is paused\n", 0)
    say(conf, "pause", "--all", "--why", "power cut", "--for", "4h")
    say(conf, "drain", "OFF", "--why", "moving")
    say(conf, "resume", "BNL_TEST", "--why", "has its own power")
    for command in ("pause", "resume", "drain"):
        result = say(conf, command)
        first, second, third = result.output.splitlines()
        assert result.exit_code == 0
        assert first.startswith("all queues paused until 2")
        assert first.endswith(": power cut")
        assert second.startswith("BNL_TEST resumed until 2")
        assert second.endswith(": has its own power")
        assert third.startswith("OFF draining by ada since 2")


def test_a_resume_tells_why(conf: Path) -> None:
    operator = Operator(conf.parent / "state")
    say(conf, "pause", "BNL_PROD", "--why", "full")
    assert say(conf, "resume", "BNL_PROD", "--why", "disk\nadded").output == "BNL_PROD runs: disk added\n"
    assert operator.state("BNL_PROD", 0.0) is None
    [state] = operator.states(0.0).values()
    assert (state.action, state.who, state.why) == ("run", "ada", "disk added")
    say(conf, "pause", "--all", "--why", "full again")
    assert operator.state("BNL_PROD", 0.0) is not None
    say(conf, "resume", "--all", "--why", "over")
    assert operator.state("BNL_PROD", 0.0) is None
    assert say(conf, "resume").output.endswith(": over\nno queue is paused\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("queues.conf", QUEUES + "[BNL_PROD]\n[SICK]\nbackend = no such\n"),
        ("apf.conf", CONF + "nonsense = 1\n[wms x]\nplugin = no such\n[factory]\n"),
    ],
)
def test_a_broken_configuration_stops_no_pause(conf: Path, name: str, text: str) -> None:
    (conf.parent / name).write_text(text.format(state=conf.parent / "state"))
    assert say(conf, "pause", "BNL_PROD", "--why", "x").exit_code == 0
    assert say(conf, "drain", "BNL_PORD", "--why", "x").exit_code == 2
    assert set(Operator(conf.parent / "state").states(0.0)) == {"BNL_PROD"}


def test_the_state_dir_may_be_put_together(conf: Path) -> None:
    conf.write_text(f"[factory]\nbase = {conf.parent}\nstate_dir = %(base)s/state\n")
    assert say(conf, "pause", "BNL_PROD", "--why", "x").exit_code == 0
    assert set(Operator(conf.parent / "state").states(0.0)) == {"BNL_PROD"}


def test_unreadable_queue_files_stop_no_pause(conf: Path) -> None:
    (conf.parent / "queues.conf").unlink()
    result = say(conf, "pause", "BNL_PROD", "--why", "x")
    assert result.exit_code == 0
    assert "names are taken as they are" in result.output
    assert set(Operator(conf.parent / "state").states(0.0)) == {"BNL_PROD"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[factory]\nstate_dir = here\n", "apf.conf:2: [factory] state_dir: 'here' is no absolute path"),
        ("[factory]\nstate_dir /here\n", "apf.conf:2: [factory]"),
        ("[factory]\nstate_dir = %(base)s/here\n", "apf.conf:2: [factory] state_dir: %(base)s names an option"),
        ("[factory]\nstate_dir = /a\nstate_dir = /b\n", "apf.conf:3: [factory] state_dir: stands twice"),
        ("[wms x]\n", "apf.conf: has no [factory] section"),
    ],
)
def test_without_a_state_dir_nothing_can_be_written(conf: Path, text: str, said: str) -> None:
    conf.write_text(text)
    result = say(conf, "pause", "--all", "--why", "x")
    assert result.exit_code == 2
    assert said in result.output


def test_it_cannot_be_written_down(conf: Path) -> None:
    (conf.parent / "state" / "operator.json").write_text("{")
    for words in (["pause", "BNL_PROD", "--why", "x"], ["resume", "BNL_PROD"]):
        result = say(conf, *words)
        assert result.exit_code == 1
        assert "is damaged" in result.output
    assert say(conf, "resume", "--all").exit_code == 0
