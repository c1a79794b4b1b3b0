"""Remove pilots that wait for jobs that are not there any more."""

from autopyfactory.batch import Batch
from autopyfactory.model import PilotState

_WAITING = frozenset({PilotState.UNSENT, PilotState.PENDING})


def retire(batch: Batch, queue: str, surplus: int, now: float, after: float) -> int:
    """Remove at most `surplus` pilots of a queue that have waited for `after` seconds; return how many went.

    The newest go first, for they would start last; one whose time of submission is unknown stays.
    Raises SourceError.
    """
    waiting = [
        (pilot.submitted, pilot)
        for pilot in batch.pilots(queue, _WAITING)
        if pilot.submitted is not None and now - pilot.submitted >= after
    ]
    waiting.sort(key=lambda one: one[0], reverse=True)
    chosen = [pilot for _, pilot in waiting[:surplus]]
    return batch.remove_pilots(chosen) if chosen else 0
