"""The script that travels: run by real shells, it hands on environment, arguments, exit code and nothing else."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.batch.script import LIMIT, read_wrapper, render
from autopyfactory.errors import Refused

SHELLS = [path for path in map(shutil.which, ("dash", "bash")) if path]
PRINT = '#!/bin/sh\nprintf "%s|" "$X" "$@"\n'


def run(script: str, folder: Path, shell: str = "/bin/sh") -> "subprocess.CompletedProcess[bytes]":
    """Run a script as a batch system does: from a file, in an environment of its own."""
    file = folder / "script"
    file.write_text(script)
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder)}
    return subprocess.run([shell, str(file)], env=environment, capture_output=True, timeout=20, check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_environment_arguments_and_exit_code(tmp_path: Path, shell: str) -> None:
    nasty = ["a b", "", "$HOME `id` \"q\" 'q'", "line\nbreak", "END_OF_WRAPPER", "ü*?\\"]
    done = run(render({"X": nasty[2]}, nasty, PRINT + "exit 7\n"), tmp_path, shell)
    assert done.returncode == 7
    assert done.stdout.decode() == "".join(f"{word}|" for word in [nasty[2], *nasty])
    assert done.stderr == b""
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_any_text_arrives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    done = run(render({"X": text}, [text], PRINT), tmp_path_factory.mktemp("any"))
    assert done.stdout.decode() == f"{text}|{text}|"


def test_the_wrapper_keeps_its_interpreter(tmp_path: Path) -> None:
    python = "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:], sys.stdin.read())\nsys.exit(5)\n"
    done = run(render({}, ["x"], python), tmp_path)
    assert (done.stdout, done.returncode) == (b"['x'] \n", 5)
    strict = run(render({}, [], "#!/bin/sh -e\nfalse\necho not reached\n"), tmp_path)
    assert (strict.stdout, strict.returncode) == (b"", 1)


def test_a_text_without_a_first_line_or_a_last_line_break(tmp_path: Path) -> None:
    assert run(render({}, [], "echo plain"), tmp_path).stdout == b"plain\n"


def test_a_wrapper_that_holds_the_mark(tmp_path: Path) -> None:
    text = "#!/bin/sh\ncat <<END_OF_WRAPPER\ninner\nEND_OF_WRAPPER\necho after\n"
    assert run(render({}, [], text), tmp_path).stdout == b"inner\nafter\n"


def test_signals_reach_the_wrapper(tmp_path: Path) -> None:
    text = "#!/bin/sh\ntrap 'echo caught; exit 9' TERM\nkill -TERM $$\nsleep 5\n"
    done = run(render({}, [], text), tmp_path)
    assert (done.stdout, done.returncode) == (b"caught\n", 9)
    assert run(render({}, [], "kill -KILL $$\n"), tmp_path).returncode == -signal.SIGKILL


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    file = tmp_path / "script.sh"
    file.write_text(render({"A": "it's", "B": "$x"}, ["a b", "-x"], "#!/bin/sh\necho\n"))
    done = subprocess.run(
        [shellcheck, "--severity=warning", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == ""


def test_what_cannot_travel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no name of an environment variable"):
        render({"a-b": "x"}, [], PRINT)
    with pytest.raises(Refused, match="NUL"):
        render({}, ["\0"], PRINT)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (LIMIT + 1))
    with pytest.raises(Refused, match="at most"):
        read_wrapper(large)
    large.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="is no script"):
        read_wrapper(large)
