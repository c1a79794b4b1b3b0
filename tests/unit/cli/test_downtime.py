import time
from pathlib import Path

import pytest

from autopyfactory.downtimes import Downtimes
from tests.unit.cli.test_operate import conf, operator_is_ada, say

__all__ = ["conf", "operator_is_ada"]


def test_announce_show_and_take_back(conf: Path) -> None:
    result = say(conf, "downtime", "BNL_PROD", "--from", "2099-11-23 08:00", "--to", "+10h", "--why", "cooling\n water")
    line = "BNL_PROD down from 2099-11-23 08:00 to 2099-11-23 18:00 UTC, by ada: cooling water\n"
    assert (result.exit_code, result.output) == (0, line)
    say(conf, "downtime", "--all", "--to", "2099-01-01T01:00+01:00", "--why", "move")
    shown = say(conf, "downtime").output
    assert line in shown
    assert "all queues down from " in shown
    assert "to 2099-01-01 00:00 UTC" in shown
    assert say(conf, "downtime", "BNL_PROD", "--cancel").output == "BNL_PROD: 1 taken back\n"
    assert say(conf, "downtime", "BNL_PROD", "--cancel").output == "BNL_PROD: nothing was announced\n"
    assert say(conf, "downtime", "--all", "--cancel").output == "all queues: 1 taken back\n"
    assert say(conf, "downtime").output == "no downtime is announced\n"


def test_from_now_on(conf: Path) -> None:
    say(conf, "downtime", "BNL_PROD", "--to", "+1h", "--why", "x")
    downtime = Downtimes(conf.parent / "state").of("BNL_PROD")[0]
    assert abs(downtime.start - time.time()) < 60
    assert downtime.end == downtime.start + 3600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("BNL_PROD", "--why", "x"), "say when it is over"),
        (("BNL_PROD", "--to", "+1h"), "say why"),
        (("BNL_PROD", "--to", "soon", "--why", "x"), "'soon' is no time, write for example"),
        (("BNL_PROD", "--to", "2099-13-01", "--why", "x"), "'2099-13-01' is no time"),
        (("BNL_PROD", "--to", "2000-01-01", "--why", "x"), "is over, or not after its beginning"),
        (("BNL_PROD", "--from", "2099-01-02", "--to", "2099-01-01", "--why", "x"), "not after its beginning"),
        (("BNL_PROD", "--cancel", "--why", "x"), "no other option"),
        (("BNL_PRD", "--to", "+1h", "--why", "x"), "did you mean 'BNL_PROD'?"),
        (("--to", "+1h"), "name queues or give --all"),
    ],
)
def test_a_wrong_command_line(conf: Path, words: tuple[str, ...], said: str) -> None:
    result = say(conf, "downtime", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
