"""What `formerly` may name."""

from pathlib import Path

import pytest

from autopyfactory.config.loader import load

MAIN = "[factory]\nid = F\n"
REST = "backend = condor\ntype = vanilla\nrules = fixed\nfixed = 1\n"


def problems(folder: Path, queues: str) -> list[str]:
    (folder / "autopyfactory.conf").write_text(MAIN)
    (folder / "queues.conf").write_text(queues)
    found = load(folder / "autopyfactory.conf").problems
    return [str(problem).replace(f"{folder}/", "") for problem in found]


def test_names_of_queues_that_are_no_more(tmp_path: Path) -> None:
    assert problems(tmp_path, f"[Q]\n{REST}formerly = OLD, OLDER\n") == []
    assert load(tmp_path / "autopyfactory.conf").queues["Q"].options.formerly == ("OLD", "OLDER")


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        (f"[Q]\n{REST}formerly = Q\n", "[Q] formerly: 'Q' is the name of this queue itself, take it out"),
        (
            f"[Q]\n{REST}formerly = R\n[R]\n{REST}enabled = no\n",
            "[Q] formerly: there is a section [R] at queues.conf:7, remove that or take the name out here",
        ),
        (f"[Q]\n{REST}formerly = X, X\n", "[Q] formerly: 'X' stands there twice, take one away"),
        (
            f"[Q]\n{REST}formerly = X\n[R]\n{REST}formerly = X\n",
            "[R] formerly: 'X' is adopted by [Q] at queues.conf:1 already, take it out of one of the two",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, queues: str, said: str) -> None:
    found = problems(tmp_path, queues)
    assert len(found) == 1
    assert found[0].partition(": ")[2] == said
    assert load(tmp_path / "autopyfactory.conf").out == {said[1]}


def test_a_disabled_heir_is_no_heir(tmp_path: Path) -> None:
    queues = f"[Q]\n{REST}formerly = X\nenabled = no\n[R]\n{REST}formerly = X\n"
    assert problems(tmp_path, queues) == []
