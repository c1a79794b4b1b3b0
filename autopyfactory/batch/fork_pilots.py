"""The fork backend's pilots one by one, from its files alone: also beside the process that keeps them."""

from collections.abc import Iterator
from pathlib import Path

from autopyfactory.batch.fork_files import ForkFiles, Record, alive, terminate
from autopyfactory.model import Pilot, PilotState

DROPPED = "removed before it started"


def listed(folder: Path, factory: str) -> Iterator[Pilot]:
    """Return a factory's pilots that have not ended. Raises OSError, ValueError."""
    files = ForkFiles(folder)
    for record in files.submissions():
        if record.factory == factory:
            for cid in record.cids():
                if files.end(cid) is None:
                    yield _pilot(files, record, cid)


def _pilot(files: ForkFiles, record: Record, cid: str) -> Pilot:
    claimed = files.claimed(cid)
    state = PilotState.PENDING if claimed is None else PilotState.RUNNING
    since = record.queued if claimed is None else claimed
    return Pilot(cid, record.queue, state, cid, record.submission, record.endpoint, record.queued, since)


def remove(folder: Path, pilot: Pilot) -> bool:
    """Drop a waiting pilot, or tell a running one to end (TERM, after the grace KILL).

    One that has started since it was listed as waiting goes on.
    """
    files = ForkFiles(folder)
    claim = files.claim(pilot.id)
    if claim is None and files.drop(pilot.id, DROPPED):
        return True
    claim = files.claim(pilot.id) or ""
    if pilot.state is PilotState.PENDING or not alive(claim):
        return False
    terminate(claim)
    return True
