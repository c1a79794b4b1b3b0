"""What Grid Engine keeps of jobs that have ended: lines of its accounting file, or the blocks of `qacct -j`.

A job that was started twice has two records, and one that is held by an error has one before it has ended.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopyfactory.batch.commands_words import End

FAULTS = {
    1: "its node could not start it",
    7: "its node failed before the prolog",
    8: "the prolog of its node failed",
    9: "the parallel environment could not be started",
    10: "the parallel environment could not be started",
    11: "its node could not start it",
    14: "the epilog of its node failed",
    15: "the epilog of its node failed",
    19: "its node failed, or its shepherd was killed",
    21: "its node did not know it",
    25: "Grid Engine had put it back into the queue",
    26: "its output file could not be opened",
    27: "its node has not the shell",
    28: "its node has not the working directory",
    30: "its exit code is an error to Grid Engine",
    37: "exceeded its walltime, CPU time or memory",
}
"""What a failure of Grid Engine (sge_status(5)) is as a pilot's fault, where there is more to say than its number."""

_SIGNALLED, _KILL = 128, 9
_OVER, _BY_SIGNAL = 37, 100
_KEYS = ("jobnumber", "jobname", "failed", "exit_status", "ru_wallclock")
_NUMBER = re.compile(r"(\d+)")
_LIMIT = re.compile(r"\bh_rt=(\d+)(?!\d|:\d\d?:)")


@dataclass(frozen=True, slots=True)
class Account:
    """One job's record: what failed (0: nothing), its exit status, seconds that it ran, and that it had asked for."""

    id: str
    name: str
    failed: int
    status: int
    ran: float
    limit: float

    def end(self) -> End:
        """Return how the job ended; the exit status holds a signal only where something failed."""
        if not self.failed:
            return End(self.status)
        by_signal = self.failed in {_OVER, _BY_SIGNAL} and self.status > _SIGNALLED
        code = _SIGNALLED - self.status if by_signal else self.status or None
        if by_signal and self.ran >= self.limit:
            return End(code, "ran longer than its walltime")
        if self.failed == _BY_SIGNAL:
            return End(code, "removed, or killed on its node" if code == -_KILL else "")
        return End(code, FAULTS.get(self.failed, f"Grid Engine could not run it, failed {self.failed}"))


def lines(text: str) -> Iterator[Account]:
    """Read lines of the accounting file; the last one may be cut short."""
    for line in text.splitlines():
        words = line.split(":", 14)
        if len(words) == 15:
            yield from _read(words[5], words[4], words[11:14], words[14])


def blocks(text: str) -> Iterator[Account]:
    """Read the blocks of `qacct -j`: a line of = before each, a key and a value in every other line."""
    for block in re.split(r"^=+\s*$", text, flags=re.MULTILINE)[1:]:
        pairs = [line.split(None, 1) for line in block.splitlines()]
        said = {pair[0]: pair[1].strip() for pair in pairs if len(pair) > 1}
        id_, name, *words = (said.get(key, "") for key in _KEYS)
        yield from _read(id_, name, words, said.get("category", ""))


def _read(id_: str, name: str, words: Sequence[str], category: str) -> Iterator[Account]:
    """Read a record whose words begin with a number: `137  (Killed)`, `42s`, `100 : assumedly after job`."""
    failed, status, ran = (_NUMBER.match(word) for word in words)
    if failed and status and ran:
        limit = _LIMIT.search(category)
        most = float(limit[1]) if limit else float("inf")
        yield Account(id_, name, int(failed[1]), int(status[1]), float(ran[1]), most)
