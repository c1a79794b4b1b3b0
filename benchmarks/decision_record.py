"""What the decision record takes: room for 30 days of 500 queues, and processor time per cycle.

Cycles come from the real rules on figures that walk at random. Of ten queues four are busy (every figure changes
from cycle to cycle), two have some work (figures change in one cycle of five), three are quiet, and one is blocked by a
source whose error tells another age each time. `busy` is the worst case: all queues are. A day of 50 queues is
written and scaled up; what is not packed yet does not grow with the days and is counted once.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from autopyfactory.model import JobCount, PilotCounts, Site
from autopyfactory.record.book import Record, Writer
from autopyfactory.record.paper import ages, paper
from autopyfactory.report import Blocked, CycleReport, Input
from autopyfactory.sched import chain, decide
from autopyfactory.sched.demand import Demand
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import Budget, QueueState
from benchmarks.table import show

QUEUES = 50
ALL_QUEUES, DAYS = 500, 30
MIX = ("busy",) * 4 + ("some",) * 2 + ("quiet",) * 3 + ("blocked",)
OPTIONS = RuleOptions(max_per_cycle=50, max_pending=100, min_per_cycle=0)
CHAIN = chain(("ready", "min_per_cycle"), OPTIONS)
BATCH = 20


class Walk:
    """One queue whose figures walk at random."""

    def __init__(self, name: str, kind: str, seed: int) -> None:
        self.name, self.kind = name, kind
        self._dice = random.Random(seed)
        self._cells = {("MCORE", "managed"): 200, ("SCORE", "managed"): 60, ("SCORE", "user"): 30}
        self._running, self._pending = 300, 40

    def report(self, at: float, interval: float) -> CycleReport:
        """Return the queue's next cycle."""
        old = (Input("pilots", "schedd ap1", self._dice.uniform(0, 30)),)
        if self.kind == "blocked":
            text = (
                f"wms panda: no answer within 15 s (last good answer speaks of {self._dice.randint(400, 99999)} s ago)"
            )
            blocked = Blocked(f"demand unknown: {text}", outage=True, cause="demand")
            return CycleReport(
                self.name, at, blocked=blocked, pilots=PilotCounts(running=7), interval=interval, inputs=old
            )
        if self.kind == "busy" or (self.kind == "some" and self._dice.random() < 0.2):
            self._step()
        jobs = tuple(
            JobCount(
                *cell, {"activated": count if self.kind != "quiet" else 0, "running": count * 7, "transferring": 5}
            )
            for cell, count in self._cells.items()
        )
        activated = sum(cell.activated for cell in jobs)
        pilots = PilotCounts(pending=self._pending, running=self._running, finishing=self._running % 7)
        demand, site = Demand(activated, activated), Site("online", 8)
        state = QueueState(self.name, OPTIONS, pilots, demand, 0, site, budget=Budget(20_000, 20_000 - self._running))
        heard = (
            *old,
            Input("demand", "wms panda", 120 + self._dice.uniform(0, 60)),
            Input("site", "wms panda site table", self._dice.uniform(0, 600)),
        )
        return CycleReport(
            self.name,
            at,
            decide(CHAIN, state),
            None,
            pilots,
            activated,
            wmsqueue=self.name,
            endpoint="ce1.example.org:9619",
            interval=interval,
            inputs=heard,
            jobs=jobs,
            site=site,
        )

    def _step(self) -> None:
        for cell, count in self._cells.items():
            self._cells[cell] = max(0, count + self._dice.randint(-9, 9))
        self._running = max(0, self._running + self._dice.randint(-9, 9))
        self._pending = max(0, min(100, self._pending + self._dice.randint(-9, 9)))


def cycles(kinds: tuple[str, ...], interval: float, began: float) -> Iterator[list[CycleReport]]:
    """Return a day of cycles, batch by batch."""
    walks = [Walk(f"QUEUE_{k}", kinds[k % len(kinds)], k) for k in range(QUEUES)]
    batch: list[CycleReport] = []
    for number in range(int(86400 / interval)):
        for k, walk in enumerate(walks):
            batch.append(walk.report(began + number * interval + k * interval / QUEUES, interval))
            if len(batch) == BATCH:
                yield batch
                batch = []


def measure(kinds: tuple[str, ...], interval: float) -> list[str]:
    """Write a day and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.sqlite"
        writer, spent, count, began = Writer(path), 0.0, 0, 1_790_000_000.0
        for batch in cycles(kinds, interval, began):
            start = time.process_time()
            writer.write([(one.queue, one.at, one.interval, ages(one), paper(one)) for one in batch])
            spent, count = spent + time.process_time() - start, count + len(batch)
        writer.close()
        start = time.perf_counter()
        with Record(path) as record:
            found = record.at("QUEUE_0", began + 43_200)
            asked = time.perf_counter() - start
            assert found is not None
            packed = record._ask("SELECT coalesce(sum(length(cycles)), 0) FROM pack")[0][0] * 1.03
        fresh = max(0.0, path.stat().st_size - packed)
        whole = (packed * DAYS + fresh) * ALL_QUEUES / QUEUES
    return [
        f"{packed / count:.1f} B",
        f"{whole / 1e6:.0f} MB",
        f"{spent / count * 1e6:.0f} us",
        f"{spent / count * ALL_QUEUES / interval:.1%}",
        f"{asked * 1e3:.0f} ms",
    ]


def main() -> None:
    """Measure and print."""
    rows = [
        [f"{name}, a cycle every {interval / 60:.0f} min", *measure(kinds, interval)]
        for name, kinds in (("mixed", MIX), ("busy", ("busy",)))
        for interval in (360.0, 60.0)
    ]
    head = ["", "per cycle", f"{DAYS} days of {ALL_QUEUES}", "to write one", "of one core", "to ask one"]
    show(f"the decision record of {ALL_QUEUES} queues", head, rows)


if __name__ == "__main__":
    main()
