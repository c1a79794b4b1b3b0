"""What the tests of the monitors make again and again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions
from autopyfactory.model import Submitted
from autopyfactory.monitor.apfmon import Apfmon, ApfmonOptions
from autopyfactory.report import CycleReport, Decision
from tests.testbed.apfmon import ApfmonServer


class Hands(Clock):
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at


FACTORY = FactoryOptions(
    id="BNL-1", admin_email="apf@example.org", pilot_log_url="http://f.example.org:25880/logs/", log_dir=Path("/l")
)


def connect(server: ApfmonServer, clock: Clock, factory: FactoryOptions = FACTORY, **options: object) -> Apfmon:
    return Apfmon("apfmon", ApfmonOptions.model_validate({"url": server.url} | options), factory, clock)


def report(queue: str = "Q", at: float = 1000.0, cids: Sequence[str] = (), **more: object) -> CycleReport:
    parts = (Submitted("s", tuple(cids)),) if cids else ()
    blank = CycleReport(
        queue, at, Decision(len(cids)), submitted=parts, wmsqueue="ANALY_CAM", batchqueue="atlas", endpoint="ce1:9619"
    )
    return replace(blank, **more)  # type: ignore[arg-type]
