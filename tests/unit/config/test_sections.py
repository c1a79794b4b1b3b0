from datetime import datetime
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from autopyfactory.config import fields
from autopyfactory.config.catalogue import BATCH, WMS
from autopyfactory.config.fields import Secret
from autopyfactory.config.loader import load
from autopyfactory.errors import ConfigError
from tests.unit.config.fakes import MAIN, QUEUE, Files


def refused(files: Files, text: str) -> list[str]:
    """Return the problems of a main file with which nothing starts."""
    files.write("autopyfactory.conf", text)
    with pytest.raises(ConfigError) as caught:
        files.load()
    return [files.shorten(problem) for problem in caught.value.problems]


def test_all_kinds_of_sections(files: Files) -> None:
    more = """\
[wms counts]
plugin = static
Q = 4
[schedd ap1]
max_submit_rate = 20
[fork main]
[monitor apfmon]
[credential prod]
file = /etc/proxy
"""
    files.write("autopyfactory.conf", MAIN + more)
    files.write("queues.conf", "")
    config = files.load()
    assert config.factory.id == "test"
    assert list(config.wms) == ["panda", "counts"]
    assert config.wms["counts"].plugin == "static"
    assert config.wms["counts"].options.model_extra == {"Q": "4"}
    assert [(name, part.kind, part.plugin) for name, part in config.sources.items()] == [
        ("ap1", "schedd", "condor"),
        ("main", "fork", "fork"),
    ]
    assert config.monitors["apfmon"].plugin == "apfmon"
    assert config.credentials["prod"].kind == "proxy"
    assert config.origins["wms counts", "plugin"] == f"{files.main}:6"
    assert config.origins["schedd ap1", "max_submit_rate"] == f"{files.main}:9"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": has no [factory] section, write one with at least 'id = ...'"),
        (
            "[factory]\n",
            ":1: [factory] id: is missing, write 'id = ...' (name of this factory in tags, monitor and WMS)",
        ),
        ("[factory]\nid = a b\n", ":2: [factory] id: 'a b' is no id, use up to 64 of A-Z a-z 0-9 _ -"),
        ("[factory]\nid = a\nlog_dri = /x\n", ":3: [factory] log_dri: unknown option, did you mean 'log_dir'?"),
        (
            "[factory]\nid = a\nzzz = /x\n",
            ":3: [factory] zzz: unknown option, autopyfactory reference prints all there are",
        ),
        ("[factory]\nfactoryId = a\n", ":2: [factory] factoryId: is the name of AutoPyFactory 2, write 'id'"),
        ("[factory]\nid = %(x)s\n", ":2: [factory] id: %(x)s names an option that is not set"),
        (
            "[factory]\nid = a\nmin_free = 5\n",
            ":3: [factory] min_free: '5' is no size, write for example 500MB, 16GB or 2GiB",
        ),
        (
            "[factory]\nid = a\nlog_dir = log\n",
            ":3: [factory] log_dir: 'log' is no absolute path, write one that begins with / or ~",
        ),
        (
            "[factory]\nid = a\nmax_per_factory = -1\n",
            ":3: [factory] max_per_factory: '-1' is too little, write 0 or more",
        ),
        ("[factory]\nid = a\nmax_per_factory = ten\n", ":3: [factory] max_per_factory: 'ten' is no whole number"),
        ("[Factory]\nid = a\n", ":1: [Factory]: unknown section, did you mean 'factory'?"),
        ("[factory x]\nid = a\n", ":1: [factory x]: takes no name, write [factory]"),
        (MAIN + "[wms]\n", ":5: [wms]: has no name, write [wms NAME]"),
        (
            MAIN + "[wms panda]\nurl = x\n",
            ":5: [wms panda]: stands twice, first at autopyfactory.conf:3, make one of the two",
        ),
        (MAIN + "[DEFAULT]\n", ":5: [DEFAULT]: serves queues only, write it in queues.conf"),
        (MAIN + "[wms x]\n", ":5: [wms x] plugin: is missing, write 'plugin = ...' (known: panda, static, broken)"),
        (MAIN + "[wms x]\nplugin = pnda\n", ":6: [wms x] plugin: 'pnda' is no plug-in, did you mean 'panda'?"),
        (MAIN + "[monitor apfmon]\ninterval = 5\n", ":6: [monitor apfmon] interval: unknown option"),
        (
            MAIN + "[schedd a]\nmax_submit_rate = 0\n",
            ":6: [schedd a] max_submit_rate: '0' is too little, write more than 0/s",
        ),
        (MAIN + "interval = 0.1s", ":5: [wms panda] interval: '0.1s' is too little, write 1s or more"),
        (MAIN + "[held x]\naction = leave\n", ":5: [held x]: it speaks of no pilot, name code or match"),
        (MAIN + "[held x]\naction = leave\ncode = a\n", ":7: [held x] code: 'a' is no hold code, write for example 13"),
        (MAIN + "[held x]\naction = kill\ncode = 1\n", ":6: [held x] action: 'kill' is none of leave, release, remove"),
        (MAIN + "[credential x]\n", ":5: [credential x] file: is missing"),
        (
            MAIN + "[credential x]\nkind = prxy\nfile = /x\n",
            ":6: [credential x] kind: 'prxy' is none of proxy, token, did you mean 'proxy'?",
        ),
        (MAIN + "oops\n", ":5: [wms panda]: this line is no 'option = value', write one or begin the line with #"),
        ("[factory]\nid = a\n[wms panda]\nurl = http://bad\n", ":3: [wms panda]: this url cannot serve"),
    ],
)
def test_a_wrong_main_file_refuses_to_start(files: Files, text: str, problem: str) -> None:
    assert any(line.startswith(f"autopyfactory.conf{problem}") for line in refused(files, text))


def test_a_missing_file_is_all_that_is_said(files: Files) -> None:
    with pytest.raises(ConfigError) as caught:
        load(files.folder / "nothing.conf")
    said = "cannot be read: no such file or directory, name yours by --conf FILE or $APF_CONF"
    assert caught.value.problems == (f"{files.folder}/nothing.conf: {said}",)


def test_problems_of_queues_are_told_beside_those_of_the_main_file(files: Files) -> None:
    files.write("queues.conf", f"[Q]\n{QUEUE}max_pendin = 4\n")
    found = refused(files, MAIN + "[credential x]\n")
    assert len(found) == 2
    assert found[1].startswith("queues.conf:6: [Q] max_pendin: unknown option")


def test_a_reference_to_a_wrong_section_is_not_wrong_itself(files: Files) -> None:
    files.write("queues.conf", f"[Q]\n{QUEUE}source = ap1\n")
    assert len(refused(files, MAIN + "[schedd ap1]\ninterval = 5\n")) == 1


def test_a_plugin_that_cannot_be_imported_costs_its_queues_only(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[wms broken]\nurl = x\n")
    files.write("queues.conf", f"[Q]\n{QUEUE}[R]\n{QUEUE.replace('wms = panda', 'wms = broken')}")
    config = files.load()
    assert list(config.queues) == ["Q"]
    assert config.out == {"R"}
    assert files.texts() == [
        "autopyfactory.conf:5: [wms broken] plugin: the plug-in 'broken' cannot be imported, install what it needs: "
        "ImportError: no module named x",
        "queues.conf:7: [R] wms: [wms broken] at autopyfactory.conf:5 cannot be used: ImportError: no module named x",
    ]


def test_a_section_that_may_be_one_of_a_broken_backend_stops_nothing(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[schedd ap1]\nname = x\n")
    files.write(
        "queues.conf",
        f"[DEFAULT]\nspool = yes\n[Q]\n{QUEUE}",
    )
    texts = files.texts({(BATCH, "condor"): SyntaxError("oops")})
    assert texts[0].startswith("autopyfactory.conf:5: [schedd ap1]: unknown section, or one of a backend that cannot")
    assert "queues.conf:6: [Q] backend: 'condor' cannot be imported, install what it needs: SyntaxError: oops" in texts
    assert not any("spool" in text for text in texts)


def test_a_class_that_is_no_plugin_is_broken_and_not_a_crash(files: Files) -> None:
    files.write("queues.conf", f"[Q]\n{QUEUE}")
    [found] = files.texts({(BATCH, "condor"): object})
    assert "'condor' cannot be imported, install what it needs: AttributeError: type object 'object' has no" in found
    [found] = files.texts({(BATCH, "condor"): KeyError("x")})
    assert "KeyError: 'x'" in found


def test_the_words_for_what_pydantic_finds_otherwise(files: Files) -> None:
    class Odd:
        class Options(fields.Options):
            url: datetime
            word: Secret = Field(SecretStr("long"), min_length=3)

    files.write("queues.conf", "")
    main = MAIN.replace("http://panda.example.org", "soon\nword = x")
    files.write("autopyfactory.conf", main)
    with pytest.raises(ConfigError) as caught:
        files.load({(WMS, "panda"): Odd})
    first, second = caught.value.problems
    assert "[wms panda] url: 'soon' is not good: input should be a valid datetime" in first
    assert "[wms panda] word: the value is not good" in second or "the value is too short" in second


@pytest.mark.parametrize(
    ("of", "problem"),
    [
        ("panda", ""),
        ("panda, pandas", "[wms both] of: no section [wms pandas], there is both, panda, did you mean 'panda'?"),
        ("panda, both:X", "[wms both] of: it is made of itself (both > both), take one of them out"),
    ],
)
def test_sums_name_sections_that_are_there(tmp_path: Path, of: str, problem: str) -> None:
    (tmp_path / "autopyfactory.conf").write_text(
        f"[factory]\nid = F\n[wms panda]\nplugin = static\nactivated = 1\n[wms both]\nplugin = sum\nof = {of}\n"
    )
    (tmp_path / "queues.conf").write_text("")
    if not problem:
        assert not [found for found in load(tmp_path / "autopyfactory.conf").problems if not found.warning]
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "autopyfactory.conf")
    assert problem in [text.split(": ", 1)[1] for text in caught.value.problems]


def test_two_sections_of_one_schedd(files: Files) -> None:
    more = "[schedd ap1]\n[schedd ap2]\nname = b\n[schedd ap3]\ninterval = 10s\n[fork a]\n[fork b]\n"
    files.write("autopyfactory.conf", MAIN + more)
    files.write("queues.conf", f"[Q]\n{QUEUE}source = ap3\n")
    config = files.load()
    said = [files.shorten(str(problem)) for problem in config.problems]
    assert said == [
        "autopyfactory.conf:8: [schedd ap3]: warning: is the same schedd as [schedd ap1] at autopyfactory.conf:5, "
        "whose pilots count twice while queues use both; keep one"
    ]
    assert config.queues.keys() == {"Q"}
