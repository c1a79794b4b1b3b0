"""What sources of demand have in common that list jobs: one question serves all wmsqueues, and there is no site."""

from collections.abc import Callable, Mapping

from pydantic import Field, model_validator

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Duration, Options, check_longer
from autopyfactory.errors import SourceError
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.snapshot import Shared

Table = Mapping[str, tuple[JobCount, ...]]
"""Jobs by wmsqueue."""


class ListedOptions(Options):
    """The options that such sources share."""

    interval: Duration = Field(60.0, ge=0.1, description="time between two questions")
    max_age: Duration = Field(300.0, gt=0, description="older figures are unknown")
    deadline: Duration = Field(20.0, gt=0, description="for the whole of one question and its answer")
    status: str = Field("online", pattern=r"^[a-z]+$", description="site status of every wmsqueue")

    @model_validator(mode="after")
    def _leaves_room(self) -> "ListedOptions":
        check_longer(self, "max_age", "interval", "deadline")
        return self


class Listed:
    """Keep a table that `poll` makes. A wmsqueue that a good table lacks has no jobs: nobody lists empty ones."""

    def __init__(self, name: str, options: ListedOptions, clock: Clock, poll: Callable[[], Table]) -> None:
        self.name = f"wms {name}"
        self._status = options.status
        self._clock = clock
        self._question = poll
        self._shared: Shared[Table] = Shared(
            self.name, self._poll, interval=options.interval, max_age=options.max_age, clock=clock
        )

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a wmsqueue; contract of `Wms`."""
        heard = self._shared.get()
        return Snapshot(heard.value.get(wmsqueue, ()), self.name, heard.began, heard.speaks_of)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return the configured status, which is never old."""
        now = self._clock.now()
        return Snapshot(Site(self._status), self.name, now, now)

    def close(self) -> None:
        """Wake all who wait."""
        self._shared.close()

    def _poll(self) -> Snapshot[Table]:
        began = self._clock.now()
        return Snapshot(self._question(), self.name, began, began)

    def unknown(self, reason: str, *, stopped: bool = False) -> SourceError:
        """Return the error of this source."""
        return SourceError(self.name, reason, stopped=stopped)


def cell_of(cores: int, activated: int, running: int) -> JobCount:
    """Return a cell for jobs of one size, by PanDA's names of resource types."""
    kind = "SCORE" if cores == 1 else "MCORE"
    return JobCount(kind, "", {"activated": activated, "running": running}, cores=cores)
