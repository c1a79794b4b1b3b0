"""A replay runs the real cycles: caps hold, pilots meet jobs, an unknown stretch blocks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autopyfactory.cli import main
from autopyfactory.cli.simulate import table
from autopyfactory.config.loader import load
from autopyfactory.simulate.arrivals import Arrival, made_up
from autopyfactory.simulate.fleet import SiteOptions
from autopyfactory.simulate.model import Stream
from autopyfactory.simulate.picture import svg
from autopyfactory.simulate.replay import Course, Replay

DEFAULT = "[DEFAULT]\nwms = panda\nbackend = condor\ntype = vanilla\ninterval = 6m\nrules = ready\n"


def conf(folder: Path, queues: str, name: str = "autopyfactory.conf") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("[factory]\nid = sim\n[wms panda]\nurl = http://panda.example.org\n")
    (path.parent / "queues.conf").write_text(DEFAULT + queues)
    return path


def ran(folder: Path, queues: str, arrivals: list[Arrival], days: float = 0.5, **site: Any) -> Mapping[str, Course]:
    options = SiteOptions(failures=0, **site)
    replay = Replay(load(conf(folder, queues)), lambda queue: options, lag=120.0)
    return replay.run(iter(arrivals), days)


def test_every_job_has_its_pilot(tmp_path: Path) -> None:
    arrivals = [Arrival(0.0, Stream("Q"), count=0), Arrival(3600.0, Stream("Q"), count=40)]
    course = ran(tmp_path, "[Q]\nwmsqueue = Q\nmax_pending = 25\n", arrivals)["Q"]
    assert (course.jobs, course.finished, course.wasted, course.submitted) == (40, 40, 0, 40)
    assert max(course.pending) <= 25
    assert course.demand[-1] == course.running[-1] == course.pending[-1] == 0
    assert 0 < course.first_pilot[0] < 360 + 120 + 30 + 450 + 1


def test_caps_and_room(tmp_path: Path) -> None:
    arrivals = [Arrival(0.0, Stream("Q"), count=500)]
    course = ran(tmp_path, "[Q]\nwmsqueue = Q\nmax_pilots = 30\n", arrivals)["Q"]
    assert max(a + b for a, b in zip(course.pending, course.running, strict=True)) == 30
    course = ran(tmp_path, "[Q]\nwmsqueue = Q\n", arrivals, capacity=7)["Q"]
    assert max(course.running) == 7
    assert course.submitted == 500


def test_siblings_ask_once(tmp_path: Path) -> None:
    courses = ran(tmp_path, "[A]\nwmsqueue = Q\n[B]\nwmsqueue = Q\n", [Arrival(0.0, Stream("Q"), count=60)])
    assert sum(course.submitted for course in courses.values()) == 60
    assert min(course.submitted for course in courses.values()) > 20


def test_several_wmsqueues_feed_one_queue(tmp_path: Path) -> None:
    arrivals = [Arrival(0.0, Stream("A"), 30), Arrival(0.0, Stream("B"), 20), Arrival(7200.0, Stream("B"), 5)]
    course = ran(tmp_path, "[AB]\nwmsqueue = A, B\n", arrivals)["AB"]
    assert (course.submitted, course.jobs, course.wasted, len(course.first_pilot)) == (55, 55, 0, 3)
    assert max(course.demand) == 50


def test_of_several_wmsqueues_the_oldest_jobs_are_taken(tmp_path: Path) -> None:
    arrivals = [Arrival(0.0, Stream("B"), 40), Arrival(60.0, Stream("A"), 40)]
    replay = Replay(
        load(conf(tmp_path, "[AB]\nwmsqueue = A, B\n")), lambda queue: SiteOptions(failures=0, capacity=40), lag=120.0
    )
    replay.run(iter(arrivals), 0.025)
    assert (replay.jobs["panda"].activated("A"), replay.jobs["panda"].activated("B")) == (40, 0)


def test_two_sources_with_a_wmsqueue_of_one_name(tmp_path: Path) -> None:
    path = conf(tmp_path, "[P]\nwmsqueue = Q\n[F]\nwms = farm\nwmsqueue = Q\n")
    path.write_text(path.read_text() + "[wms farm]\nplugin = static\nactivated = 0\n")
    arrivals = [Arrival(0.0, Stream("Q", wms="panda"), 20), Arrival(0.0, Stream("Q", wms="farm", cores=1), 30)]
    courses = Replay(load(path), lambda queue: SiteOptions(failures=0), lag=120.0).run(iter(arrivals), 0.5)
    assert {name: (one.submitted, one.jobs) for name, one in courses.items()} == {"P": (20, 20), "F": (30, 30)}
    both = Replay(load(path), lambda queue: SiteOptions(failures=0), lag=120.0)
    courses = both.run(iter([Arrival(0.0, Stream("Q"), 8), Arrival(3600.0, Stream("Q", wms="other"), 9)]), 0.5)
    assert {name: (one.submitted, one.jobs) for name, one in courses.items()} == {"P": (8, 8), "F": (8, 8)}


def test_pilots_without_jobs_are_wasted(tmp_path: Path) -> None:
    queues = "[W]\nwmsqueue = Q\nrules = fixed\nfixed = 5\nmax_pilots = 50\n"
    course = ran(tmp_path, queues, [Arrival(0.0, Stream("Q"), 7)], 0.1)["W"]
    assert (course.finished, course.jobs, course.retired) == (7, 7, 0)
    assert course.wasted + course.pending[-1] == course.submitted - course.finished
    assert course.wasted > 20


def test_pilots_without_jobs_are_retired(tmp_path: Path) -> None:
    queues = "[R]\nwms = panda\nwmsqueue = Q\nrules = ready, fixed\nfixed = 5\nmax_pending = 5\nretire = 0\n"
    queues += "retire.after = 1m\ninterval = 1m\n"
    course = ran(tmp_path, queues, [Arrival(0.0, Stream("Q"))], 0.1, start_delay=1000)["R"]
    assert course.retired > 20
    assert course.submitted == course.retired + course.wasted + course.pending[-1]
    assert "retired" in "\n".join(str(column.header) for column in table({"": {"R": course}}).columns)


def test_invented_demand_of_a_configuration(tmp_path: Path) -> None:
    path = conf(tmp_path, "[AB]\nwmsqueue = A, B\n")
    row = run("--conf", str(path), "--days", "0.5", "--jobs", "20").output.splitlines()[-1].split()
    assert (row[0], int(row[1]) > 100, float(row[4])) == ("AB", True, 0.0)


def test_pilots_of_a_type_and_several_jobs_in_one(tmp_path: Path) -> None:
    queues = "[Q]\nwmsqueue = Q\ncores = SCORE:1, MCORE:8\nresource_types = SCORE, MCORE\n"
    arrivals = [Arrival(0.0, Stream("Q", "SCORE", "managed"), 6), Arrival(0.0, Stream("Q", "MCORE", "managed"), 4)]
    course = ran(tmp_path, queues, arrivals)["Q"]
    assert (course.submitted, course.jobs, course.wasted) == (10, 10, 0)
    course = ran(tmp_path, "[Q]\nwmsqueue = Q\ncores = 8\n", [Arrival(0.0, Stream("Q", "SCORE", "managed"), 16)])["Q"]
    assert (course.submitted, course.jobs) == (2, 16)
    course = ran(tmp_path, "[Q]\nwmsqueue = Q\ncores = 8\n", [Arrival(0.0, Stream("Q", "MCORE", cores=4), 16)])["Q"]
    assert (course.submitted, course.jobs, course.wasted) == (8, 16, 0)


def test_an_unknown_stretch_blocks_and_a_queue_without_wms_runs(tmp_path: Path) -> None:
    queues = "[Q]\nwmsqueue = Q\n[F]\nwms =\nrules = fixed\nfixed = 2\nmax_pilots = 4\n"
    courses = ran(tmp_path, queues, [Arrival(0.0, Stream("Q"), count=5), Arrival(7200.0, Stream("Q"), known=False)])
    assert 0.5 < courses["Q"].blocked / courses["Q"].cycles < 1
    assert max(courses["F"].running) == 4
    assert courses["F"].finished > 10


def test_failures_cost_pilots_and_no_jobs(tmp_path: Path) -> None:
    site = SiteOptions(failures=1)
    replay = Replay(load(conf(tmp_path, "[Q]\nwmsqueue = Q\n")), lambda queue: site, lag=120.0)
    course = replay.run(iter([Arrival(0.0, Stream("Q"), count=5)]), 0.2)["Q"]
    assert course.failed > 5
    assert course.demand[-1] == 5


def test_a_black_hole_is_throttled(tmp_path: Path) -> None:
    site = SiteOptions(failures=1, start_delay=0)
    found = {}
    for text in ("", "throttle = 0.5\n"):
        config = load(conf(tmp_path, f"[Q]\nwmsqueue = Q\n{text}"))
        replay = Replay(config, lambda queue: site, lag=120.0)
        found[text] = replay.run(iter([Arrival(0.0, Stream("Q"), count=50)]), 0.5)["Q"].submitted
    assert found["throttle = 0.5\n"] < found[""] / 5


def test_the_same_dice_the_same_run(tmp_path: Path) -> None:
    names = [Stream("A"), Stream("B")]
    runs = [ran(tmp_path, "[A]\nwmsqueue = A\n[B]\nwmsqueue = B\n", list(made_up(names, 0.5, 30, 3))) for _ in "12"]
    assert runs[0] == runs[1]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *words])


def test_the_command(tmp_path: Path) -> None:
    first = str(conf(tmp_path / "one", "[Q]\nwmsqueue = Q\n"))
    other = str(conf(tmp_path / "two", "[Q]\nwmsqueue = Q\nmax_pilots = 5\n"))
    sites = tmp_path / "sites.conf"
    sites.write_text("[DEFAULT]\nstart_delay = 1m\n[Q*]\ncapacity = 50\n")
    trace = tmp_path / "trace"
    line = '{{"at": {}, "wmsqueue": "Q", "cells": [{{"resource_type": "", "label": "", "activated": {}}}]}}\n'
    trace.write_text(line.format(0, 10) + line.format(7200, 60))
    folder = tmp_path / "pictures"
    done = run(
        "--conf", first, "--trace", str(trace), "--sites", str(sites), "--against", other, "--pictures", str(folder)
    )
    assert done.exit_code == 0, done.output
    rows = [row.split() for row in done.output.splitlines()[4:6]]
    assert [(row[0], row[-1]) for row in rows] == [("Q", "A"), ("Q", "B")]
    assert (folder / "Q.svg").read_text().count("stroke-dasharray") == 3


def test_the_trace_of_another_source(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text('{"at": 0, "wms": "pool", "wmsqueue": "Q", "cells": [{"activated": 7}]}\n')
    done = run("--conf", str(conf(tmp_path, "[Q]\nwmsqueue = Q\n")), "--trace", str(trace))
    assert f"{trace}: its jobs of [wms pool] are left out, {tmp_path}/autopyfactory.conf has no such" in done.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("capacity = many\n[Q]\n", "sites.conf:2: [DEFAULT] capacity: 'many' is no whole number"),
        ("capacty = 3\n", "sites.conf:2: [DEFAULT] capacty: unknown option, did you mean 'capacity'?"),
    ],
)
def test_mistakes_in_sites(tmp_path: Path, text: str, said: str) -> None:
    sites = tmp_path / "sites.conf"
    sites.write_text(f"[DEFAULT]\n{text}")
    done = run("--conf", str(conf(tmp_path, "[Q]\nwmsqueue = Q\n")), "--sites", str(sites))
    assert done.exit_code == 2
    assert said in done.output


def test_other_mistakes(tmp_path: Path) -> None:
    path = conf(tmp_path, "[Q]\nwmsqueue = Q\n")
    done = run("--conf", str(path), "--trace", str(tmp_path / "none"))
    assert (done.exit_code, done.output) == (
        1,
        f"Error: {tmp_path}/none: cannot read the trace: No such file or directory\n",
    )
    done = run("--conf", str(path), "--days", "0.01", "--pictures", str(path / "below"))
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
    assert f"Error: cannot write into {path}/below" in done.output
    assert max(len(line) for line in done.output.splitlines() if "Error" not in line) <= 80
    assert "'5' is no duration" in run("--conf", str(path), "--lag", "5").output
    (tmp_path / "queues.conf").write_text("")
    assert "no queue can be served" in run("--conf", str(path)).output


def test_a_picture_of_nothing() -> None:
    assert "<svg" in svg("a<b", {"": Course()})
