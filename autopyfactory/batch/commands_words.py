"""The words between the command-line batch systems and the one class that drives them all (`commands`).

A system is an argv builder, a pure parser and a state map: it implements `Commands` and runs nothing
itself. Every parser is given the whole answer and looks for the expected form; neither rc 0 nor an empty
output means anything by itself.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from autopyfactory.batch import Order
from autopyfactory.command import Answer as Answer  # noqa: PLC0414  # one of these words: plug-ins find it here
from autopyfactory.model import PilotState

_MARK = "APF3"


class Unbelievable(Exception):
    """An answer that says nothing about the pilots; `reason` is one line for the admin."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def remedied(said: str, remedies: Mapping[str, str]) -> str:
    """Return a complaint with what an admin has to change, by the first text in it that has a remedy."""
    remedy = next((remedy for text, remedy in remedies.items() if text.lower() in said.lower()), "")
    return f"{said} ({remedy})" if remedy else said


def mebibytes(megabytes: int) -> int:
    """Return memory in powers of two, rounded up: a pilot gets at least what it asks for."""
    return -(-megabytes * 1_000_000 // (1024 * 1024))


@dataclass(frozen=True, slots=True)
class Tags:
    """What a pilot carries so that a listing alone tells whose it is; "" where a system has no room for it."""

    factory: str
    queue: str = ""
    submission: str = ""
    cid: str = ""
    host: str = ""
    endpoint: str = ""
    shape: str = ""

    def text(self) -> str:
        """Return the tags as one word of A-Za-z0-9 and `_.-~%:`, for a comment, name or description."""
        return ":".join([_MARK, *(quote(getattr(self, name), safe="") for name in self.__slots__)])

    @classmethod
    def read(cls, text: str) -> "Tags | None":
        """Return the tags that `text` wrote, None where it is not ours."""
        mark, *words = text.strip().split(":")
        if mark != _MARK or len(words) != len(fields(cls)):
            return None
        return cls(*map(unquote, words))


@dataclass(frozen=True, slots=True)
class NewPilot:
    """One pilot to submit. `script` is the whole text that travels; `file` holds it where a system needs a file.

    Output goes to `<order.log_dir>/<cid>.out` and `.err`.
    """

    order: Order
    tags: Tags
    script: str
    file: Path | None = None

    @property
    def cid(self) -> str:
        """Return the pilot's name."""
        return self.tags.cid

    @property
    def output(self) -> Path:
        """Return where its standard output goes."""
        return self.order.log_dir / f"{self.cid}.out"

    @property
    def error(self) -> Path:
        """Return where its standard error goes."""
        return self.order.log_dir / f"{self.cid}.err"

    @property
    def kept(self) -> Path:
        """Return where its script lies for a system that reads it only when the pilot starts."""
        return self.order.log_dir / f"{self.cid}.sh"


@dataclass(frozen=True, slots=True)
class End:
    """How a pilot ended. `exit_code` None: the system does not tell; `fault`: why it did not end by itself."""

    exit_code: int | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One job of a listing: `id` as the system's commands take it, its state, or its end when it has ended.

    `tags` None: the listing shows no tag of ours; it may still be known by its id from the record. `word` is
    the system's own word for the state, `user` the account it runs as and `node` its (first) node where the
    listing tells.
    """

    id: str
    tags: Tags | None
    state: PilotState | End
    word: str = ""
    user: str = ""
    node: str = ""


class Commands(Protocol):
    """What one batch system has to know. Nothing here runs a command, waits or raises OSError.

    A class that derives from it need not write what has a body here.
    """

    @property
    def needs_file(self) -> bool:
        """Tell whether the argv names the script as a file (`pilot.file`, readable by all), else it is on stdin."""
        return False

    @abstractmethod
    def submit(self, pilot: NewPilot) -> list[str]:
        """Return the command that submits one pilot. Raises Refused for what the system cannot carry."""
        ...

    @abstractmethod
    def submitted(self, answer: Answer) -> str:
        """Return the id the system gave. Raises Refused, or Ambiguous where it may have been taken all the same."""
        ...

    @abstractmethod
    def status(self) -> list[str]:
        """Return the one command that lists all pilots, of all queues and accounts, ended ones if possible."""
        ...

    @abstractmethod
    def listed(self, answer: Answer) -> Sequence[Seen]:
        """Return the jobs of the listing, foreign ones may be among them. Raises Unbelievable."""
        ...

    def history(self, ids: Sequence[str]) -> list[str] | None:
        """Return a command that tells the ends of jobs that are listed no more, None where there is none."""
        return None

    def told(self, answer: Answer) -> Mapping[str, End]:
        """Return the ends by id; ids that are not told are left out. Raises Unbelievable."""
        return {}

    @abstractmethod
    def remove(self, ids: Sequence[str]) -> list[str]:
        """Return the command that removes jobs."""
        ...

    def removed(self, answer: Answer, ids: Sequence[str]) -> int:
        """Return how many were removed or had ended already. Raises Unbelievable when the system did not answer."""
        if answer.rc:
            raise Unbelievable(answer.said())
        return len(ids)
