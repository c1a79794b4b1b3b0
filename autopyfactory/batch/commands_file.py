"""The script of a pilot as a file, for the batch systems that do not read it on stdin."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from autopyfactory.batch.commands_words import NewPilot
from autopyfactory.errors import Refused


@contextmanager
def script_file(pilot: NewPilot, *, stays: bool) -> Iterator[NewPilot]:
    """Lend the pilot with its script in a file that the account it runs as can read. Raises Refused.

    `stays`: the file lies beside the pilot's output, in the folder that is there, and is taken away only when the
    pilot is refused.
    """
    try:
        if stays:
            with _kept(pilot.kept):
                yield _filled(pilot, pilot.kept, 0o644 if pilot.order.queue.options.submit_user else 0o600)
        else:
            with tempfile.NamedTemporaryFile(prefix="apf-", suffix=".sh") as file:
                yield _filled(pilot, Path(file.name), 0o644)
    except OSError as error:
        raise Refused(f"cannot write the script of a pilot: {error}") from None


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    # Others may write into the folder: what lies there under this name already is not ours.
    path.touch(0o600, exist_ok=False)
    try:
        yield
    except Refused:
        path.unlink(missing_ok=True)
        raise


def _filled(pilot: NewPilot, path: Path, mode: int) -> NewPilot:
    path.write_text(pilot.script, encoding="utf-8")
    path.chmod(mode)
    return replace(pilot, file=path)
