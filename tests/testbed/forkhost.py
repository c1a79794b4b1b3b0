"""Short real pilots on a `ForkHost`: orders of one line of shell, and what became of them."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from autopyfactory.batch import Context, Order, remove
from autopyfactory.batch.fork import ForkHost
from autopyfactory.batch.fork_options import ForkOptions, ForkQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.model import EndedPilot, PilotState, Shape, Submitted
from autopyfactory.sched.options import RuleOptions
from tests.testbed.patience import patience

ALL = frozenset(PilotState)


def until(true: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait for something to become true, or fail."""
    end = time.monotonic() + patience(seconds)
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


class SteppedClock(Clock):
    """A real clock that can be put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return super().now() + self.ahead


class TestHost:
    """A ForkHost over `home`; leaving the context ends its pilots."""

    __test__ = False

    def __init__(
        self, home: Path, *, slots: int = 2, grace: float = 5.0, position: int = 0, factory: str = "F1"
    ) -> None:
        self.home = home
        self.clock = SteppedClock()
        self.options = ForkOptions(slots=slots, grace=grace)
        self.factory = FactoryOptions(id=factory, host="here", user="me", state_dir=home / "state")
        self.context = Context(self.factory, self.clock, position)
        self.ended: dict[str, EndedPilot] = {}
        self.host = ForkHost("local", self.options, self.context)

    @property
    def folder(self) -> Path:
        """The folder of the records."""
        return self.home / "state" / "fork" / "local"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restart()
        for queue in {group.queue for group in self.host.poll().groups}:
            remove(self.host, queue, ALL)
        until(lambda: not self.counts())
        self.host.close()

    def restart(self) -> None:
        """Do what a new factory over the same state does."""
        self.host.close()
        self.host = ForkHost("local", self.options, self.context)

    def submit(
        self,
        script: str,
        count: int = 1,
        *,
        queue: str = "Q",
        name: str = "",
        cores: int = 1,
        walltime: int | None = None,
        executable: str = "/bin/sh",
        user: str = "",
        same: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Submitted:
        """Submit pilots that run a line of shell."""
        config = QueueConfig(
            queue,
            QueueOptions(backend="fork", submit_user=user),
            ForkQueueOptions(allow_same_user=same and not user),
            RuleOptions(),
            environment or {},
        )
        return self.host.submit(
            Order(
                id=name or f"sub-{time.monotonic_ns()}",
                queue=config,
                endpoint=self.host.endpoint,
                shape=Shape(cores, walltime_s=walltime),
                count=count,
                executable=Path(executable),
                log_dir=self.home / "logs" / queue,
                log_url="http://logs/Q",
                monitor_url="http://monitor/api",
                arguments=("-c", script),
            )
        )

    def counts(self) -> dict[str, int]:
        """Poll once and return the pilots by state; the ended ones are collected."""
        report = self.host.poll()
        for pilot in report.ended:
            assert pilot.cid not in self.ended, "reported twice"
            self.ended[pilot.cid] = pilot
        counts: Counter[str] = Counter()
        for group in report.groups:
            counts[str(group.state)] += group.count
        return dict(counts)

    def finish(self) -> list[EndedPilot]:
        """Wait for the end of all pilots and return how they ended, in the order of their cids."""
        until(lambda: not self.counts())
        return [self.ended[cid] for cid in sorted(self.ended)]

    def text(self, cid: str, ending: str, queue: str = "Q") -> str:
        """Return a file of a pilot's output."""
        return (self.home / "logs" / queue / f"{cid}.{ending}").read_text()
