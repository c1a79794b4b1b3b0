"""A schedd's history is read as rarely and as briefly as will do."""

from collections.abc import Sequence

import pytest

from autopyfactory.batch.condor_child import Ad
from autopyfactory.batch.condor_ends import Ends
from autopyfactory.batch.condor_vanished import Vanished
from autopyfactory.errors import SourceError
from tests.unit.monitor.kit import Hands


def record(submission: str, proc: int, status: int = 4) -> Ad:
    return {"APF_SUBMISSION": submission, "ClusterId": 7, "ProcId": proc, "JobStatus": status}


class World:
    """A schedd's queue and history, and what was asked of them; each question lasts `slow` seconds."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.ends = Ends("")
        self.jobs: list[Ad] = []
        self.history: list[Ad] = []
        self.asked: list[tuple[str, int]] = []
        self.listings = 0
        self.slow = 0.0
        self.trouble: SourceError | None = None
        self.said: list[str] = []
        self.vanished = Vanished(self.ends, self.clock, self.listed, self.records, self.said.append)

    def listed(self, seconds: float, names: Sequence[str]) -> tuple[Ad, ...]:
        self.listings += 1
        return tuple(job for job in self.jobs if job["APF_SUBMISSION"] in names)

    def records(self, seconds: float, name: str, most: int) -> tuple[Ad, ...]:
        assert seconds > 0
        self.asked.append((name, most))
        self.clock.at += self.slow
        if self.trouble:
            raise self.trouble
        return tuple(ad for ad in self.history if ad["APF_SUBMISSION"] == name)[:most]

    def show(self, submission: str, **states: int) -> None:
        numbers = {"running": 2, "removed": 3, "completed": 4}
        groups: list[Ad] = [
            {"APF_SUBMISSION": submission, "JobStatus": numbers[state], "JobCount": count}
            for state, count in states.items()
        ]
        self.vanished.shown(groups)

    def ended(self, *names: str, seconds: float = 20.0) -> list[str]:
        return sorted(self.vanished.ended(frozenset(names), seconds))


@pytest.fixture
def world() -> World:
    return World()


def test_one_record_does_for_what_was_shown_or_is_of_an_earlier_process(world: World) -> None:
    world.vanished.accepted("shown", 50)
    world.show("shown", running=1, completed=49)
    world.history = [record("shown", 0), record("earlier", 0)]
    assert world.ended("shown", "earlier", "never") == ["earlier", "shown"]
    assert sorted(world.asked) == [("earlier", 1), ("never", 1), ("shown", 1)]
    assert world.listings == 1


def test_what_was_never_shown_needs_all_its_ends(world: World) -> None:
    world.vanished.accepted("s", 3)
    world.history = [record("s", 0), record("s", 1)]
    assert world.ended("s") == []
    world.clock.at += 30
    world.history.append(record("s", 2))
    assert world.ended("s") == ["s"]
    assert world.asked == [("s", 3), ("s", 3)]


def test_what_lives_is_not_looked_for_in_the_history(world: World) -> None:
    world.jobs = [record("lives", 0, status=2), record("left", 0)]
    assert world.ended("lives", "left") == ["left"]
    assert world.asked == []


def test_a_submission_without_a_record_is_asked_for_ever_more_rarely(world: World) -> None:
    times = []
    for _ in range(3000):
        before = len(world.asked)
        world.ended("lost")
        if len(world.asked) > before:
            times.append(world.clock.at - 1000)
        world.clock.at += 1
    assert times == [0, 30, 90, 210, 450, 930, 1530, 2130, 2730]
    assert world.listings == len(times)


def test_many_are_asked_for_in_bounded_portions_the_new_ones_first(world: World) -> None:
    names = [f"s{n:03}" for n in range(250)]
    world.ended(*names)
    assert len(world.asked) == 100
    world.slow = 3.0
    began = world.clock.at
    world.ended(*names, seconds=20)
    assert world.clock.at - began <= 20
    assert 3 <= len(world.asked) - 100 <= 4
    world.clock.at += 1000
    world.slow = 0
    world.ended(*names)
    assert not {name for name, _ in world.asked[:100]} & {name for name, _ in world.asked[104:]}


def test_one_whose_records_cannot_be_had_does_not_stop_the_others_for_ever(world: World) -> None:
    world.trouble = SourceError("schedd ap1", "no answer within 20 s")
    world.history = [record("b", 0)]
    assert world.ended("a") == []
    assert world.said == ["no answer within 20 s (asked for the end of pilots that it does not show any more)"]
    world.trouble = None
    assert world.ended("a", "b") == ["b"]
    assert world.said[-1] == ""
    assert [name for name, _ in world.asked] == ["a", "b"]


def test_what_was_told_needs_no_question(world: World) -> None:
    world.vanished.accepted("never-shown", 2)
    world.ends.tell_completed([record("never-shown", 0), record("never-shown", 1)])
    world.show("tidied", running=2, completed=1)
    world.ends.tell_retrieved([record("tidied", 5), record("tidied", 6)])
    assert world.ended("never-shown") == ["never-shown"]
    assert world.listings == 0
    assert world.ended("tidied") == []
    world.ends.tell_retrieved([record("tidied", 7)])
    assert world.ended("tidied") == ["tidied"]
    assert world.listings == 1


def test_removed_pilots_are_told_once_with_their_submissions_end(world: World) -> None:
    world.show("s", running=3, completed=1)
    world.ends.tell_completed([record("s", 0)])
    world.ends.take()
    world.history = [record("s", 3, status=3), record("s", 2, status=3), record("s", 1, status=3), record("s", 0)]
    assert world.ended("s") == ["s"]
    assert world.asked == [("s", 3)]
    assert sorted((pilot.cid, pilot.fault) for pilot in world.ends.take()) == [
        ("7.1", "removed"),
        ("7.2", "removed"),
        ("7.3", "removed"),
    ]
    world.clock.at += 100
    world.ended("s")
    assert world.ends.take() == ()
