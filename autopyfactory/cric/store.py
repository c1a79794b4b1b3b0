"""The last good document of each catalogue, kept in `<state_dir>/cric`, so that a lost one costs nothing."""

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autopyfactory.cric.document import Document, Unusable, read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.sections import harvest

_MANY = 10
"""Sections below which a few that go out of service are no sign of a bad document."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A document, its digest, and the time it was last seen to be the current one, in seconds since the epoch."""

    document: Document
    digest: str
    at: float


def digest(content: bytes) -> str:
    """Return what tells a document from others."""
    return hashlib.sha256(content).hexdigest()


class Store:
    """Keep the last good document of one catalogue. Readers may be other processes."""

    def __init__(self, name: str, options: CricOptions, state_dir: Path) -> None:
        # Another origin is another document: it must not be measured by the last one.
        origin = hashlib.sha256(f"{options.url} {options.file}".encode()).hexdigest()[:8]
        self.path = state_dir / "cric" / f"{quote(name, safe='')}-{origin}.json"
        self._options = options

    def current(self) -> Kept | None:
        """Return the last good document; where none was kept yet, the file the section names.

        Opens no connection. Raises Unusable when neither can be used and there is one.
        """
        trouble = ""
        for path in (self.path, self._options.file):
            if path is None:
                continue
            try:
                content = path.read_bytes()
                return Kept(read(content), digest(content), path.stat().st_mtime)
            except FileNotFoundError:
                continue
            except (OSError, Unusable) as error:
                trouble = trouble or f"{path}: {getattr(error, 'strerror', None) or error}"
        if trouble:
            raise Unusable(trouble)
        return None

    def judge(self, content: bytes) -> Document:
        """Return the document in what was read. Raises Unusable for a broken one, Shrunk for one that lost too much.

        A document may keep all names and lose what stands below them, so the sections that it makes count too.
        """
        document = read(content)
        with suppress(Unusable):
            kept = self.current()
            if kept is not None:
                self._compare(len(document), len(kept.document), "queues")
                made, before = (len(harvest(one, self._options).sections) for one in (document, kept.document))
                if before >= _MANY:
                    self._compare(made, before, "CE queues to serve")
        return document

    def _compare(self, now: int, before: int, what: str) -> None:
        if now < self._options.min_part * before:
            text = f"it has {now} {what}, the last one had {before}: kept out; if that is meant, remove {self.path}"
            raise Shrunk(text)

    def keep(self, content: bytes) -> bool:
        """Keep a document that was judged and tell whether it is another one. Raises OSError."""
        with suppress(OSError):
            if self.path.read_bytes() == content:
                os.utime(self.path)
                return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".cric-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
            Path(temporary).replace(self.path)
        except OSError:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        return True


class Shrunk(Exception):
    """The document has lost more queues than is believed."""
