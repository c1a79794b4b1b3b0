"""The admin's set-up script: sourced once at the start, so that grid tools and their variables are found."""

import logging
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from autopyfactory.errors import StartError

log = logging.getLogger(__name__)

DEADLINE_S = 30.0
_SHELLS_OWN = frozenset({"PWD", "OLDPWD", "SHLVL", "_", "COLUMNS", "LINES"})


def source(script: Path, deadline: float = DEADLINE_S) -> list[str]:
    """Source the script in a shell, take its variables over into ours, return the names that changed.

    What the script prints goes nowhere, its last words go into the error. Raises StartError when it
    ends the shell, has a mistake that does, or takes longer than `deadline` seconds.
    """
    if not os.access(script, os.R_OK):
        raise StartError(f"cannot read environment_script {script}, see [factory] environment_script")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _run(script, out, err, deadline)
        out.seek(0)
        variables = _parse(out.read())
        if code is None or not variables:
            raise StartError(f"environment_script {script} {_verdict(code, deadline)}{_last_words(err)}")
        if code:
            # Many a good one ends so, by a last line such as `[ -f x ] && . x`.
            text = "environment_script %s ended with code %d%s; where that is no failure, make it end with 'true'"
            log.warning(text, script, code, _last_words(err))
    return _take_over(variables)


def _run(script: Path, out: IO[bytes], err: IO[bytes], deadline: float) -> int | None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", '. "$0" >&2; set -- "$?"; /usr/bin/env -0; exit "$1"', str(script.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    try:
        return process.wait(deadline)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _parse(output: bytes) -> dict[str, str]:
    pairs = (entry.partition(b"=") for entry in output.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _verdict(code: int | None, deadline: float) -> str:
    if code is None:
        return f"did not end within {deadline:.0f} s"
    return f"ended the shell with code {code}, look for an 'exit', a 'set -e', or what /bin/sh does not understand"


def _last_words(err: IO[bytes]) -> str:
    err.seek(0)
    lines = err.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""


def _take_over(variables: dict[str, str]) -> list[str]:
    before = dict(os.environ)
    names = (before.keys() | variables.keys()) - _SHELLS_OWN
    changed = sorted(name for name in names if before.get(name) != variables.get(name))
    for name in changed:
        if name in variables:
            os.environ[name] = variables[name]
        else:
            del os.environ[name]
    return changed
