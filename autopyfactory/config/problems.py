"""One thing wrong in a configuration file, said so that the admin can mend it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`text` says what is wrong and what to do; `queue` names the queue it takes out, if any.

    `warning` problems take nothing out. `line` is the option's own, or the section's head where
    something is missing; 0 when the file itself is the problem.
    """

    file: str
    line: int
    section: str
    option: str
    text: str
    warning: bool = False
    queue: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        head = f"{where}: [{self.section}]" if self.section else f"{where}:"
        name = f" {self.option}:" if self.option else (":" if self.section else "")
        return f"{head}{name} {'warning: ' if self.warning else ''}{self.text}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an option, before it is known whose file and line that is.

    `line` 0: that of the option, or the section's head. `missing`: the option is not there at all.
    """

    option: str
    text: str
    warning: bool = False
    line: int = 0
    missing: bool = False


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` with the closest known word, also where only the case differs; or ""."""
    by_lower = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word.lower()[:100], by_lower, n=1)
    return f", did you mean '{by_lower[close[0]]}'?" if close else ""
