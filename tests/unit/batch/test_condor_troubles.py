import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autopyfactory.batch.condor_troubles import Lasting, Silence, Watch, troubles, unreachable
from autopyfactory.model import PilotGroup, PilotState, Trouble
from tests.unit.batch.test_condor_states import ad


def test_a_dead_ce_is_known_by_any_of_its_living_pilots() -> None:
    ads = [
        ad(1, 1, GridResourceUnavailableTime=70),
        ad(2, 1, GridResourceUnavailableTime=60),
        ad(3, 1, GridResourceUnavailableTime=10),
        ad(1, 1, APF_ENDPOINT="ce2"),
    ]
    assert unreachable(ads) == {"ce1": 60.0}
    assert troubles({"ce1": 60.0}, {"ce1": 1.0, "ce2": 2.0}) == {
        "ce1": Trouble("unreachable", 60.0),
        "ce2": Trouble("silent", 2.0),
    }


def pilots(endpoint: str = "ce1", **counts: int) -> list[PilotGroup]:
    return [PilotGroup(name, "Q", PilotState.PENDING, count, endpoint=endpoint) for name, count in counts.items()]


def test_a_ce_where_nothing_moves_is_silent_after_a_while() -> None:
    watch = Watch(100)
    assert watch.look(0, pilots(s1=3)) == {}
    assert watch.look(99, pilots(s1=3)) == {}
    assert watch.look(100, pilots(s1=3)) == {"ce1": 0}
    assert watch.look(150, pilots(s1=3)) == {"ce1": 0}
    assert watch.look(151, pilots(s1=2)) == {}
    assert watch.look(251, pilots(s1=2)) == {"ce1": 151}


def test_our_own_submissions_are_no_sign_of_life() -> None:
    watch = Watch(100)
    watch.look(0, pilots(s1=3))
    watch.look(50, pilots(s1=3, s2=3))
    assert watch.look(100, pilots(s1=3, s2=3, s3=1)) == {"ce1": 0}


def there(**counts: int) -> list[PilotGroup]:
    return [PilotGroup("s1", "Q", PilotState(state), count, endpoint="ce1") for state, count in counts.items()]


def test_a_ce_stays_silent_while_its_pilots_are_removed_for_their_age() -> None:
    """Each is listed as removed until the CE has heard of it, which one that hangs never does."""
    watch, lasting = Watch(1800), Lasting()
    watch.look(0, there(pending=40))
    for removed in range(38):
        pilots = there(pending=40 - removed, finishing=removed)
        found = lasting.look(2000 + 360 * removed, troubles({}, watch.look(2000 + 360 * removed, pilots)), pilots)
        assert found == {"ce1": Trouble("silent", 0)}


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        pytest.param({"unsent": 5, "pending": 2}, {"unsent": 3, "pending": 2}, False, id="unsent ones removed"),
        pytest.param({"running": 3, "pending": 2}, {"running": 2, "pending": 2, "finishing": 1}, False, id="kill"),
        pytest.param({"pending": 2, "finishing": 3}, {"pending": 2}, False, id="removed ones gone"),
        pytest.param({"pending": 2, "held": 3}, {"pending": 3, "held": 2}, False, id="released"),
        pytest.param({"pending": 2, "held": 3}, {"pending": 2, "held": 2, "unsent": 1}, False, id="released, unsent"),
        pytest.param({"pending": 2, "held": 3}, {"pending": 2}, False, id="held ones removed"),
        pytest.param({"pending": 3}, {"unsent": 3}, False, id="the input is there"),
        pytest.param({"unsent": 3}, {"unsent": 2, "pending": 1}, True, id="taken"),
        pytest.param({"pending": 3, "held": 1}, {"pending": 5}, True, id="released and taken"),
        pytest.param({"pending": 3}, {"pending": 2, "running": 1}, True, id="started"),
        pytest.param({"pending": 3}, {"pending": 2, "suspended": 1}, True, id="stopped"),
        pytest.param({"pending": 3}, {"pending": 2, "held": 1}, True, id="held"),
        pytest.param({"pending": 3}, {"pending": 2}, True, id="ran and ended between two counts"),
        pytest.param({"pending": 2, "running": 1}, {"pending": 2}, True, id="ended"),
        pytest.param({"pending": 3, "running": 1}, {"pending": 4}, True, id="started again by the CE"),
        pytest.param({"pending": 5, "running": 1}, {"pending": 4, "finishing": 1}, True, id="ended and removed"),
    ],
)
def test_what_our_own_hand_does_is_no_sign_of_life(before: dict[str, int], now: dict[str, int], moved: bool) -> None:
    watch = Watch(100)
    watch.look(0, [*there(**before), *pilots(s2=1)])
    found = watch.look(100, [*there(**now), *pilots(s2=1)])
    assert found == ({} if moved else {"ce1": 0})


def test_a_ce_where_nothing_waits_is_not_silent() -> None:
    watch = Watch(100)
    running = [PilotGroup("s1", "Q", PilotState.RUNNING, 5, endpoint="ce1")]
    assert watch.look(0, running) == watch.look(500, running) == {}
    assert watch.look(501, [*running, *pilots(s2=1)]) == {}
    assert watch.look(601, [*running, *pilots(s2=1)]) == {"ce1": 500}


def test_endpoints_are_watched_apart_and_forgotten_with_their_pilots() -> None:
    watch = Watch(100)
    watch.look(0, [*pilots("a", s1=1), *pilots("b", s2=1)])
    assert watch.look(100, [*pilots("a", s1=1), *pilots("b", s2=2)]) == {"a": 0}
    assert watch.look(200, pilots("b", s2=2)) == {"b": 100}
    assert watch.look(300, pilots("a", s1=1)) == {}


def test_pilots_that_end_between_two_counts_are_a_sign_of_life() -> None:
    """Each count finds a new probe that is unsent; the one before has ended by itself, 20 s after its count."""
    watch, lasting = Watch(1800), Lasting()
    for at in range(0, 7200, 120):
        probe = [PilotGroup(f"s{at}", "Q", PilotState.UNSENT, 3, endpoint="ce1")]
        ended = {"ce1": at - 100.0, "ce2": at + 0.0}
        assert lasting.look(at, troubles({}, watch.look(at, probe, ended)), probe, ended) == {}


def test_an_end_before_everything_stood_still_is_none() -> None:
    watch = Watch(100)
    watch.look(0, pilots(s1=3), {"ce1": -50})
    assert watch.look(100, pilots(s1=3), {"ce1": -50}) == {"ce1": 0}
    assert watch.look(130, pilots(s1=3), {"ce1": 60}) == {}
    assert watch.look(160, pilots(s1=3), {"ce1": 60}) == {"ce1": 60}
    assert watch.look(170, pilots(s1=3), {"ce1": 9999}) == {}, "whose clock is ahead"
    assert watch.look(270, pilots(s1=3), {}) == {"ce1": 170}


def silent_at_100() -> dict[str, Silence]:
    before = Watch(100)
    before.look(0, pilots(s1=3))
    return before.at(before.look(100, pilots(s1=3, s2=1)))


def test_what_was_silent_is_silent_after_a_restart_until_something_moves() -> None:
    watch = Watch(100, silent_at_100())
    assert watch.look(5000, pilots(s1=3, s2=1, s3=1)) == {"ce1": 0}
    assert watch.look(5030, pilots(s1=3, s3=1)) == {}


@pytest.mark.parametrize("now", [{"s1": 2, "s2": 1}, {"s1": 3}, {"s3": 5}])
def test_what_has_moved_during_a_restart_is_not_silent(now: dict[str, int]) -> None:
    watch = Watch(100, silent_at_100())
    assert watch.look(5000, pilots("ce1", **now)) == {}
    assert watch.look(5100, pilots("ce1", **now)) == {"ce1": 5000}


steps = st.lists(
    st.tuples(st.integers(0, 80), st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=1, max_size=12
)


@given(steps)
@example([(0, 0, 1, False), (1, 0, 1, True), (50, 0, 1, False), (50, 0, 1, False)])
@settings(max_examples=60, deadline=None)
def test_a_restart_makes_nobody_more_suspicious(looks: list[tuple[int, int, int, bool]]) -> None:
    always = again = Watch(100)
    at, silent = 0, dict[str, float]()
    for later, one, two, restart in looks:
        if restart:
            again = Watch(100, again.at(silent))
        at += later
        there = [group for group in pilots(s1=one, s2=two) if group.count]
        known = always.look(at, there)
        before, silent = silent, again.look(at, there)
        assert silent.keys() <= known.keys()
        assert all(since >= known[endpoint] for endpoint, since in silent.items())
        assert known.keys() & before.keys() <= silent.keys()


DEAD = {"ce1": Trouble("unreachable", 10)}


def at_ce1(state: PilotState) -> list[PilotGroup]:
    return [PilotGroup("s2", "Q", state, 1, endpoint="ce1")]


def test_a_dead_ce_whose_pilots_were_removed_is_still_dead() -> None:
    lasting = Lasting()
    assert lasting.look(20, DEAD, at_ce1(PilotState.UNSENT)) == DEAD
    assert lasting.look(30, {}, []) == DEAD
    assert lasting.look(40, {}, at_ce1(PilotState.UNSENT)) == DEAD, "a probe that has not arrived proves nothing"
    assert lasting.look(50, {"ce1": Trouble("unreachable", 45)}, at_ce1(PilotState.UNSENT)) == DEAD
    assert lasting.look(60, {}, at_ce1(PilotState.HELD)) == DEAD
    assert lasting.look(70, {}, at_ce1(PilotState.PENDING)) == {}
    assert lasting.look(80, {}, []) == {}


def test_a_dead_ce_that_told_of_an_end_works_again() -> None:
    lasting = Lasting()
    assert lasting.look(20, DEAD, [], {"ce1": 5}) == DEAD
    assert lasting.look(30, DEAD, at_ce1(PilotState.UNSENT), {"ce1": 15}) == DEAD, "not while it is found dead"
    assert lasting.look(40, {}, at_ce1(PilotState.UNSENT), {"ce1": 15}) == {}


def test_what_is_found_wrong_anew_is_told_by_its_new_word() -> None:
    lasting = Lasting()
    lasting.look(20, DEAD, at_ce1(PilotState.UNSENT))
    silent = {"ce1": Trouble("silent", 30)}
    assert lasting.look(40, silent, at_ce1(PilotState.PENDING)) == silent


def test_a_trouble_where_no_pilot_goes_any_more_is_forgotten() -> None:
    lasting = Lasting()
    lasting.look(20, DEAD, at_ce1(PilotState.UNSENT))
    assert lasting.look(3620, {}, []) == DEAD
    assert lasting.look(3621, {}, []) == {}
