"""The page docs/add-a-backend.md: what stands there works as it stands there."""

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from autopyfactory import plugins
from autopyfactory.batch import Context, condor_rows, remove
from autopyfactory.batch.order import make_order
from autopyfactory.batch.rows import ROWS, Row
from autopyfactory.batch.source import PilotSource
from autopyfactory.build import source_name
from autopyfactory.config.loader import load
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.ledger import Ledger, Outcome
from autopyfactory.model import EndedPilot, PilotState
from tests.unit.cli.test_check import run
from tests.unit.world import ManualClock

TOP = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (TOP / "docs/add-a-backend.md").read_text(), re.MULTILINE | re.DOTALL)
[PROJECT] = [text for kind, text in BLOCKS if kind == "toml"]
[QUEUE] = [text for kind, text in BLOCKS if kind == "ini"]
MODULE, TESTS, CONDOR_ROW, TITLE = [text for kind, text in BLOCKS if kind == "python"]
MAIN = (
    "[factory]\nid = F1\nhost = here\nstate_dir = state\npilot_log_dir = pilots\n[wms panda]\nurl = http://p.example\n"
)


def install(folder: Path) -> None:
    """Do what pip does with the two files of the page."""
    project = tomllib.loads(PROJECT)
    (group, points), *others = project["project"]["entry-points"].items()
    assert (project["tool"]["setuptools"]["py-modules"], others) == (["apf_tsp"], [])
    (folder / "apf_tsp.py").write_text(MODULE)
    info = folder / "apf_tsp-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {project['project']['name']}\nVersion: {project['project']['version']}\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{name} = {at}\n" for name, at in points.items()))


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "site").mkdir()
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield
    sys.modules.pop("apf_tsp", None)


class Bed:
    """The queue of the page in a configuration, with its source, over the stand-in."""

    def __init__(self, folder: Path, section: str = QUEUE) -> None:
        self.conf, self.jobs = folder / "autopyfactory.conf", folder / "jobs"
        self.jobs.mkdir()
        self.conf.write_text(MAIN.replace("= state", f"= {folder}/state").replace("= pilots", f"= {folder}/pilots"))
        (folder / "queues.conf").write_text(section)
        self.clock = ManualClock()
        self.config = load(self.conf)
        self.queue = self.config.queues["HERE"]
        at = self.config.sources[source_name(self.queue)]
        options: Any = at.options
        batch = plugins.load("autopyfactory.batch", at.plugin)(
            at.name, options, Context(self.config.factory, self.clock)
        )
        (folder / "state").mkdir()
        self.ledger = Ledger(folder / "state/submissions.jsonl", self.clock)
        self.ended: list[EndedPilot] = []
        self.source = PilotSource(
            f"{at.kind} {at.name}",
            batch,
            self.ledger,
            self.clock,
            interval=options.interval,
            max_age=options.max_age,
            deadline=options.deadline,
            host="here",
            on_ended=self.ended.extend,
        )

    def submit(self, count: int) -> tuple[str, ...]:
        name = self.ledger.open("HERE", self.source.name, count, waiting=0, in_flight=0)
        endpoint = self.source.batch.endpoint
        order = make_order(self.config, self.queue, name, count, self.clock.now(), endpoint=endpoint)
        cids = self.source.batch.submit(order).cids
        self.clock.at += 1
        self.ledger.close(name, Outcome.ACCEPTED, len(cids))
        return tuple(cids)

    def counts(self) -> dict[str, int]:
        self.clock.at += 60
        snapshot = self.source.snapshot()
        assert not self.source.doubt("HERE", snapshot)
        counts = self.source.counts("HERE", snapshot)
        names = [*PilotState, "unseen", "ambiguous"]
        return {str(name): number for name in names if (number := getattr(counts, name))}

    def set(self, id_: int, state: str, code: object = "") -> None:
        (self.jobs / f"{id_}/state").write_text(f"{state}\n")
        (self.jobs / f"{id_}/code").write_text(f"{code}\n" if state == "finished" else "")

    def start(self, id_: int) -> int:
        """Run a job as tsp would and return its exit code."""
        return subprocess.run((self.jobs / f"{id_}/words").read_text().splitlines(), check=False).returncode


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("PATH", f"{TOP}/tests/data/tsp:/usr/bin:/bin")
    monkeypatch.setenv("TSP_JOBS", str(tmp_path / "jobs"))
    bed = Bed(tmp_path, f"{QUEUE}walltime = 1h\narguments = -- /bin/sh -c 'echo $APF_QUEUE; exit 3'\n")
    yield bed
    bed.source.close()


def test_pilots_pend_run_and_end_with_their_exit_codes(bed: Bed) -> None:
    cids = bed.submit(4)
    assert bed.counts() == {"pending": 4}
    bed.set(0, "running")
    bed.set(1, "running")
    bed.set(2, "allocating")
    assert bed.counts() == {"running": 2, "unknown": 1, "pending": 1}
    bed.set(0, "finished", bed.start(0))
    bed.set(1, "finished", -1)
    assert bed.counts() == {"unknown": 1, "pending": 1}
    assert [(end.cid, end.exit_code, end.fault) for end in bed.ended] == [
        (cids[0], 3, ""),
        (cids[1], None, "ended by a signal"),
    ]
    [output] = bed.conf.parent.glob(f"pilots/*/HERE/{cids[0]}.out")
    assert "\nHERE\n" in output.read_text()


def test_kill_removes_what_waits_and_what_runs(bed: Bed) -> None:
    bed.submit(3)
    bed.set(0, "running")
    bed.set(1, "finished", 0)
    removed = remove(bed.source.batch, "HERE", frozenset({PilotState.PENDING, PilotState.RUNNING}))
    assert removed == {PilotState.PENDING: 1, PilotState.RUNNING: 1}
    bed.counts()
    assert bed.counts() == {}
    assert sorted(end.fault for end in bed.ended) == ["", "", "ended by a signal"]


def test_a_server_that_is_away_is_no_information(bed: Bed) -> None:
    bed.submit(1)
    bed.counts()
    listed = bed.source.batch.pilots()
    (bed.jobs / "down").touch()
    with pytest.raises(SourceError, match="tsp local: tsp: The server didn't come up"):
        bed.source.batch.poll()
    with pytest.raises(Refused, match="is the folder of its socket there"):
        bed.submit(1)
    assert len(list(bed.conf.parent.glob("pilots/*/HERE/*.sh"))) == 1
    with pytest.raises(SourceError):
        bed.source.batch.remove_pilots(listed)
    (bed.jobs / "down").unlink()
    assert bed.counts()["pending"] == 1
    (bed.jobs / "full").touch()
    with pytest.raises(Refused, match="lower max_pending"):
        bed.submit(1)


def test_an_answer_that_says_nothing_is_ambiguous(bed: Bed) -> None:
    bed.jobs.rename(bed.jobs.with_name("away"))
    with pytest.raises(Ambiguous):
        bed.submit(1)


def test_the_commands_know_it(bed: Bed) -> None:
    assert "tsp - - yes of another package\n" in run("backends").stdout
    checked = run("check", "--conf", str(bed.conf))
    assert (checked.exit_code, "[HERE] walltime: warning: tsp has no such thing" in checked.stdout) == (0, True)
    shown = run("render", "--conf", str(bed.conf), "HERE").stdout
    assert re.search(r"/tsp -B -N 1 -L APF3:F1:HERE:\S+ env -i \S+ sh -c .*\.0\.sh .*\.0\.out .*\.0\.err\n", shown)
    assert "export APF_QUEUE=HERE\n" in shown


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    module = ModuleType("page")
    exec(TESTS, vars(module))
    module.test_a_listing()
    for answer in module.test_what_is_no_listing_is_not_an_empty_one.pytestmark[0].args[1]:
        module.test_what_is_no_listing_is_not_an_empty_one(answer)


def test_one_more_row_for_condor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condor_rows, "CONDOR_ROWS", dict(condor_rows.CONDOR_ROWS))
    exec(CONDOR_ROW, vars(condor_rows))
    title = eval(TITLE, {"Row": Row})
    row = condor_rows.CONDOR_ROWS[title.type, title.subtype]
    assert title.backend in {row.backend for row in ROWS}
    place = partial(condor_rows.grid_resource, row, batchqueue="", options=condor_rows.CondorQueueOptions())
    assert place("pilot@login1.example.org").startswith("batch flux pilot@login1.example.org")


def test_what_the_page_names_exists() -> None:
    page = (TOP / "docs/add-a-backend.md").read_text()
    contract = importlib.import_module("autopyfactory.batch").Batch
    for name in ("source_kind", "endpoint", "poll", "submit", "ended", "release_pilots", "close"):
        assert f"`{name}" in page
        assert name in dir(contract) + list(contract.__annotations__)
    for path in re.findall(r"`((?:autopyfactory|etc|tests)/[\w/.]+\.\w+)`", page):
        assert path.endswith("NAME.py") or (TOP / path).exists(), path
