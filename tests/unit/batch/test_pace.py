from autopyfactory.batch.pace import Pace
from tests.unit.world import ManualClock


def test_turns_at_the_rate() -> None:
    clock = ManualClock()
    pace = Pace(20.0, 30.0, clock)
    assert [pace.turn(40), pace.turn(20), pace.turn(1)] == [(40, 0.0), (20, 2.0), (1, 3.0)]
    clock.at += 10
    assert pace.turn(1) == (1, 0.0)
    assert Pace(None, 30.0, clock).turn(10_000) == (10_000, 0.0)
