"""Run globusrun with a proxy."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from autopyfactory.batch.commands_words import Answer
from autopyfactory.command import Run, Silent

# The contact comes at once and into a file, so that neither a deadline nor our own death loses it.
_NOTED = ("sh", "-c", 'out=$1; shift; exec stdbuf -oL "$@" >>"$out"', "sh")


class Globusrun:
    """The command, from a folder or from the PATH. Calls raise NotStarted or Silent."""

    def __init__(self, run: Run, folder: Path | None) -> None:
        self._run = run
        self._folder = folder

    def __call__(self, proxy: str, words: Sequence[str], deadline: float) -> Answer:
        """Return its answer."""
        return self._named(self.argv(proxy, words), deadline)

    def noted(self, file: Path, proxy: str, words: Sequence[str], deadline: float) -> Answer:
        """Return its answer, with what it prints in a file as soon as it is printed."""
        return self._named([*_NOTED, str(file), *self.argv(proxy, words)], deadline)

    def argv(self, proxy: str, words: Sequence[str]) -> list[str]:
        """Return the command line."""
        folder = self._folder
        path = (shutil.which("globusrun", path=folder) if folder else None) or shutil.which("globusrun") or "globusrun"
        return ["env", f"X509_USER_PROXY={proxy}", path, *words]

    def _named(self, argv: Sequence[str], deadline: float) -> Answer:
        """Name globusrun, where the one that ran was the shell or env before it."""
        try:
            return self._run(argv, deadline)
        except Silent as error:
            raise Silent(re.sub(r"^\S+: ", "globusrun: ", error.reason), stopped=error.stopped) from None
