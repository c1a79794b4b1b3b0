"""The trace of demand: read back as written, made from the record, refused with file and line."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autopyfactory.cli import main
from autopyfactory.model import JobCount
from autopyfactory.record import FILE
from autopyfactory.record.book import Record
from autopyfactory.record.demand import trace
from autopyfactory.record.trace import Demand, TraceError, line_of, merged, read
from autopyfactory.report import Blocked, CycleReport, Input
from tests.unit.record.test_book import START, write

CELLS = (
    JobCount("MCORE", "managed", {"activated": 4, "running": 7}),
    JobCount("MCORE", "", {"activated": 0}, cores=4, share="Express"),
)


ZERO = (JobCount("", "", {"activated": 0}),)


def saw(at: float, activated: int | None, queue: str = "Q", wmsqueue: str = "W", wms: str = "panda") -> CycleReport:
    jobs = None if activated is None else (JobCount("", "", {"activated": activated, "finished": 9}),)
    blocked = Blocked("demand unknown", cause="demand") if activated is None else None
    return CycleReport(queue, at, blocked=blocked, jobs=jobs, wmsqueue=wmsqueue, interval=60.0, wms=wms)


def test_lines_are_read_as_written(tmp_path: Path) -> None:
    told = [Demand(0, "A", CELLS), Demand(0, "B", None, "farm"), Demand(60.5, "A", (), "panda")]
    path = tmp_path / "t.jsonl"
    path.write_text("# made up\n" + "\n".join(map(line_of, told)))
    assert list(read(path)) == told
    assert list(merged([told[:1], told[1:]])) == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "t:1: is no line of a trace"),
        ('{"at": 0, "wmsqueue": "A"}', "t:1: cells: field required"),
        ('{"at": 0, "wmsqueue": "A", "cells": [{"label": "x"}]}', "cells.0.activated: field required"),
        ('{"at": 0, "wmsqueue": "A", "cells": [{"activated": -1}]}', "cells.0.activated: "),
        ('{"at": 0, "wmsqueue": "A", "cells": [{"activated": 1, "running": "x"}]}', "running"),
        ('{"at": 9, "wmsqueue": "A", "cells": []}\n{"at": 1, "wmsqueue": "A", "cells": []}', "t:2: .*sort them"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(TraceError, match=said):
        list(read(tmp_path / "t"))


def test_a_trace_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read"):
        list(read(tmp_path / "t"))


def test_the_record_becomes_a_trace(tmp_path: Path) -> None:
    """A line where the figures change; siblings tell once; unknown is null; the end is told."""
    reports = [saw(START + 60 * k, [5, 5, 8, None, 8][k], queue) for k in range(5) for queue in ("Q", "R")]
    no_demand = [CycleReport("F", START + 100, wmsqueue="W")]
    write(tmp_path / FILE, [*reports, *no_demand, saw(START + 60, 1, "X", "V")])
    with Record(tmp_path / FILE) as record:
        lines = list(trace(record, record.queues, START, START + 1000))
    found = [(line.at - START, line.wmsqueue, line.cells[0].activated if line.cells else None) for line in lines]
    assert found == [
        (0, "W", 5), (60, "V", 1), (120, "W", 8), (180, "W", None), (240, "W", 8), (240, "W", 8), (240, "V", 1)
    ]  # fmt: skip


def test_one_wmsqueue_of_two_sources(tmp_path: Path) -> None:
    """A cycle of an older record tells its source by who answered alone."""
    old = CycleReport("P", START, jobs=CELLS, wmsqueue="W", inputs=(Input("demand", "wms pool", 1.0),))
    first = CycleReport("P", START - 60, blocked=Blocked("no", cause="demand"), wmsqueue="W")
    nobody = replace(first, at=START + 60)
    typo = CycleReport("P", START + 90, blocked=Blocked("no", cause="wmsqueue"), wmsqueue="V, W", wms="pool")
    write(tmp_path / FILE, [first, old, saw(START + 30, 3, wms="farm"), nobody, typo])
    with Record(tmp_path / FILE) as record:
        lines = list(trace(record, record.queues, START - 60, START + 1000))
    assert lines[0] == Demand(START, "W", CELLS, "pool")
    found = [(line.wms, line.cells is None) for line in lines]
    assert found == [("pool", False), ("farm", False), ("pool", True), ("pool", True), ("farm", False)]


def test_wmsqueues_that_feed_one_queue_are_told_apart(tmp_path: Path) -> None:
    cells = (JobCount("", "", {"activated": 1}, "V"), JobCount("", "", {"activated": 2}, "W"))
    write(tmp_path / FILE, [CycleReport("Q", START, jobs=cells, wmsqueue="W, V, U", interval=60.0)])
    with Record(tmp_path / FILE) as record:
        lines = list(trace(record, record.queues, START, START + 1000))
    found = {line.wmsqueue: [cell.activated for cell in line.cells or ()] for line in lines}
    assert found == {"W": [2], "V": [1], "U": []}


def say(folder: Path, *words: str) -> Result:
    (folder / "apf.conf").write_text(f"[factory]\nid = F\nstate_dir = {folder}\n")
    return CliRunner().invoke(main, ["record", "--conf", str(folder / "apf.conf"), *words])


def test_the_command(tmp_path: Path) -> None:
    assert "there is no decision record" in say(tmp_path).output
    write(tmp_path / FILE, [saw(START + 60 * k, k) for k in range(4)])
    result = say(tmp_path, "--to", "2026-09-21T14:15")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == line_of(Demand(START, "W", ZERO, "panda")).strip()
    assert len(result.output.splitlines()) == 3
    assert say(tmp_path, "--output", str(tmp_path / "out"), "Q").output == ""
    assert len(list(read(tmp_path / "out"))) == 5
    assert "did you mean 'Q'" in say(tmp_path, "q").output
    assert "is no time" in say(tmp_path, "--from", "noon").output
    assert "cannot write" in say(tmp_path, "--output", str(tmp_path / "no" / "out")).output
