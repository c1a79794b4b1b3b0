"""What stands outside of cycles: whether a queue is served at all, and when silence means something."""

from autopyfactory.config.models import Config
from autopyfactory.diagnosis.words import Cause
from autopyfactory.record.book import APART
from autopyfactory.report import CycleReport


def silent(report: CycleReport) -> float:
    """Return the seconds after a cycle that say that none came: cycles may be late, and are written in batches."""
    return APART * report.interval + 60.0


def not_served(config: Config | None, name: str) -> Cause | None:
    """Return why the configuration does not serve a queue, None when it does or cannot be read."""
    if config is None or name in config.queues:
        return None
    if name in config.out:
        mine = [str(problem) for problem in config.problems if problem.queue == name]
        change = "mend it, 'autopyfactory check' tells all problems, then reload the factory"
        return Cause("out", f"its section has mistakes: {mine[0] if mine else 'see check'}", change)
    if name in config.disabled:
        place = config.origins.get((name, "enabled"), str(config.path))
        return Cause("disabled", f"the queue is disabled, enabled = no at {place}", "set enabled = yes and reload")
    return Cause("gone", "it is not in the configuration any more", "write its section again and reload")
