"""`backends`, `render`, and the shipped sample with one queue per row."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from autopyfactory.batch import Order
from autopyfactory.batch.rows import ROWS, Row
from autopyfactory.cli.backends import standings, table
from autopyfactory.cli.render import rendered
from autopyfactory.clock import Clock
from autopyfactory.config.catalogue import Catalogue
from autopyfactory.config.fields import Options
from autopyfactory.config.loader import load
from autopyfactory.errors import Refused
from tests.unit.cli.test_check import run

SAMPLE = Path(__file__).parents[3] / "etc/backends/autopyfactory.conf"


class Plain:
    """A backend of another package that says nothing of this host."""

    source_kind = "plain"
    SourceOptions = QueueOptions = None


class Lacking(Plain):
    @classmethod
    def lacking(cls, type: str, subtype: str, sources: Sequence[Options] = ()) -> str:
        return f"no {type} {subtype} here"


def catalogue(**kinds: type) -> Catalogue:
    def load(_group: str, name: str) -> type:
        if name not in kinds:
            raise ImportError(f"no {name}")
        return kinds[name]

    return Catalogue(names=lambda group: sorted(kinds), load=load)


def test_rows_and_why_they_cannot_be_used() -> None:
    found = {standing.row: standing.lacking for standing in standings(catalogue(condor=Lacking, fork=Plain, own=Plain))}
    assert found[Row("fork", title="child processes of this host")] == ""
    assert found[Row("own", title="of another package")] == ""
    assert "no grid arc here" in found.values()
    assert next(why for row, why in found.items() if row.backend == "batch").startswith("it cannot be imported")
    assert set(ROWS) < set(found)
    assert table(list(standings(catalogue()))).row_count == len(ROWS)


def test_what_a_configuration_names_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("APF_CONF", raising=False)
    for program in ("sbatch", "squeue", "scancel", "sacct"):
        (tmp_path / program).touch(mode=0o755)
    conf = tmp_path / "autopyfactory.conf"
    conf.write_text(
        f"[factory]\nid = F\n[schedd ap1]\nname = ap1\n[slurm s]\nbin_dir = {tmp_path}\n[lsf l]\nbin_dir = /nowhere\n"
    )

    def lines(*arguments: str) -> dict[str, str]:
        result = run("backends", *arguments)
        assert result.exit_code == 0, result.output
        return {" ".join(line.split()[:3]): line.split(maxsplit=3)[3] for line in result.stdout.splitlines()}

    before, after = lines(), lines("--conf", str(conf))
    assert before["condor vanilla -"].startswith("no no schedd runs on this host")
    assert before["batch slurm -"].startswith("no no ")
    assert after["condor vanilla -"].startswith("yes ")
    assert after["batch slurm -"].startswith("yes ")
    assert after["batch lsf -"].endswith(" in /nowhere")
    assert after["batch torque -"].endswith(" on the PATH")


def test_off_a_terminal_one_line_per_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    result = run("backends")
    assert result.exit_code == 0
    begins = [tuple(line.split()[:3]) for line in result.stdout.splitlines()]
    assert begins[: len(ROWS)] == [
        (row.backend, row.type or "-", row.subtype or "-") for row in sorted(ROWS, key=lambda row: row.backend)
    ]
    assert all(line.split()[3] in ("yes", "no") for line in result.stdout.splitlines())


def test_the_sample_has_a_queue_for_each_row_and_passes_the_check() -> None:
    result = run("check", "--conf", str(SAMPLE))
    assert result.exit_code == 0, result.stdout
    options = [queue.options for queue in load(SAMPLE).queues.values()]
    assert {(at.backend, at.type, at.subtype) for at in options} == {tuple(row[:3]) for row in ROWS}


def test_each_queue_of_the_sample_is_rendered() -> None:
    for name, queue in load(SAMPLE).queues.items():
        result = run("render", "--conf", str(SAMPLE), name, "--count", "3")
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith("queue 3\n") == (queue.options.backend == "condor")
        assert name in result.stdout


@pytest.fixture
def conf(tmp_path: Path) -> Callable[[str], Path]:
    def write(queue: str) -> Path:
        main = "[factory]\nid = test\n[monitor m]\nplugin = apfmon\nurl = http://apf.example.org/api\n"
        (tmp_path / "autopyfactory.conf").write_text(main)
        (tmp_path / "queues.conf").write_text(f"[Q]\nrules = fixed\nfixed = 1\nbackend = condor\n{queue}")
        return tmp_path / "autopyfactory.conf"

    return write


def test_what_the_monitor_is_to_pilots_stands_in_their_environment(conf: Callable[[str], Path]) -> None:
    result = run("render", "--conf", str(conf("type = vanilla\nmonitor = m\n")), "Q")
    assert "'APFMON=http://apf.example.org/api'" in result.stdout
    assert result.stdout.endswith("queue 1\n")


def test_a_disabled_queue_is_rendered_too_and_the_first_of_its_endpoints(conf: Callable[[str], Path]) -> None:
    path = conf("type = grid\nsubtype = condor\nendpoint = ce1, ce2\nenabled = no\n")
    result = run("render", "--conf", str(path), "Q")
    assert "grid_resource = condor ce1 ce1:9619\n" in result.stdout
    assert '+APF_ENDPOINT = "ce1"\n' in result.stdout


def test_what_cannot_be_rendered(conf: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = run("render", "--conf", str(conf("type = vanilla\nsubmit.+APF_QUEUE = 1\n")), "Q")
    assert hidden.exit_code == 2
    assert "the section [Q] has mistakes" in hidden.output

    path = conf("type = vanilla\narguments = $(DOLLAR)\n")
    result = run("render", "--conf", str(path), "Q")
    assert result.exit_code == 1
    assert "Q cannot submit: no submit description can carry '$(DOLLAR)'" in result.output
    assert run("render", "--conf", str(path), "R").exit_code == 2

    config = load(path)
    monkeypatch.delattr("autopyfactory.batch.condor.CondorSchedd.describe")
    with pytest.raises(Refused, match="the backend 'condor' cannot show what it submits"):
        rendered(config, config.queues["Q"], 1, Clock())


def test_an_order_shows_a_whole_submission(monkeypatch: pytest.MonkeyPatch, conf: Callable[[str], Path]) -> None:
    config = load(conf("type = vanilla\ncores = 8\n"))
    seen: list[Order] = []

    def describe(_self: object, order: Order) -> str:
        seen.append(order)
        return "text"

    monkeypatch.setattr("autopyfactory.batch.condor.CondorSchedd.describe", describe)
    assert rendered(config, config.queues["Q"], 4, Clock()) == "text\n"
    assert (seen[0].count, seen[0].shape.cores) == (4, 8)
    assert seen[0].id.endswith("-rendered")
