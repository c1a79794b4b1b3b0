"""What is done about pilots that nobody can ask for any more: their proxy is gone, or their CE is.

A pilot whose proxy file is gone is asked for with the one that its queue has now. One whose CE gives no answer is
written off in the end, or when an admin says so: it may still run, and is counted no more.
"""

from collections.abc import Iterable
from pathlib import Path

from autopyfactory.batch.commands_pilots import Pilots
from autopyfactory.batch.commands_record import KnownPilot
from autopyfactory.statefile import rewrite

WRITTEN_OFF = "removed from the count, written off: its CE gives no answer"
"""The fault of such a pilot; a removal (`EndedPilot.removed`), for it speaks against no CE."""


class Proxies:
    """The proxies that queues submitted with last; this process's own submissions tell more than the record."""

    def __init__(self) -> None:
        self._present: dict[str, str] = {}

    def chosen(self, queue: str, proxy: str) -> None:
        """Note what a queue submits with now."""
        self._present[queue] = proxy

    def renew(self, pilots: Iterable[KnownPilot]) -> None:
        """Give pilots whose proxy file is gone the one their queue submitted with last, if that is there."""
        listed = sorted(pilots, key=lambda pilot: pilot.accepted)
        there = {proxy for proxy in {*self._present.values(), *(one.user for one in listed)} if Path(proxy).is_file()}
        recorded = {pilot.tags.queue: pilot.user for pilot in listed if pilot.user in there}
        present = recorded | {queue: proxy for queue, proxy in self._present.items() if proxy in there}
        for pilot in listed:
            if pilot.user not in there:
                pilot.user = present.get(pilot.tags.queue, pilot.user)


class Notes:
    """Notes that `kill` leaves beside the factory: which pilots are written off. All raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, pilots: Iterable[tuple[str, str]]) -> None:
        """Write pilots off, by cid and id."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for cid, id_ in pilots:
            rewrite(self._folder / f"{cid}.id", id_)

    def take_in(self, book: Pilots, now: float, *, looking: bool) -> None:
        """Write off in the record what the notes say and is still unknown; a note of one not yet asked for stays."""
        unasked = {pilot.id for pilot in book.alive() if pilot.state is None}
        for path in sorted(self._folder.glob("*.id")):
            id_ = path.read_text(encoding="utf-8")
            book.write_off([id_], WRITTEN_OFF, now)
            if id_ not in unasked and not looking:
                path.unlink()
