"""Every backend over a stand-in that can be struck by the same faults, with the stand-in's own count of the living.

A fault lasts until it is mended: `down`, `hung` (what is submitted is taken all the same), `refused`, `half` of a
submission accepted, all jobs `vanished` at once, a `strange` word for the state of all jobs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from autopyfactory.batch import Batch, Context, Order
from autopyfactory.batch.order import shape_of
from autopyfactory.clock import utc
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.credentials import Chosen
from autopyfactory.sched.options import RuleOptions
from tests.unit.batch.slurm_stand_in import HandClock


class Site(ABC):
    """One backend with its stand-in. `rules` are those of the queue Q, `endpoints` what it names."""

    options: ClassVar[Mapping[str, object]]
    backend: ClassVar[Options]
    endpoints: ClassVar[tuple[str, ...]] = ()
    credentials = Chosen()
    interval, max_age, deadline = 30.0, 300.0, 20.0

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = HandClock()
        self.context = Context(FactoryOptions(id="F1", host="here", user="me", state_dir=home / "state"), self.clock)
        self.wrapper = home / "wrapper.sh"
        self.wrapper.write_text("#!/bin/sh\nexec sleep 600\n")
        self.wrapper.chmod(0o755)
        self.batch = self.start()

    @abstractmethod
    def start(self) -> Batch:
        """Return the adapter, over the stand-in."""

    @abstractmethod
    def living(self) -> int:
        """Return how many pilots there really are."""

    @abstractmethod
    def strike(self, fault: str) -> None:
        """Let a fault begin."""

    @abstractmethod
    def mend(self) -> None:
        """Let it end."""

    def end(self) -> None:
        """Leave nothing behind."""
        self.batch.close()

    def queue(self, rules: RuleOptions) -> QueueConfig:
        """Return the queue Q."""
        named = {"endpoint": ", ".join(self.endpoints)} if self.endpoints else {}
        options = QueueOptions.model_validate({**self.options, **named, "wms": "", "rules": ["fixed"]})
        return QueueConfig("Q", options, self.backend, rules)

    def order(self, queue: QueueConfig, name: str, count: int, at: float) -> Order:
        """Return an order of the queue."""
        place = self.home / "logs" / f"{utc(at):%H%M}"
        endpoint = self.endpoints[0] if self.endpoints else "here"
        return Order(name, queue, endpoint, shape_of(queue), count, self.wrapper, place)
