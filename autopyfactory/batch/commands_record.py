"""What a command-line backend remembers of its pilots, for what the system's listing cannot show.

One file per source, `<state_dir>/<system>/<source>/pilots.jsonl`: a line when a pilot is accepted or first
seen, one when it is seen in another state, one when it has ended. A lost file costs no pilot: the tags in the
listing bring it back.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autopyfactory.batch.commands_words import End, Tags
from autopyfactory.model import PilotState
from autopyfactory.statefile import rewrite

log = logging.getLogger(__name__)

REMEMBER = 1800.0
"""Seconds that an ended pilot can be asked for after its end, longer while the listing still shows it."""

_SPARE_LINES = 1000


@dataclass(slots=True)
class KnownPilot:
    """One pilot on record. `state` None: no listing has shown it yet; `missed` counts the good listings without it.

    `told`: its end has been reported, if a listing should show it alive again. `since` is when a listing first
    showed it in `entered`, its state then; `waited` when one last showed that it had not started, or when it was
    accepted; `node` is where it ran.
    """

    id: str
    tags: Tags
    accepted: float
    user: str = ""
    state: PilotState | None = None
    word: str = ""
    end: End | None = None
    ended: float = 0.0
    missed: int = 0
    told: bool = False
    entered: PilotState | None = None
    since: float | None = None
    node: str = ""
    waited: float = 0.0

    def __post_init__(self) -> None:
        self.waited = self.waited or self.accepted


class Record:
    """The pilots of one source, by the system's id, in memory and in a file. Not safe from many threads.

    Raises OSError as the file system does.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "pilots.jsonl"
        self._lines = 0
        self._torn = False
        self.pilots: dict[str, KnownPilot] = {}

    def load(self, now: float) -> None:
        """Read the file, drop what ended long ago and write it anew."""
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        for line in text.splitlines():
            try:
                self._read(json.loads(line))
            except (ValueError, KeyError, TypeError):
                log.warning("%s: skipped a broken line: %.60s", self._path, line)
        self.forget(now, frozenset())
        self._write()

    def add(self, pilot: KnownPilot) -> None:
        """Keep a pilot; one of the same id and name that a listing brought first stays."""
        known = self.pilots.get(pilot.id)
        if known is not None and known.tags.cid == pilot.tags.cid:
            known.user = known.user or pilot.user
            return
        self.pilots[pilot.id] = pilot
        self._append(_paper(pilot))

    def enter(self, pilot: KnownPilot, state: PilotState, at: float) -> None:
        """Keep the state that a listing shows a pilot in, and since when; after a restart it is still that time."""
        pilot.state = state
        if pilot.entered is not state:
            pilot.entered, pilot.since = state, at
            self._append({"id": pilot.id, "entered": state, "since": at})

    def finish(self, pilot: KnownPilot, end: End, at: float) -> None:
        """Keep how a pilot ended."""
        pilot.end, pilot.ended = end, at
        self._append({"id": pilot.id, "ended": at, **asdict(end)})

    def forget(self, now: float, listed: frozenset[str]) -> None:
        """Drop pilots that ended long ago and are not listed any more."""
        old = [id_ for id_, one in self.pilots.items() if one.end and one.ended < now - REMEMBER and id_ not in listed]
        for id_ in old:
            del self.pilots[id_]
        if self._torn or self._lines > 4 * len(self.pilots) + _SPARE_LINES:
            self._write()

    def _read(self, paper: dict[str, Any]) -> None:
        if "ended" in paper:
            pilot = self.pilots[paper["id"]]
            pilot.end, pilot.ended = End(paper["exit_code"], paper["fault"]), paper["ended"]
            pilot.told = True
        elif "entered" in paper:
            pilot = self.pilots[paper["id"]]
            pilot.entered, pilot.since = PilotState(paper["entered"]), paper["since"]
        else:
            self.pilots[paper["id"]] = KnownPilot(paper["id"], Tags(**paper["tags"]), paper["accepted"], paper["user"])

    def _append(self, paper: dict[str, Any]) -> None:
        """Add a line; after one that a full disk has lost or cut short the whole file is written anew instead."""
        if self._torn:
            self._write()
            return
        self._torn = True
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(paper)}\n")
        self._torn = False
        self._lines += 1

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        papers = [_paper(pilot) for pilot in self.pilots.values()]
        papers += [{"id": p.id, "entered": p.entered, "since": p.since} for p in self.pilots.values() if p.entered]
        papers += [{"id": p.id, "ended": p.ended, **asdict(p.end)} for p in self.pilots.values() if p.end]
        rewrite(self._path, "".join(f"{json.dumps(paper)}\n" for paper in papers))
        self._lines, self._torn = len(papers), False


class RecordView(Record):
    """The record as another process sees it, beside the daemon: nothing is written."""

    def _append(self, paper: dict[str, Any]) -> None:
        pass

    def _write(self) -> None:
        pass


def _paper(pilot: KnownPilot) -> dict[str, Any]:
    return {"id": pilot.id, "tags": asdict(pilot.tags), "accepted": pilot.accepted, "user": pilot.user}
