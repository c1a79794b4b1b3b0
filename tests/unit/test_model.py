"""The nouns: what counts as in flight, as waiting, as old."""

from dataclasses import fields

import pytest

from autopyfactory.errors import Refused, SourceError
from autopyfactory.model import JobCount, PilotCounts, PilotState, Shape, Snapshot, tagged_type


def test_every_state_has_its_count() -> None:
    assert {state.value for state in PilotState} < {field.name for field in fields(PilotCounts)}


def test_in_flight_is_all_but_finishing() -> None:
    for field in fields(PilotCounts):
        counts = PilotCounts(**{field.name: 3})
        assert counts.in_flight == (0 if field.name == "finishing" else 3), field.name


def test_held_suspended_and_unknown_do_not_wait() -> None:
    waiting = {field.name for field in fields(PilotCounts) if PilotCounts(**{field.name: 1}).waiting}
    assert waiting == {"unsent", "pending", "ambiguous", "unseen", "awaited"}


@pytest.mark.parametrize(
    ("shape", "tag"),
    [
        (Shape(), "1c"),
        (Shape(8, 16000, 172800, "MCORE"), "8c-16000m-172800s-MCORE"),
        (Shape(2, None, 60, "", "user"), "2c-60s-~user"),
        (Shape(1, None, None, "SCORE", "ptest"), "1c-SCORE-~ptest"),
    ],
)
def test_shape_as_a_word(shape: Shape, tag: str) -> None:
    assert shape.tag() == tag
    assert tagged_type(tag) == shape.resource_type


@pytest.mark.parametrize(
    ("tag", "resource_type"),
    [("", ""), ("something else", ""), ("8c-16000m-MCORE_HIMEM", "MCORE_HIMEM"), ("1c-12h-X-Y-~a-b", "12h-X-Y")],
)
def test_the_type_in_a_tag(tag: str, resource_type: str) -> None:
    assert tagged_type(tag) == resource_type


def test_age_is_never_negative() -> None:
    snapshot = Snapshot(1, "s", 100.0, 70.0)
    assert snapshot.age(100.0) == 30.0
    assert snapshot.age(60.0) == 0.0


def test_activated_of_a_cell() -> None:
    assert JobCount("", "", {"running": 5}).activated == 0
    assert JobCount("", "", {"activated": 4, "running": 5}).activated == 4


def test_errors_say_who_and_what() -> None:
    assert str(SourceError("schedd x", "no answer")) == "schedd x: no answer"
    assert Refused("full", cids=["1.0"]).cids == ("1.0",)
