"""A slip of paper for each submission under way, so that no job contact is lost with the process that waits for it.

GRAM lists no jobs: a contact that is not written down is a pilot that nobody can count. globusrun writes it into a
file itself, which is there whether or not the factory, or its patience, has ended meanwhile.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from autopyfactory.batch.commands_words import Tags
from autopyfactory.batch.globus_words import contact_of
from autopyfactory.statefile import rewrite

KEEP = 3600.0
"""Seconds that a slip without a contact is kept: longer than any globusrun lives, and any request waits."""


@dataclass(frozen=True, slots=True)
class Slip:
    """One submission: `rsl` is the request, `answer` what globusrun writes its contact into."""

    tags: Tags
    proxy: str
    at: float
    rsl: Path
    answer: Path
    paper: Path

    def contact(self) -> str:
        """Return the contact that has come, "" while there is none. Raises OSError."""
        try:
            return contact_of(self.answer.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return ""

    def drop(self) -> None:
        """Throw it away."""
        for path in (self.rsl, self.answer, self.paper):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Slips:
    """The slips of one source, in a folder that only we can read. All raise OSError as the file system does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, tags: Tags, proxy: str, at: float, rsl: str) -> Slip:
        """Write down a submission before it is made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        slip = self._slip(tags, proxy, at)
        slip.rsl.write_text(rsl, encoding="utf-8")
        rewrite(slip.paper, json.dumps({"tags": asdict(tags), "proxy": proxy, "at": at}))
        return slip

    def left(self) -> Iterator[Slip]:
        """Return the slips that are there; one that cannot be read says nothing."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                paper = json.loads(path.read_text(encoding="utf-8"))
                yield self._slip(Tags(**paper["tags"]), str(paper["proxy"]), float(paper["at"]))
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                continue

    def _slip(self, tags: Tags, proxy: str, at: float) -> Slip:
        rsl, answer, paper = (self._folder / f"{tags.cid}.{suffix}" for suffix in ("rsl", "out", "json"))
        return Slip(tags, proxy, at, rsl, answer, paper)
