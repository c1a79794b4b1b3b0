"""What the pure parts cost: decisions by the length of the chain, and five hundred queues read from their file.

Each ratio compares with the least that could do the work: the shortest chain, the standard configparser.
"""

import configparser
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median

from autopyfactory.config.loader import load
from autopyfactory.model import JobCount, PilotCounts, Site
from autopyfactory.sched import chain, decide
from autopyfactory.sched.demand import Claim, Demand, part
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import QueueState
from benchmarks import site
from benchmarks.table import show, times

QUEUES = 500
ROUNDS = 5
DECISIONS = 3000


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one run."""
    began = time.process_time()
    work()
    return time.process_time() - began


def side_by_side(*works: Callable[[], object]) -> list[float]:
    """Return each one's median time; they take turns, so that a busy machine slows all alike."""
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS)]
    return [median(column) for column in zip(*rounds, strict=True)]


def deciding(rules: tuple[str, ...], options: RuleOptions) -> Callable[[], None]:
    """Return a run of many decisions of one chain."""
    rows = chain(rules, options)
    state = QueueState("Q", options, PilotCounts(pending=20, running=310), Demand(400, 400), 5, Site("online", 8))

    def work() -> None:
        for _ in range(DECISIONS):
            decide(rows, state)

    return work


def dividing(siblings: int) -> Callable[[], None]:
    """Return a run of many divisions of a wmsqueue's demand, of eight cells, among siblings."""
    cells = [JobCount(kind, label, {"activated": 99}) for kind in ("SCORE", "MCORE") for label in ("a", "b", "c", "d")]
    mine, *others = [Claim(f"Q{k}", Fraction(1 + k % 3), 8, waiting=k) for k in range(siblings + 1)]

    def work() -> None:
        for _ in range(DECISIONS // 10):
            part(cells, mine, others, cores_of={"MCORE": 8})

    return work


def parse(path: Path) -> None:
    """Read a file as configparser does, every option of every section interpolated."""
    parser = configparser.ConfigParser()
    parser.read(path)
    for name in parser.sections():
        dict(parser[name])


def main() -> None:
    """Measure and print."""
    short = RuleOptions(fixed=1)
    usual = RuleOptions(min_per_cycle=1, max_per_cycle=50, max_pending=100, status_test=1, status_offline=0)
    names = [
        "fixed",
        "ready, min_per_cycle, gates and limits",
        "division among 1 sibling",
        "division among 10 siblings",
    ]
    took = side_by_side(
        deciding(("fixed",), short), deciding(("ready", "min_per_cycle"), usual), dividing(1), dividing(10)
    )
    each = [took[0] / DECISIONS, took[1] / DECISIONS, took[2] / (DECISIONS // 10), took[3] / (DECISIONS // 10)]
    rows = [[name, f"{1 / one:.0f}", times(one / each[0])] for name, one in zip(names, each, strict=True)]
    show("the decision", ["", "per second", "cost : shortest chain"], rows)

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        path = site.write(home, QUEUES)
        load(path)
        plain, whole = side_by_side(lambda: parse(home / "queues.conf"), lambda: load(path))
    show(
        f"{QUEUES} queues read",
        ["", "queues per second", "cost : configparser"],
        [
            ["configparser, texts only", f"{QUEUES / plain:.0f}", times(1.0)],
            ["load: validated, every option with its line", f"{QUEUES / whole:.0f}", times(whole / plain)],
        ],
    )


if __name__ == "__main__":
    main()
