"""The factory's clock: it never jumps, and comes back to a system clock that was set."""

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from autopyfactory.clock import SLEW, Clock


class Host:
    """A host whose two clocks stand still until they are moved."""

    def __init__(self) -> None:
        self.system, self.boot = 1_800_000_000.0, 50.0
        self.clock = Clock(lambda: self.system, lambda: self.boot)

    def passes(self, seconds: float) -> float:
        """Let time pass; return by how much the factory's clock went on."""
        before = self.clock.now()
        self.system += seconds
        self.boot += seconds
        return self.clock.now() - before


def test_it_goes_on_with_the_host() -> None:
    host = Host()
    assert host.passes(60.0) == approx(60.0)
    assert host.clock.off() == 0.0


def test_a_step_of_the_system_clock_is_followed_slowly() -> None:
    host = Host()
    host.system -= 7200.0
    assert host.clock.off() == 7200.0
    assert host.passes(600.0) == approx(540.0)
    assert host.passes(0.0) == 0.0
    host.passes(71_400.0)
    assert host.clock.off() == approx(0.0)
    assert host.passes(600.0) == approx(600.0)
    host.system += 30.0
    assert host.passes(100.0) == approx(110.0)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), max_size=20))
def test_no_age_is_wrong_by_more_than_a_tenth(steps: list[tuple[float, float]]) -> None:
    host = Host()
    for seconds, jump in steps:
        host.system += jump
        went = host.passes(seconds)
        assert (1 - SLEW) * seconds - 1e-3 <= went <= (1 + SLEW) * seconds + 1e-3
