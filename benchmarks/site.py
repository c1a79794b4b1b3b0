"""A batch system and a WMS in memory, and the files of a factory that uses them.

They answer at once, so that what is left to measure is the factory's own cost. The pool belongs to the
process and outlives a factory, as a real one does.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from autopyfactory import plugins
from autopyfactory.batch import ALL_STATES, Context, Order
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Duration, Options
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config
from autopyfactory.model import (
    EndedPilot,
    JobCount,
    Pilot,
    PilotGroup,
    PilotReport,
    PilotState,
    Site,
    Snapshot,
    Submitted,
)
from autopyfactory.snapshot import Shared

WAITS = 90.0
"""Seconds until a pilot starts."""

LIVES = 1800.0
"""Seconds until it has ended."""

LAG = 60.0
"""Seconds by which the WMS's figures are old."""

_MAIN = """\
[factory]
id = benchmark
host = here
log_dir = {home}
state_dir = {home}
run_dir = {home}
pilot_log_dir = {home}
min_free = 0B
{factory}
[pool memory]
interval = {poll}
max_age = 5m
[wms memory]
plugin = memory
interval = {poll}
"""

_QUEUES = """\
[DEFAULT]
backend = memory
source = memory
wms = memory
interval = {interval}
rules = ready, min_per_cycle
max_per_cycle = 2
max_pending = 100
status_test = 1
status_offline = 0
"""


class SteppedClock(Clock):
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.at = super().now()

    def now(self) -> float:
        """Return the time it was last moved to."""
        return self.at


@dataclass(slots=True)
class Batch:
    """The pilots of one submission."""

    order: str
    queue: str
    endpoint: str
    shape: str
    cids: tuple[str, ...]
    born: float


@dataclass(slots=True)
class Pool:
    """The pilots there are, oldest first, and how often somebody asked for them."""

    alive: deque[Batch] = field(default_factory=deque)
    polls: int = 0


POOL = Pool()


class MemoryPool:
    """The way of a factory to the pool; contract of `autopyfactory.batch.Batch`."""

    source_kind: ClassVar[str] = "pool"

    class SourceOptions(Options):
        """`[pool NAME]`."""

        interval: Duration = 30.0
        max_age: Duration = 300.0
        deadline: Duration = 20.0

    class QueueOptions(Options):
        """Nothing of its own."""

    def __init__(self, name: str, options: Any, context: Context) -> None:
        self._context = context

    @property
    def endpoint(self) -> str:
        """Return a name."""
        return "memory"

    def poll(self) -> PilotReport:
        """Let pilots that are old enough end, and list the others."""
        now, host = self._context.clock.now(), self._context.factory.host
        POOL.polls += 1
        ended: list[EndedPilot] = []
        while POOL.alive and POOL.alive[0].born + LIVES < now:
            gone = POOL.alive.popleft()
            ended += [EndedPilot(cid, gone.queue, gone.order, 0) for cid in gone.cids]
        groups = (
            PilotGroup(
                batch.order,
                batch.queue,
                PilotState.RUNNING if batch.born + WAITS < now else PilotState.PENDING,
                len(batch.cids),
                host,
                batch.endpoint,
                batch.shape,
            )
            for batch in list(POOL.alive)
        )
        return PilotReport(tuple(groups), tuple(ended))

    def submit(self, order: Order) -> Submitted:
        """Take them all."""
        cids = tuple(f"{order.id[-12:]}.{k}" for k in range(order.count))
        now = self._context.clock.now()
        POOL.alive.append(Batch(order.id, order.queue.name, order.endpoint, order.shape.tag(), cids, now))
        return Submitted(order.id, cids)

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        """Tell of none: every pilot is shown until it has ended."""
        return frozenset()

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        """List none one by one."""
        return []

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Remove nothing."""
        return 0

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Release nothing."""
        return 0

    def close(self) -> None:
        """Do nothing."""


class MemoryWms:
    """Demand without end, from one shared answer for all wmsqueues; contract of `autopyfactory.wms.Wms`."""

    class Options(Options):
        """`[wms NAME]` with `plugin = memory`."""

        interval: Duration = Field(60.0)

    def __init__(self, name: str, options: Any, clock: Clock) -> None:
        self._clock = clock
        self._cells = (JobCount("SCORE", "managed", {"activated": 1000, "running": 100}),)
        self._shared = Shared(f"wms {name}", self._poll, interval=options.interval, max_age=600.0, clock=clock)

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the same for each."""
        return self._shared.get()

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return an online site."""
        now = self._clock.now()
        return Snapshot(Site("online", 8), "memory", now, now)

    def close(self) -> None:
        """Wake who waits."""
        self._shared.close()

    def _poll(self) -> Snapshot[tuple[JobCount, ...]]:
        now = self._clock.now()
        return Snapshot(self._cells, "memory", now, now - LAG)


plugins.ALIASES["autopyfactory.batch"]["memory"] = f"{__name__}:MemoryPool"
plugins.ALIASES["autopyfactory.wms"]["memory"] = f"{__name__}:MemoryWms"


def write(
    home: Path, queues: int, *, siblings: int = 1, poll: str = "30s", interval: str = "60s", **factory: str
) -> Path:
    """Write the files of a factory with so many queues, `siblings` of which share a wmsqueue each."""
    extra = "".join(f"{name} = {value}\n" for name, value in factory.items())
    text = _QUEUES.format(interval=interval)
    text += "".join(f"[SITE_{k:04d}]\nwmsqueue = SITE_{k // siblings:04d}\n" for k in range(queues))
    (home / "queues.conf").write_text(text)
    path = home / "autopyfactory.conf"
    path.write_text(_MAIN.format(home=home, poll=poll, factory=extra))
    return path


def configured(home: Path, queues: int, **options: Any) -> Config:
    """Return the configuration of such a factory; a problem in it is a bug here."""
    config = load(write(home, queues, **options))
    assert not config.problems, config.problems
    assert len(config.queues) == queues
    return config


def wishes(options: Mapping[str, Any]) -> str:
    """Write the options of a variant for a table."""
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "each on its own"
