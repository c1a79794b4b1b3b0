"""A week of a hundred queues, replayed: what the models cost beside the factory's own cycles."""

import tempfile
from pathlib import Path

from autopyfactory.config.loader import load
from autopyfactory.simulate.arrivals import made_up
from autopyfactory.simulate.fleet import SiteOptions
from autopyfactory.simulate.model import Stream
from autopyfactory.simulate.replay import Replay
from benchmarks.decide import seconds
from benchmarks.table import show, times

QUEUES = 100
DAYS = 7.0
JOBS_PER_HOUR = 60.0

MAIN = "[factory]\nid = benchmark\n[wms panda]\nurl = http://panda.example.org\n"
DEFAULT = """\
[DEFAULT]
wms = panda
interval = 6m
rules = ready
max_per_cycle = 50
max_pending = 100
backend = condor
type = vanilla
"""


def main() -> None:
    """Measure and print."""
    names = [f"SITE_{k}" for k in range(QUEUES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "autopyfactory.conf"
        path.write_text(MAIN)
        (path.parent / "queues.conf").write_text(DEFAULT + "".join(f"[{n}]\nwmsqueue = {n}\n" for n in names))
        config = load(path)
    rows, idle = [], 0.0
    for title, per_hour in (
        ("no jobs: cycles alone", 0.0),
        (f"{JOBS_PER_HOUR:.0f} jobs an hour and queue", JOBS_PER_HOUR),
    ):
        replay = Replay(config, lambda queue: SiteOptions(), lag=120.0)
        arrivals = made_up([Stream(name) for name in names], DAYS, per_hour, seed=1)
        took = seconds(lambda replay=replay, arrivals=arrivals: replay.run(arrivals, DAYS))  # type: ignore[misc]
        idle = idle or took
        cycles = sum(course.cycles for course in replay.courses.values())
        jobs = sum(course.jobs for course in replay.courses.values())
        rows.append([title, str(cycles), str(jobs), f"{took:.0f}", times(took / idle), times(DAYS * 86400 / took)])
    show(
        f"{DAYS:.0f} days of {QUEUES} queues",
        ["", "cycles", "jobs", "seconds", "time : no jobs", "faster than life"],
        rows,
    )


if __name__ == "__main__":
    main()
