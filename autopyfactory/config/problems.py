"""One thing wrong in a configuration file, said so that the admin can mend it."""

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
