"""What one more queue costs: cycles, memory, polls, start and stop of 10, 100 and 500 queues on one source.

Each size runs in a process of its own. The cost of a cycle is processor time, on a clock that is moved by
hand: after an hour in which every queue submitted every minute, so that history and ledger are full.
Start, stop and threads are measured on the real clock, with the record of that hour to read.
"""

import argparse
import cProfile
import multiprocessing
import os
import pstats
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopyfactory import logs
from autopyfactory.clock import Clock
from autopyfactory.factory import Factory
from autopyfactory.operate import Operator
from autopyfactory.report import CycleReport
from benchmarks.site import POOL, SteppedClock, configured, wishes
from benchmarks.table import show, times

SIZES = (10, 100, 500)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"max_per_factory": "100000"},
    {"siblings": 5},
)
INTERVAL = 60.0
HISTORY = 60
CYCLES = 3000
PILOTS = 50
LIVE_SECONDS = 8.0
LIVE_INTERVAL = 2.0


@dataclass(frozen=True, slots=True)
class Driven:
    """What a cycle of the driven factory cost, how often it polled per minute, and its memory after the hour."""

    cycle: float
    polls: float
    memory: int


@dataclass(frozen=True, slots=True)
class Live:
    """The same of the living one, polls per its own interval, and how long it took to start and to stop."""

    cycle: float
    polls: float
    memory: int
    start: float
    stop: float


def resident() -> int:
    """Return the memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def driven(home: Path, queues: int, options: dict[str, Any], profile: bool) -> Driven:
    """Drive every queue once a minute for an hour, then measure."""
    before = resident()
    clock = SteppedClock()
    # The hour ends now, so that a factory on the real clock can go on from there.
    measured = -(-CYCLES // queues)
    clock.at -= (HISTORY + measured) * INTERVAL
    config = configured(home, queues, **options)
    factory = Factory(config, clock=clock, operator=Operator(home), cycles=0)
    factory.start()
    runners = list(factory._runners.values())
    profiler = cProfile.Profile()

    def rounds(count: int) -> None:
        for _ in range(count):
            for runner in runners:
                runner._tick()
                clock.at += INTERVAL / queues

    rounds(HISTORY)
    if profile:
        profiler.enable()
    polls, began = POOL.polls, time.process_time()
    rounds(measured)
    took, asked = time.process_time() - began, POOL.polls - polls
    if profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(22)
    memory = resident() - before
    factory.stop()
    pilots = sum(len(batch.cids) for batch in POOL.alive)
    assert pilots >= PILOTS * queues, f"only {pilots} pilots: cycles that do not submit are cheap"
    return Driven(took / (measured * queues), asked / measured, memory)


def live(home: Path, queues: int) -> Live:
    """Let the threads run on the real clock, on the record of the hour before."""
    seconds = f"{LIVE_INTERVAL:g}s"
    config = configured(home, queues, poll=seconds, interval=seconds)
    reports = 0
    lock = threading.Lock()

    def count(report: CycleReport) -> None:
        nonlocal reports
        assert report.submitted, f"{report.queue}: {report.blocked or report.decision}"
        with lock:
            reports += 1

    before, began = resident(), time.monotonic()
    factory = Factory(config, clock=Clock(), operator=Operator(home), on_report=count)
    factory.start()
    start = time.monotonic() - began
    time.sleep(LIVE_INTERVAL + 1.0)
    done, polls, spent, began = reports, POOL.polls, time.process_time(), time.monotonic()
    time.sleep(LIVE_SECONDS)
    cycle = (time.process_time() - spent) / (reports - done)
    intervals = (time.monotonic() - began) / LIVE_INTERVAL
    asked, memory = (POOL.polls - polls) / intervals, resident() - before
    began = time.monotonic()
    factory.stop()
    return Live(cycle, asked, memory, start, time.monotonic() - began)


def measure(queues: int, options: dict[str, Any], alive: bool, profile: bool) -> tuple[Driven, Live | None]:
    """Measure one size in this process."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        logs.setup(home / "log", debug=False)
        return driven(home, queues, options, profile), live(home, queues) if alive else None


def apart(*arguments: Any) -> tuple[Driven, Live | None]:
    """Measure in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def profile(queues: int) -> None:
    """Print where the time of so many queues goes."""
    for options in VARIANTS:
        print(wishes(options), flush=True)
        apart(queues, options, False, True)


def grown(values: Sequence[float]) -> str:
    """Write how much larger the last value is than the first."""
    return times(values[-1] / values[0])


def each(values: Sequence[float]) -> str:
    """Write what one queue adds."""
    return f"{(values[-1] - values[0]) / (SIZES[-1] - SIZES[0]) * 1e3:.0f} kB a queue"


def row(title: str, values: Sequence[float], form: str, judge: Callable[[Sequence[float]], str] = grown) -> list[str]:
    """Return one line of a table: a value for each size, and what became of it."""
    return [title, *(form.format(value) for value in values), judge(values)]


def whole(driven: Sequence[Driven], live: Sequence[Live]) -> list[list[str]]:
    """Return the table of the whole factory; a source's interval is half a minute where it is driven."""
    return [
        row("polls per interval, driven", [one.polls / 2 for one in driven], "{:.2f}"),
        row("polls per interval, threads", [one.polls for one in live], "{:.2f}"),
        row("time per cycle and queue, threads", [one.cycle * 1e6 for one in live], "{:.0f} us"),
        row("memory after the hour, MB", [one.memory / 1e6 for one in driven], "{:.1f}", each),
        row("memory of a restarted one, threads, MB", [one.memory / 1e6 for one in live], "{:.1f}", each),
        row("start, reading the hour's record", [one.start * 1e3 for one in live], "{:.0f} ms"),
        row("stop", [one.stop * 1e3 for one in live], "{:.0f} ms"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=int, metavar="QUEUES", help="print where the time of so many queues goes")
    if queues := parser.parse_args().profile:
        profile(queues)
        return
    head = ["", *map(str, SIZES), f"{SIZES[-1]} : {SIZES[0]}"]
    found = [[apart(size, options, not options, False) for size in SIZES] for options in VARIANTS]
    rows = [
        row(wishes(options), [driven.cycle * 1e6 for driven, _ in sizes], "{:.0f} us")
        for options, sizes in zip(VARIANTS, found, strict=True)
    ]
    show("processor time per cycle and queue", head, rows)
    show(
        "the whole factory, each queue on its own",
        head,
        whole([driven for driven, _ in found[0]], [live for _, live in found[0] if live]),
    )


if __name__ == "__main__":
    main()
