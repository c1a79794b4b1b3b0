"""Sections from a site catalogue: beside those of the files, added to by them, never the end of a reload."""

import json
import os
from pathlib import Path

import pytest

from autopyfactory.config.compare import difference
from autopyfactory.config.models import Config
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.store import Store, digest
from autopyfactory.errors import ConfigError
from tests.unit.config.fakes import MAIN, Files

CRIC = CricOptions(url="http://cric/q.json")


def entry(name: str, **more: object) -> dict[str, object]:
    ce = {"ce_endpoint": "ce1:9619", "ce_flavour": "HTCONDOR-CE", "ce_state": "ACTIVE"}
    return {"panda_resource": name, "pilot_manager": "apf", "queues": [ce]} | more


@pytest.fixture
def state(files: Files, tmp_path: Path) -> Path:
    main = MAIN.replace("[factory]", f"[factory]\nstate_dir = {tmp_path}/state")
    files.write("autopyfactory.conf", f"{main}[cric lab]\nurl = {CRIC.url}\n")
    return tmp_path / "state"


def loaded(files: Files, state: Path, queues: str = "", **document: object) -> Config:
    """Load with a catalogue whose last good document is this."""
    files.write("queues.conf", f"[DEFAULT]\nwms = panda\n{queues}")
    assert Store("lab", CRIC, state).keep(json.dumps(document).encode())
    return files.load()


def test_generated_and_local_ones(files: Files, state: Path) -> None:
    local = "[A-ce1]\nmax_pilots = 7\n[B-ce1]\nenabled = no\n[OWN]\nbackend = condor\ntype = vanilla\nwmsqueue = O\n"
    config = loaded(files, state, local, A=entry("A"), B=entry("B"), C=entry("C", corecount=8))
    assert set(config.queues) == {"OWN", "A-ce1", "C-ce1"}
    assert list(config.disabled) == ["B-ce1"]
    assert config.queues["A-ce1"].rules.max_pilots == 7
    assert config.queues["A-ce1"].options.endpoint == "ce1:9619"
    assert config.queues["C-ce1"].options.cores == 8
    assert config.origins["A-ce1", "endpoint"] == CRIC.url
    assert config.origins["A-ce1", "max_pilots"].endswith("queues.conf:4")
    assert config.problems == ()
    assert config.documents == {"lab": digest(Store("lab", CRIC, state).path.read_bytes())}


def test_what_is_wrong_there_costs_one_queue(files: Files, state: Path) -> None:
    bad = entry("bad", params={"jdl.plusattr.a b": "1"})
    before = loaded(files, state, A=entry("A"))
    config = loaded(files, state, A=entry("A"), bad=bad, push=entry("push", workflow="push", pilot_manager="X"))
    assert set(config.queues) == {"A-ce1", "push-ce1"}
    texts = [str(problem) for problem in config.problems]
    assert all(problem.warning and not problem.queue for problem in config.problems)
    assert any(text.startswith("http://cric/q.json: [push]: warning: its pilot_manager is 'X'") for text in texts)
    assert any("works by push" in text for text in texts)
    assert str(difference(before, config)) == "queue push-ce1 added"


def test_a_local_mistake_stays_one(files: Files, state: Path) -> None:
    config = loaded(files, state, "[A-ce1]\nmax_pilots = many\n", A=entry("A"), B=entry("B"))
    assert set(config.queues) == {"B-ce1"}
    assert config.out == {"A-ce1"}
    (problem,) = config.problems
    assert str(problem).endswith("queues.conf:4: [A-ce1] max_pilots: 'many' is no whole number")


def test_a_local_section_waits_for_its_generated_one(files: Files, state: Path) -> None:
    config = loaded(files, state, "[A-ce1]\nmax_pilots = 7\n", B=entry("B"))
    assert set(config.queues) == {"B-ce1"}
    (problem,) = config.problems
    assert problem.warning
    assert "no catalogue has a queue of this name now" in problem.text


def test_no_document_an_old_one_and_a_broken_one(files: Files, state: Path) -> None:
    files.write("queues.conf", "")
    assert any("there is no document yet" in text for text in files.texts())
    store = Store("lab", CRIC, state)
    store.keep(json.dumps({"A": entry("A")}).encode())
    os.utime(store.path, (0, 0))
    assert any("h old" in text for text in files.texts())
    store.keep(b"{")
    assert any("no document can be used" in text for text in files.texts())


def test_two_catalogues_with_one_name(files: Files, state: Path) -> None:
    text = files.main.read_text()
    files.write("autopyfactory.conf", f"{text}[cric too]\nurl = {CRIC.url}\n")
    Store("too", CRIC, state).keep(json.dumps({"A": entry("A")}).encode())
    config = loaded(files, state, A=entry("A"))
    assert set(config.queues) == {"A-ce1"}
    assert [p.text for p in config.problems] == ["http://cric/q.json has a queue of this name, too"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "set either url or file"),
        ("url = cric", "'cric' is no address"),
        ("url = http://x/{queue}\nqueues = A*", "needs queues, a list of names"),
        ("url = http://x\nfile = /x", "set either url or file"),
    ],
)
def test_wrong_sections(files: Files, text: str, problem: str) -> None:
    files.write("autopyfactory.conf", f"{MAIN}[cric lab]\n{text}\n")
    with pytest.raises(ConfigError, match=problem.replace("*", r"\*")):
        files.load()
