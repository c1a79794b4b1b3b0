"""Where user jobs wait: PanDA, or counts from the configuration.

A WMS plug-in is one class (alias table in `plugins`); the factory makes one object of it per `[wms NAME]`
section and all queues share it, from many threads. It keeps what it heard in `Shared` snapshots, so that
one question serves all queues; unknown is an exception, never an empty answer. For `autopyfactory why` it may
have a method more, `shows(self, wmsqueue: str) -> list[str]`: command lines that ask the same by hand.
"""

from typing import Any, ClassVar, Protocol

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.model import JobCount, Site, Snapshot


class Wms(Protocol):
    """One source of demand."""

    Options: ClassVar[type[Options]]

    def __init__(self, name: str, options: Any, clock: Clock) -> None: ...

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a wmsqueue by cell; an empty tuple is a known zero.

        Raises SourceError when they are unknown: no answer, a stale or unbelievable one. Raises
        UnknownWmsqueue when the WMS is sure that it does not know the name.
        """
        ...

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return status and cores of a wmsqueue from the site table. Raises as `jobs` does."""
        ...

    def close(self) -> None:
        """Give up everything under way at once and wake all who wait, from another thread."""
        ...
