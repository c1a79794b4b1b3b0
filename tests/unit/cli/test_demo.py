import io
import json
import signal
import subprocess
import sys

import pytest
from rich.console import Console

from autopyfactory.cli.demo import table
from autopyfactory.model import PilotCounts, Submitted
from autopyfactory.report import Blocked, CycleReport, Decision, Step
from autopyfactory.simulate.demo import Row
from autopyfactory.simulate.jobs import Totals

LONG = Step("ready", 0, 0, "12 activated, 12 waiting, 12 started since the figures were made")
SOME = (Step("ready", 0, 30, "30 activated, 0 waiting"), Step("max_per_cycle", 30, 10, "at most 10"))


def rows() -> list[Row]:
    jobs = Totals(60, 12, 12, 36, 0)
    pilots = PilotCounts(pending=12, running=22)
    idle = CycleReport("DEMO_SCORE", 0.0, pilots=pilots, activated=12, decision=Decision(0, (LONG,)))
    busy = CycleReport(
        "DEMO_MCORE",
        0.0,
        pilots=pilots,
        activated=30,
        decision=Decision(10, SOME),
        submitted=(Submitted("s", tuple(f"b.{k}" for k in range(10))),),
    )
    blocked = CycleReport("DEMO_ANALY", 0.0, blocked=Blocked("demand unknown: wms panda: no answer yet"))
    return [
        Row("DEMO_SCORE", jobs, idle, "1 core"),
        Row("DEMO_MCORE", jobs, busy, "8 cores"),
        Row("DEMO_ANALY", jobs, blocked, "1 core"),
        Row("DEMO_TEST", jobs, None, "in test"),
    ]


def drawn(width: int, shown: list[Row]) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(table(shown, "ends in 9 s, or with Ctrl-C"))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 110, 140])
def test_the_picture_fits_the_terminal_and_says_all(width: int) -> None:
    lines = drawn(width, rows())
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert len(lines) <= 23
    assert "ready 30 > max_per_cycle 10" in text
    assert "submitted 10" in text
    assert "no cycle yet" in text
    assert "demand unknown" in text


def test_the_picture_does_not_jump_at_80_columns() -> None:
    fresh = [Row(row.queue, row.jobs, None, row.note) for row in rows()]
    assert len(drawn(80, fresh)) == len(drawn(80, rows()))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_early_and_well(number: signal.Signals) -> None:
    command = [sys.executable, "-c", "from autopyfactory.cli import main; main()", "demo", "--json", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["seconds"] < 30
