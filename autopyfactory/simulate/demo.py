"""The demo: a PanDA to play with, a factory with the fork backend against it, real pilots in between."""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from autopyfactory.clock import Clock
from autopyfactory.config.loader import load
from autopyfactory.factory import Factory
from autopyfactory.model import EndedPilot, PilotState
from autopyfactory.operate import Operator
from autopyfactory.report import CycleReport
from autopyfactory.simulate import pilot
from autopyfactory.simulate.jobs import SimulatedQueue, Totals
from autopyfactory.simulate.panda import SimulatedPanda, demo_queues

LAG = 2.0
SLOTS = 64

END_S = 10.0
"""Seconds given to the pilots' processes to end; beyond the grace they have, they are killed by their guards."""

_MAIN = """\
[factory]
id = demo
log_dir = {home}/log
state_dir = {home}/state
run_dir = {home}/run
pilot_log_dir = {home}/pilots
min_free = 1MB

[wms panda]
plugin = panda
url = {url}
interval = 1s
lag = {lag}s

[fork local]
slots = {slots}
interval = 1s
grace = 2s
"""

_DEFAULT = """\
[DEFAULT]
backend = fork
allow_same_user = yes
wms = panda
interval = 2s
rules = ready
first_job_after = 0s
max_per_cycle = 10
max_pending = 20
status_test = 1
status_offline = 0
arguments = {arguments} --queue %(wmsqueue)s --label %(labels)s
"""

_QUEUE = """
[{name}]
wmsqueue = {name}
labels = {label}
resource_types = {resource_type}
cores = {cores}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One queue of the live table; `note` says what is special about its jobs or its site."""

    queue: str
    jobs: Totals
    report: CycleReport | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the demo: pilots submitted; jobs finished and failed as PanDA ended them.

    `failed` also counts pilots in fault.
    """

    seconds: float
    queues: int
    submitted: int
    finished: int
    failed: int


class Demo:
    """A whole world in one process and a temporary folder; `stop` leaves nothing behind but the result."""

    def __init__(self, queues: Sequence[SimulatedQueue] | None = None, *, slots: int = SLOTS) -> None:
        self._queues = tuple(queues or demo_queues())
        self._slots = slots
        self._clock = Clock()
        self._lock = threading.Lock()
        self._reports: dict[str, CycleReport] = {}
        self._submitted = 0
        self._faults = 0
        self._began = self._clock.now()

    def __enter__(self) -> Self:
        self.home = Path(tempfile.mkdtemp(prefix="autopyfactory-demo-"))
        self._panda = SimulatedPanda(self._queues, lag=LAG).start()
        config = load(self._write())
        self._factory = Factory(
            config,
            clock=self._clock,
            operator=Operator(config.factory.state_dir),
            on_report=self._note,
            on_ended=self._count_faults,
        )
        self._factory.start()
        self._began = self._clock.now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the factory, end the pilots, wait until their processes are gone, and remove the folder."""
        self._factory.halt(frozenset(PilotState))
        deadline = time.monotonic() + END_S
        while _any_process_of(self.home) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._panda.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def rows(self) -> list[Row]:
        """Return the present state of each queue, for the live table."""
        totals = self._panda.totals()
        with self._lock:
            reports = dict(self._reports)
        notes = {queue.name: _note(queue) for queue in self._queues}
        return [Row(name, jobs, reports.get(name), notes.get(name, "")) for name, jobs in totals.items()]

    def result(self) -> Result:
        """Return the figures so far."""
        totals = self._panda.totals().values()
        with self._lock:
            submitted, faults = self._submitted, self._faults
        return Result(
            round(self._clock.now() - self._began, 1),
            len(totals),
            submitted,
            sum(jobs.finished for jobs in totals),
            sum(jobs.failed for jobs in totals) + faults,
        )

    def _note(self, report: CycleReport) -> None:
        with self._lock:
            self._reports[report.queue] = report
            self._submitted += report.submitted_count

    def _count_faults(self, ended: Sequence[EndedPilot]) -> None:
        with self._lock:
            self._faults += sum(1 for one in ended if one.fault or one.exit_code)

    def _write(self) -> Path:
        for folder in ("log", "state", "run", "pilots"):
            (self.home / folder).mkdir()
        main = self.home / "autopyfactory.conf"
        main.write_text(_MAIN.format(home=self.home, url=self._panda.url, lag=LAG, slots=self._slots))
        arguments = f"-- {sys.executable} -I -S {pilot.__file__} --url {self._panda.url}".replace("%", "%%")
        sections = [_DEFAULT.format(arguments=arguments)]
        for queue in self._queues:
            sections.append(
                _QUEUE.format(name=queue.name, label=queue.label, resource_type=queue.resource_type, cores=queue.cores)
            )
        (self.home / "queues.conf").write_text("".join(sections))
        return main


def _note(queue: SimulatedQueue) -> str:
    if queue.status != "online":
        return f"in {queue.status}"
    return "1 core" if queue.cores == 1 else f"{queue.cores} cores"


def _any_process_of(home: Path) -> bool:
    """Tell whether a pilot's guard still lives: its command line names a folder below ours."""
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(home) in cmdline.read_bytes():
                return True
    return False
