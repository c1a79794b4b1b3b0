"""Ask for new documents on a timer, in one thread, and report while the configuration was made from another one."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autopyfactory.clock import Clock
from autopyfactory.cric.document import Unusable, read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.store import Shrunk, Store, digest
from autopyfactory.http import Answer, Http, NoAnswer
from autopyfactory.logs import mask

log = logging.getLogger(__name__)

Get = Callable[[str, Mapping[str, str], float], Answer]

_HEADERS = {"Accept": "application/json"}


class Unreachable(Exception):
    """There is no answer, or none that could be a document; the message says why."""


class SiteCatalogue:
    """One document and where it comes from. Used by one thread, but for `close`."""

    def __init__(self, name: str, options: CricOptions, state_dir: Path, *, get: Get | None = None) -> None:
        self.name = f"cric {name}"
        self.options = options
        self._store = Store(name, options, state_dir)
        self._http = Http(self.name, proxy=options.http_proxy, ca=options.ca, client=options.client)
        self._get = get or self._http.get
        self._said = ""

    def refresh(self) -> str:
        """Look at the document and return the digest of the last good one, "" while none was seen.

        What is wrong is one WARNING.
        """
        try:
            content = self.fetch()
            document = self._store.judge(content)
            changed = self._store.keep(content)
        except (Unreachable, Unusable, Shrunk, OSError) as error:
            self._warn(f"{self.options.origin}: {error}; the last good document serves on")
            return self._last()
        if self._said:
            log.info("%s: %s is good again", self.name, self.options.origin)
        self._said = ""
        if changed:
            log.info("%s: a new document with %d queues from %s", self.name, len(document), self.options.origin)
        return digest(content)

    def _last(self) -> str:
        kept = None
        with suppress(Unusable):
            kept = self._store.current()
        return kept.digest if kept else ""

    def fetch(self) -> bytes:
        """Return the document as it is now. Raises Unreachable."""
        if self.options.file:
            try:
                return self.options.file.read_bytes()
            except OSError as error:
                raise Unreachable(f"cannot be read: {(error.strerror or str(error)).lower()}") from None
        if len(self.options.addresses) == 1:
            return self._ask(self.options.addresses[0])
        return json.dumps(self._single()).encode()

    def close(self) -> None:
        """Give up what is under way, from another thread."""
        self._http.close()

    def _single(self) -> dict[str, Any]:
        """Ask for each queue's own document; one that fails keeps its last one."""
        found: dict[str, Any] = {}
        for name, address in zip(self.options.queues, self.options.addresses, strict=True):
            try:
                content = self._ask(address)
                read(content)
                found[name] = json.loads(content)
            except (Unreachable, Unusable) as error:
                before = self._before().get(name)
                log.warning("%s: %s: %s%s", self.name, mask(address), error, "; its last one serves on" * bool(before))
                if before:
                    found[name] = before
        if not found:
            raise Unreachable("no queue's document could be had")
        return found

    def _before(self) -> dict[str, Any]:
        try:
            paper = json.loads(self._store.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return paper if isinstance(paper, dict) else {}

    def _ask(self, address: str) -> bytes:
        try:
            answer = self._get(address, _HEADERS, self.options.deadline)
        except NoAnswer as error:
            raise Unreachable(error.reason) from None
        if not answer.ok:
            raise Unreachable(f"the answer is HTTP {answer.status}")
        return answer.body

    def _warn(self, text: str) -> None:
        if text != self._said:
            log.warning("%s: %s", self.name, text)
        self._said = text


class Refresher:
    """Keep the documents of all catalogues fresh.

    `on_change` is told, from its thread, at each look that finds another document than the configuration was made
    from: it may have been refused for something else, which is mended later.
    """

    def __init__(
        self, clock: Clock, on_change: Callable[[], None], *, make: Callable[..., SiteCatalogue] = SiteCatalogue
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._make = make
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._catalogues: dict[str, SiteCatalogue] = {}
        self._due: dict[str, float] = {}
        self._served: Mapping[str, str] = {}
        self._thread: threading.Thread | None = None

    def serve(self, sections: Mapping[str, CricOptions], state_dir: Path, documents: Mapping[str, str]) -> None:
        """Go over to these catalogues; those that did not change keep their time.

        `documents` are the digests of what the configuration was made from, by catalogue.
        """
        with self._lock:
            self._served = documents
            for name in list(self._catalogues):
                if sections.get(name) != self._catalogues[name].options:
                    self._catalogues.pop(name).close()
                    self._due.pop(name, None)
            for name, options in sections.items():
                if name not in self._catalogues:
                    self._catalogues[name] = self._make(name, options, state_dir)
                    self._due[name] = 0.0
            if self._catalogues and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cric", daemon=True)
                self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """Give up what is under way and end the thread."""
        with self._lock:
            self._stopped = True
            for catalogue in self._catalogues.values():
                catalogue.close()
        self._wake.set()

    def look(self) -> float:
        """Refresh the catalogues that are due and return the seconds until the next one is."""
        changed = False
        for name, catalogue in self._at_hand():
            try:
                kept = catalogue.refresh()
            except Exception:
                log.exception("%s: a bug, its last document serves on", catalogue.name)
                kept = ""
            with self._lock:
                if self._catalogues.get(name) is catalogue:
                    changed |= kept not in {"", self._served.get(name, "")}
                    self._due[name] = self._clock.now() + catalogue.options.refresh
        if changed and not self._stopped:
            self._on_change()
        with self._lock:
            return max(0.0, min(self._due.values(), default=3600.0) - self._clock.now())

    def _at_hand(self) -> list[tuple[str, SiteCatalogue]]:
        with self._lock:
            now = self._clock.now()
            return [(name, one) for name, one in self._catalogues.items() if self._due[name] <= now]

    def _run(self) -> None:
        while not self._stopped:
            wait = self.look()
            self._wake.wait(wait)
            self._wake.clear()
