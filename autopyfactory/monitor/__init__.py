"""Who is told what the factory does.

A monitor plug-in is one class (alias table in `plugins`). The reporter owns one thread and one bounded
queue per `[monitor NAME]` section; the plug-in is only ever called from that thread, so it may be slow or
dead at nobody else's cost.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions
from autopyfactory.model import EndedPilot
from autopyfactory.report import CycleReport


class Monitor(Protocol):
    """One monitor. Every method may raise MonitorError; the reporter backs off and tries again."""

    Options: ClassVar[type[Options]]

    def __init__(self, name: str, options: Any, factory: FactoryOptions, clock: Clock) -> None: ...

    @property
    def pilot_url(self) -> str:
        """The APFMON that pilots get, or "" when they have nothing to call."""
        ...

    def send(self, reports: Sequence[CycleReport], ended: Sequence[EndedPilot]) -> None:
        """Tell the monitor, in the order of the arguments; called at least once a minute, maybe with nothing.

        Raises MonitorError when it could not take them now: the reporter keeps them, within its bound.
        """
        ...

    def close(self) -> None:
        """Abandon a call under way, from another thread."""
        ...
