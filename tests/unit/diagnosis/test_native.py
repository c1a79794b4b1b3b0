"""The commands of others that show what the factory saw."""

from pathlib import Path

from autopyfactory.config.models import Config, FactoryOptions
from autopyfactory.diagnosis.native import commands
from tests.unit.world import make_queue


class Shows:
    def __init__(self, what: str, *always: str) -> None:
        self._what = what
        self._always = always

    def shows(self, name: str) -> list[str]:
        return [f"{self._what} {name}", *self._always]


def test_each_of_several_wmsqueues_is_shown_once() -> None:
    config = Config(Path("/etc/apf.conf"), FactoryOptions(id="F"), {}, {}, {}, {}, {})
    queue = make_queue("Q", wmsqueue="A, B")
    shown = list(commands(config, queue, Shows("batch"), Shows("jobs of", "sites"), "no demand"))
    assert shown == ["jobs of A", "sites", "jobs of B", "batch Q"]
