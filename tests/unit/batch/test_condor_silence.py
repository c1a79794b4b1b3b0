"""Silent CEs are kept over a restart, and no broken file stops a schedd's counts."""

import logging
from pathlib import Path
from typing import cast

import pytest

from autopyfactory.batch import Context
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_child import ScheddSaid, Survey
from autopyfactory.child import KillableChild
from autopyfactory.model import Trouble
from tests.unit.batch.test_condor import FakeChild, ad, grid_ad, job
from tests.unit.batch.test_condor_submit import factory
from tests.unit.world import START, ManualClock

FILE = "silent-ap1.json"
SILENT = {"ap1": Trouble("silent", START)}


class Bench:
    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.clock = ManualClock()
        self.child = FakeChild(survey=Survey((grid_ad(1, 5),)))
        self.start()

    def start(self, *, looking: bool = False) -> None:
        context = Context(factory(state_dir=self.state_dir), self.clock, looking=looking)
        self.schedd = CondorSchedd("ap1", ScheddOptions(), context, child=cast(KillableChild, self.child))

    def troubles(self, later: float = 0.0) -> object:
        self.clock.at += later
        return self.schedd.poll().troubles


def test_a_silent_ce_is_known_by_the_first_count_after_a_restart(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.troubles()
    assert not (tmp_path / FILE).exists()
    assert bench.troubles(1800) == SILENT
    for looking in (False, True):
        bench.start(looking=looking)
        assert bench.troubles(60) == SILENT
    bench.start()
    bench.child.answers["survey"] = Survey((grid_ad(1, 4), grid_ad(2, 1)))
    assert bench.troubles(60) == {}
    bench.start()
    assert bench.troubles(60) == {}


def test_a_ce_whose_pilots_come_and_go_between_two_counts_is_not_silent(tmp_path: Path) -> None:
    """Also where their output cannot be fetched, and after a restart, which sees the old ends again."""
    bench = Bench(tmp_path)
    for cycle in range(40):
        groups = (grid_ad(4, 3, APF_SUBMISSION=f"s-{cycle - 1}"), grid_ad(1, 3, APF_SUBMISSION=f"s-{cycle}"))
        bench.child.answers["survey"] = Survey(groups, unsent={f"s-{cycle}": 3})
        ended = job(cycle, JobUniverse=9, EnteredCurrentStatus=int(bench.clock.at - 20), StageInFinish=cycle % 2)
        bench.child.answers["completed"] = (ended,)
        bench.child.answers["fetch"] = ScheddSaid("no space left")
        assert bench.troubles(120) == {}
    assert bench.troubles(1600) == {}
    assert bench.troubles(200) != {}
    bench.start()
    assert bench.troubles(60) != {}, "the end is older than the silence"


def test_pilots_of_a_pool_that_end_say_nothing_of_a_ce(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.child.answers["survey"] = Survey((grid_ad(1, 5), ad(4, 1, JobUniverse=5)))
    bench.child.answers["completed"] = (job(1, JobUniverse=5, EnteredCurrentStatus=int(START + 1000)),)
    bench.troubles()
    assert bench.troubles(1800) == SILENT


def test_who_only_looks_writes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.start(looking=True)
    bench.troubles()
    assert bench.troubles(1800) == SILENT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", '{"ap1": 3}', '{"ap1": {"since": 1, "places": {"s-1": {"asleep": 5}}}}'])
def test_a_broken_file_is_told_of_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / FILE).write_text(content)
    bench = Bench(tmp_path)
    assert bench.troubles() == bench.troubles() == {}
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    told = f"schedd ap1: {tmp_path / FILE} holds no silent CEs, they are noticed anew"
    assert warned == ([told] if content else [])
    bench.troubles(1800)
    bench.start()
    assert bench.troubles(60) == SILENT


def test_what_cannot_be_written_is_told_of_and_stops_no_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path / "state")
    (tmp_path / "state").touch()
    bench.troubles()
    assert bench.troubles(1800) == bench.troubles(60) == SILENT
    [told] = [record.getMessage() for record in caplog.records if "restart" in record.getMessage()]
    assert "/state" in told
