"""Counts from the configuration."""

from typing import Any

import pytest
from pydantic import ValidationError

from autopyfactory.errors import UnknownWmsqueue
from autopyfactory.model import Site
from autopyfactory.wms.static import Static, StaticOptions
from tests.unit.wms.fakes import FakeClock


def static(**options: Any) -> Static:
    return Static("fixed", StaticOptions(**options), FakeClock(1000.0))


def activated(source: Static, wmsqueue: str) -> int:
    return sum(cell.activated for cell in source.jobs(wmsqueue).value)


def test_the_same_for_all() -> None:
    source = static(activated=5)
    assert activated(source, "ANY") == 5
    assert source.site("ANY").value == Site("online", None)
    assert (source.jobs("ANY").began, source.jobs("ANY").speaks_of) == (1000.0, 1000.0)
    source.close()


def test_by_wmsqueue() -> None:
    source = static(jobs="LOCAL:12, OTHER : 0", status="test")
    assert activated(source, "LOCAL") == 12
    assert activated(source, "OTHER") == 0
    assert source.site("LOCAL").value.status == "test"
    with pytest.raises(UnknownWmsqueue, match="did you mean 'LOCAL'"):
        source.jobs("LOCALE")
    with pytest.raises(UnknownWmsqueue, match="add it to the option jobs"):
        source.site("X")


def test_both() -> None:
    source = static(jobs="LOCAL:12", activated=1, resource_type="MCORE", label="user")
    assert (activated(source, "LOCAL"), activated(source, "X")) == (12, 1)
    assert (source.jobs("X").value[0].resource_type, source.jobs("X").value[0].label) == ("MCORE", "user")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "set activated or jobs"),
        ({"jobs": "LOCAL"}, "write NAME:12"),
        ({"jobs": ":3"}, "write NAME:12"),
        ({"jobs": "A:-3"}, "write NAME:12"),
        ({"jobs": "A:٣"}, "write NAME:12"),
        ({"activated": -1}, "greater than or equal to 0"),
        ({"activated": 1, "status": "On line"}, "pattern"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StaticOptions(**options)
