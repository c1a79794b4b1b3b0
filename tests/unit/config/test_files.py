from pathlib import Path

import pytest

from autopyfactory.config.loader import load
from tests.unit.config.fakes import MAIN, QUEUE, Files


def outcome(files: Files) -> tuple[list[str], set[str]]:
    config = files.load()
    return list(config.queues), set(config.out)


def test_queue_files_are_read_in_the_order_of_their_names(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}")
    files.write("queues.d/20.conf", f"[C]\n{QUEUE}")
    files.write("queues.d/10.conf", f"[B]\n{QUEUE}")
    files.write("queues.d/.hidden.conf", "oops")
    files.write("queues.d/note.txt", "oops")
    assert outcome(files) == (["A", "B", "C"], set())
    assert files.texts() == []


def test_an_empty_or_missing_queues_d_is_fine(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}")
    assert files.texts() == []
    (files.folder / "queues.d").mkdir()
    assert files.texts() == []


def test_a_missing_queues_conf_is_fine_beside_queues_d_only(files: Files) -> None:
    assert files.texts() == [
        "queues.conf: cannot be read: no such file or directory, write it, or name your queue files in [factory] queues"
    ]
    files.write("queues.d/a.conf", f"[A]\n{QUEUE}")
    assert files.texts() == []


def test_no_queue_at_all_is_worth_a_warning(files: Files) -> None:
    files.write("queues.conf", "; nothing yet\n")
    assert files.texts() == ["autopyfactory.conf: warning: there is no queue yet, write one in queues.conf"]


def test_the_main_file_can_name_others(files: Files) -> None:
    files.write(
        "autopyfactory.conf", MAIN.replace("id = test", f"id = test\nqueues = a.conf, {files.folder}/q/*.cfg, q/b.cfg")
    )
    files.write("queues.conf", "oops")
    files.write("a.conf", f"[A]\n{QUEUE}")
    files.write("q/b.cfg", f"[B]\n{QUEUE}")
    assert outcome(files) == (["A", "B"], set())


def test_a_default_stands_in_one_named_file_only(files: Files) -> None:
    files.write("queues.conf", f"[DEFAULT]\n{QUEUE}\n[A]\n")
    files.write("queues.d/a.conf", "[DEFAULT]\nmax_pending = 1\n[B]\n[C]\n")
    files.write("queues.d/b.conf", "[D]\n")
    assert outcome(files) == (["A", "D"], {"B", "C"})
    assert files.texts() == [
        "queues.d/a.conf:1: [DEFAULT]: can stand only once, and in no file found by a pattern, the one that serves all "
        "queues is at queues.conf:1"
    ]


def test_a_default_in_queues_d_alone_is_wrong_too(files: Files) -> None:
    files.write("queues.d/a.conf", f"[DEFAULT]\n{QUEUE}\n[B]\n")
    assert files.texts() == [
        "queues.d/a.conf:1: [DEFAULT]: can stand only once, and in no file found by a pattern, write it in queues.conf"
    ]


def test_a_default_that_stands_twice_in_its_file_takes_all_out(files: Files) -> None:
    files.write("queues.conf", f"[DEFAULT]\n{QUEUE}[A]\n[DEFAULT]\nmax_pending = 1\n")
    files.write("queues.d/a.conf", "[B]\n")
    assert outcome(files) == ([], {"A", "B"})


def test_a_section_that_stands_twice_names_both_places(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}[B]\n{QUEUE}")
    files.write("queues.d/a.conf", f"[A]\n{QUEUE}")
    assert outcome(files) == (["B"], {"A"})
    assert files.texts() == [
        "queues.d/a.conf:1: [A]: stands twice, first at queues.conf:1, rename one or make one of the two"
    ]


@pytest.mark.parametrize("default", ["[default]", "[Default]"])
def test_another_spelling_of_default_takes_all_out(files: Files, default: str) -> None:
    files.write("queues.conf", f"{default}\nmax_pending = 1\n[A]\n{QUEUE}")
    assert outcome(files) == ([], {"A"})
    assert files.texts() == [f"queues.conf:1: {default}: what serves all queues is written [DEFAULT]"]


@pytest.mark.parametrize(
    ("content", "out"),
    [
        (f"[DEFAULT]\noops\n[A]\n{QUEUE}[B]\n{QUEUE}", {"A", "B", "D"}),
        (f"[DEFAULT]\nmax_pending = 1\nmax_pending = 2\n[A]\n{QUEUE}[B]\n{QUEUE}", {"A", "B", "D"}),
        (f"[DEFAULT\nmax_pending = 1\n[A]\n{QUEUE}[B]\n{QUEUE}", {"A", "B", "D"}),
        (f"max_pending = 1\n[A]\n{QUEUE}[B]\n{QUEUE}", {"A", "B", "D"}),
        (f"[A]\n{QUEUE}oops\n[B]\n{QUEUE}", {"A"}),
        (f"[A\n{QUEUE}[B]\n{QUEUE}", {"A"}),
        (f"[A]\n{QUEUE}batchqueue = x[B]\n{QUEUE}", {"A"}),
        (f"[A]\n{QUEUE}max_pending = 1\n  max_pilots = 1\n[B]\n{QUEUE}", {"A"}),
        (f"[A]\n{QUEUE}[B]\nrules = redy\n{QUEUE}", {"B"}),
    ],
)
def test_an_error_takes_out_what_it_must_and_no_more(files: Files, content: str, out: set[str]) -> None:
    files.write("queues.conf", content)
    files.write("queues.d/d.conf", f"[D]\n{QUEUE}")
    assert outcome(files) == ([name for name in "ABD" if name not in out], out)


def test_an_unreadable_file_of_queues_d_costs_no_other_queue(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}")
    (files.folder / "queues.d" / "a.conf").mkdir(parents=True)
    assert outcome(files) == (["A"], set())
    assert files.texts() == ["queues.d/a.conf: is no regular file"]


def test_an_unreadable_queues_conf_takes_all_out_for_its_defaults_are_unknown(files: Files) -> None:
    (files.folder / "queues.conf").mkdir()
    files.write("queues.d/a.conf", f"[A]\n{QUEUE}")
    assert outcome(files) == ([], {"A"})


def test_what_a_queue_lacks_is_not_held_against_it_when_its_defaults_are_unknown(files: Files) -> None:
    (files.folder / "queues.conf").mkdir()
    files.write("queues.d/a.conf", "[A]\nfixed = 1\n")
    assert files.texts() == ["queues.conf: is no regular file"]


def test_a_problem_of_default_is_told_once_and_takes_out_every_queue(files: Files) -> None:
    files.write("queues.conf", f"[DEFAULT]\nmax_pendin = 5\ninterval = 5\n[A]\n{QUEUE}[B]\n{QUEUE}")
    assert outcome(files) == ([], {"A", "B"})
    assert files.texts() == [
        "queues.conf:2: [DEFAULT] max_pendin: unknown option, did you mean 'max_pending'?",
        "queues.conf:3: [DEFAULT] interval: '5' is no duration, write for example 90s, 10m, 1h30m or 2d",
    ]


def test_the_shipped_samples_are_clean() -> None:
    config = load(Path(__file__).parents[3] / "etc" / "autopyfactory.conf")
    assert not config.problems
    assert list(config.queues) == ["MY_SITE"]
