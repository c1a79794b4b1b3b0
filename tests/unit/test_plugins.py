"""Plug-ins by name: the alias table first, then installed packages."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from autopyfactory import plugins
from autopyfactory.wms.static import Static


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("mine", "autopyfactory.wms.static:Static", "autopyfactory.wms"),
            EntryPoint("panda", "nowhere:Impostor", "autopyfactory.wms"),
        ]
    )
    monkeypatch.setattr(plugins, "entry_points", points.select)


def test_an_alias_wins_over_an_entry_point() -> None:
    assert plugins.load("autopyfactory.wms", "panda").__name__ == "Panda"


def test_an_entry_point_is_found() -> None:
    assert plugins.load("autopyfactory.wms", "mine") is Static
    assert {"mine", "panda", "static"} < set(plugins.names("autopyfactory.wms"))


def test_a_typo_gets_a_hint() -> None:
    with pytest.raises(LookupError, match="unknown plug-in 'pandda', did you mean 'panda'"):
        plugins.load("autopyfactory.wms", "pandda")
    with pytest.raises(LookupError, match="known: condor, json, mine, panda"):
        plugins.load("autopyfactory.wms", "xyz")


def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.ALIASES["autopyfactory.wms"], "broken", "autopyfactory.nowhere:Nothing")
    with pytest.raises(ImportError):
        plugins.load("autopyfactory.wms", "broken")
