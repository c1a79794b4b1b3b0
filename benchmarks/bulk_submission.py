"""What one submission of many pilots saves on a real HTCondor pool, and one grouped query against a full one.

It needs what `scripts/prepare-testbed .testbed` makes. The pool runs as an ordinary user (apftest where we
are root); the measuring part runs as that user too, for nobody submits to HTCondor as root.
"""

import json
import os
import pwd
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from autopyfactory.batch import Context, Order, condor_child, condor_pilots
from autopyfactory.batch.condor_child import GROUP_KEYS, Target
from autopyfactory.batch.condor_submit import render
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.model import Shape
from autopyfactory.sched.options import RuleOptions
from benchmarks.table import show, times
from tests.testbed.condor import CondorPool

CHECKOUT = Path(__file__).resolve().parent.parent
COUNTS = (10, 50, 200)
JOBS = (1000, 5000)
QUEUES = 50
ROUNDS = 5
LOCAL = Target()


class Line(NamedTuple):
    """Two ways to the same, in seconds."""

    what: int
    many: float
    one: float


def description(folder: Path, number: int, submission: str) -> dict[str, str]:
    """Return what the factory would hand to HTCondor for one submission of a queue."""
    factory = FactoryOptions(id="benchmark", host="here", user="benchmark")
    options = QueueOptions(backend="condor", type="vanilla")
    queue = QueueConfig(f"SITE_{number:03d}", options, Options(), RuleOptions(), {}, {"requirements": "False"})
    order = Order(submission, queue, "here", Shape(1, 100), 1, Path("/bin/true"), folder)
    return render(Context(factory, Clock()), order)


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def submitting(folder: Path, count: int) -> Line:
    """Compare submissions of one pilot with one submission of all; they take turns."""
    many, one = [], []
    for k in range(ROUNDS):
        single = description(folder, 0, f"single-{count}-{k}")
        bulk = description(folder, 0, f"bulk-{count}-{k}")
        many.append(seconds(lambda single=single: [condor_child.submit(LOCAL, single, 1, False) for _ in range(count)]))  # type: ignore[misc]
        one.append(seconds(lambda bulk=bulk: condor_child.submit(LOCAL, bulk, count, False)))  # type: ignore[misc]
    condor_pilots.remove(LOCAL, 'APF_FACTORY == "benchmark"')
    return Line(count, median(many), median(one))


def asking(schedd: Any, jobs: int) -> Line:
    """Compare the query of every pilot with our tags, not yet added up, with the grouped one."""
    many, one = [], []
    for _ in range(ROUNDS):
        many.append(seconds(lambda: schedd.query('APF_FACTORY == "benchmark" && JobStatus == 1', list(GROUP_KEYS))))
        one.append(seconds(lambda: condor_child.survey(LOCAL, "benchmark")))
    survey = condor_child.survey(LOCAL, "benchmark")
    counted = sum(int(group["JobCount"]) for group in survey.groups if group["JobStatus"] == 1)
    assert counted == jobs, f"{counted} of {jobs} pilots in the grouped answer"
    return Line(jobs, median(many), median(one))


def inside(folder: Path) -> dict[str, Sequence[Line]]:
    """Measure as the pool's user."""
    import htcondor2  # noqa: PLC0415  # reads its configuration once, when it is imported

    schedd = htcondor2.Schedd()
    condor_child.submit(LOCAL, description(folder, 0, "first"), 1, False)
    submissions = [submitting(folder, count) for count in COUNTS]
    while schedd.query("true", ["ClusterId"]):
        time.sleep(0.2)
    queries, there = [], 0
    for jobs in JOBS:
        share = (jobs - there) // QUEUES
        for number in range(QUEUES):
            condor_child.submit(LOCAL, description(folder, number, f"fill-{jobs}-{number}"), share, False)
        there = jobs
        queries.append(asking(schedd, jobs))
    return {"submissions": submissions, "queries": queries}


def outside() -> dict[str, list[Line]]:
    """Start a pool, measure there as its user, and end it."""
    user = "apftest" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    testbed = CHECKOUT / ".testbed"
    base = Path(tempfile.mkdtemp(prefix="apf-benchmark-"))
    base.chmod(0o755)
    try:
        with CondorPool(base / "pool", user, testbed / "htcondor", slots=1, extra="START = False") as pool:
            if os.getuid() == 0:
                shutil.chown(base, user)
            path = f"PYTHONPATH={CHECKOUT}"
            argv = ["env", path, sys.executable, "-m", "benchmarks.bulk_submission", "--inside", str(base)]
            answer = json.loads(pool.run(argv, timeout=500).splitlines()[-1])
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {name: [Line(*line) for line in lines] for name, lines in answer.items()}


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(inside(Path(sys.argv[2]))))
        return
    found = outside()
    tables = (
        ("submissions", "submission of N pilots", ["N", "N calls", "one call, count=N", "N calls : one"]),
        ("queries", f"query of N pilots in {QUEUES} queues", ["N", "full", "grouped", "full : grouped"]),
    )
    for key, title, head in tables:
        rows = [
            [str(line.what), f"{line.many * 1e3:.0f} ms", f"{line.one * 1e3:.0f} ms", times(line.many / line.one)]
            for line in found[key]
        ]
        show(title, head, rows)


if __name__ == "__main__":
    main()
