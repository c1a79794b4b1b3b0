"""Whatever the files hold, `load` returns a configuration or raises ConfigError."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopyfactory.config.catalogue import Catalogue
from autopyfactory.config.loader import load
from autopyfactory.config.models import FactoryOptions, QueueOptions
from autopyfactory.config.sentences import declared
from autopyfactory.errors import ConfigError
from autopyfactory.sched.options import RuleOptions
from tests.unit.config.fakes import MAIN, QUEUE, Files

ANY = settings(
    max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
NAMES = st.sampled_from([*declared(QueueOptions), *declared(RuleOptions), *declared(FactoryOptions), "spool", "plugin"])
VALUES = st.one_of(
    st.text(string.printable, max_size=12),
    st.sampled_from(
        ["panda", "condor", "fork", "ready, fixed", "none", "1e999999", "9" * 5000, "%(cores)s", "[", "*/[", "/"]
    ),
)
OPTION = st.builds("{} = {}".format, NAMES, VALUES)
HEADER = st.sampled_from(["[factory]", "[wms panda]", "[schedd x]", "[A]", "[B]", "[DEFAULT]", "[", "[fork local]"])
LINE = st.one_of(OPTION, OPTION, HEADER, st.text(max_size=15))
FILE = st.one_of(
    st.binary(max_size=60), st.lists(LINE, max_size=15).map(lambda lines: "\n".join(lines).encode(errors="replace"))
)


def judged(files: Files) -> None:
    """Load, and see that every queue is served, disabled or out, and every error has its reason."""
    try:
        loaded = files.load()
    except ConfigError as error:
        assert error.problems
        # `queues` may name any path, so not every file is in our folder.
        assert all(problem.startswith("/") for problem in error.problems)
        return
    groups = [set(loaded.queues), set(loaded.disabled), set(loaded.out)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert loaded.out == {problem.queue for problem in loaded.problems if problem.queue}
    assert all(queue.options.source in loaded.sources for queue in loaded.queues.values())
    for problem in loaded.problems:
        assert "\n" not in str(problem)
        assert problem.text


@ANY
@given(FILE)
def test_any_main_file(files: Files, content: bytes) -> None:
    files.write("autopyfactory.conf", content)
    judged(files)


@ANY
@given(FILE, FILE)
def test_any_queue_files(files: Files, first: bytes, second: bytes) -> None:
    files.write("queues.conf", first)
    files.write("queues.d/a.conf", second)
    judged(files)


@ANY
@given(st.lists(OPTION, max_size=4), st.lists(OPTION, max_size=4))
def test_any_options(files: Files, main: list[str], queue: list[str]) -> None:
    files.write("autopyfactory.conf", MAIN + "\n".join(["[factory]", *main]).encode(errors="replace").decode())
    files.write("queues.conf", f"[Q]\n{QUEUE}" + "\n".join(queue))
    judged(files)


@ANY
@given(st.lists(OPTION, min_size=1, max_size=6), st.booleans())
def test_a_broken_section_never_touches_its_neighbours(files: Files, options: list[str], below: bool) -> None:
    sound, broken = f"[SOUND]\n{QUEUE}", "[BROKEN]\n" + "\n".join(options) + "\n"
    files.write("queues.conf", sound + broken if below else broken + sound)
    assert "SOUND" in files.load().queues


def test_ten_mistakes_of_ten_kinds_are_told_in_one_run(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "[credential prod]\nfile = /p\n")
    files.write(
        "queues.conf",
        f"""\
[DEFAULT]
wms = panda
backend = condor
type = vanilla
[TYPO]
wmsqueue = A
max_pendin = 5
[UNIT]
wmsqueue = B
interval = 5
[REFERENCE]
wmsqueue = C
proxy = prd
[RULE]
wmsqueue = D
rules = redy
[PERCENT]
wmsqueue = E
arguments = -x 100%
[PLUS]
wmsqueue = F
+Attribute = 1
[TWICE]
wmsqueue = G
cores = 1
cores = 8
[NO_VALUE]
wmsqueue = H
cores
[BACKEND]
wmsqueue = I
backend = condr
[EXECUTABLE]
wmsqueue = J
executable = {files.folder}/none
[GOOD]
wmsqueue = K
""",
    )
    assert files.texts() == [
        "queues.conf:7: [TYPO] max_pendin: unknown option, did you mean 'max_pending'?",
        "queues.conf:10: [UNIT] interval: '5' is no duration, write for example 90s, 10m, 1h30m or 2d",
        "queues.conf:13: [REFERENCE] proxy: no section [credential prd] in the main file (name one or an absolute "
        "path), there is prod, did you mean 'prod'?",
        "queues.conf:16: [RULE] rules: 'redy' is no rule, did you mean 'ready'? (known: ready, weighted, "
        "fixed, scale, fill, min_per_cycle, min_pending, keep_running, keep_pending, probe)",
        "queues.conf:19: [PERCENT] arguments: a lone % (here or in an option it names), write %% or %(option)s",
        "queues.conf:22: [PLUS] +Attribute: an attribute is written 'submit.+Attribute = ...'",
        "queues.conf:26: [TWICE] cores: stands twice, first at queues.conf:25, take one away",
        "queues.conf:29: [NO_VALUE]: this line is no 'option = value', write one or begin the line with #",
        "queues.conf:32: [BACKEND] backend: 'condr' is no backend, did you mean 'condor'? (known: batch, "
        "condor, fork, globus, strict)",
        "queues.conf:35: [EXECUTABLE] executable: there is no file none, install it or correct the path",
    ]
    assert list(files.load().queues) == ["GOOD"]


def test_a_secret_is_in_no_problem_and_no_repr(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN + "password = hunter2\n[static]\n")
    with pytest.raises(ConfigError) as caught:
        files.load()
    assert "hunter2" not in str(caught.value)
    files.write("autopyfactory.conf", MAIN + "password = hunter2\n")
    files.write("queues.conf", f"[Q]\n{QUEUE}")
    assert "hunter2" not in repr(files.load())


def test_every_option_of_the_shipped_plugins_is_declared_once() -> None:
    shipped = Catalogue()
    assert shipped.all_usable
    models = [QueueOptions, RuleOptions, *(kind.QueueOptions for kind in shipped.usable.values())]
    # What several backends inherit is one declaration.
    options = {(name, field.description) for model in models for name, field in declared(model).items()}
    assert len(options) == len({name for name, _ in options})


def test_a_host_without_a_name_for_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert FactoryOptions(id="x").user.isdigit()


def test_the_shipped_main_file_is_read() -> None:
    assert load(Path(__file__).parents[3] / "etc" / "autopyfactory.conf").factory.id
