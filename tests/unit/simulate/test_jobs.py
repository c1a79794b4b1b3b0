"""The life of simulated jobs, and the statistics that lag behind it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.simulate.jobs import Jobs, SimulatedQueue, Totals
from tests.unit.wms.fakes import FakeClock

QUEUE = SimulatedQueue("Q", backlog=3, rate=6)


def made(*queues: SimulatedQueue, lag: float = 0.0, lease: float = 100.0) -> tuple[Jobs, FakeClock]:
    clock = FakeClock(1000.0)
    return Jobs(queues or (QUEUE,), lag=lag, lease=lease, clock=clock), clock


def activated(jobs: Jobs) -> int:
    return jobs.statistics()["Q"]["SCORE"]["managed"]["activated"]


def test_jobs_arrive_at_their_rate() -> None:
    jobs, clock = made()
    assert activated(jobs) == 3
    clock.advance(25)
    assert activated(jobs) == 5
    jobs.add("Q", 10)
    assert activated(jobs) == 15
    with pytest.raises(LookupError):
        jobs.add("X", 1)


def test_the_oldest_job_goes_first_and_only_once() -> None:
    jobs, _ = made()
    ids = [job.id for _ in range(5) for job in jobs.acquire("Q", ["managed"], 1)]
    assert ids == sorted(set(ids))
    assert len(ids) == 3
    assert jobs.totals() == {"Q": Totals(arrived=3, running=3)}


def test_only_jobs_of_the_asked_labels() -> None:
    jobs, _ = made(QUEUE, SimulatedQueue("Q", label="user", backlog=1))
    assert len(jobs.acquire("Q", ["user"], 5)) == 1
    assert len(jobs.acquire("Q", ["user", "managed"], 2)) == 2
    assert not jobs.acquire("OTHER", ["managed"], 1)


def test_a_job_ends_as_its_pilot_says() -> None:
    jobs, _ = made()
    first, second = jobs.acquire("Q", ["managed"], 2)
    for status in ("starting", "running", "holding", "finished"):
        assert jobs.update(first.id, status) == "NULL"
    jobs.update(second.id, "failed")
    assert jobs.update(second.id, "running") == "tobekilled"
    assert jobs.totals() == {"Q": Totals(arrived=3, activated=1, finished=1, failed=1)}
    with pytest.raises(LookupError):
        jobs.update(1, "running")
    with pytest.raises(ValueError, match="flying"):
        jobs.update(first.id, "flying")


def test_a_silent_pilot_loses_its_job() -> None:
    jobs, clock = made(lease=10)
    (job,) = jobs.acquire("Q", ["managed"], 1)
    clock.advance(9)
    jobs.update(job.id, "running")
    clock.advance(9)
    assert jobs.totals()["Q"].running == 1
    clock.advance(2)
    assert jobs.totals()["Q"].failed == 1


def test_statistics_lag_behind() -> None:
    jobs, clock = made(lag=30)
    clock.advance(10)
    jobs.acquire("Q", ["managed"], 2)
    assert activated(jobs) == 3
    clock.advance(10)
    assert activated(jobs) == 3
    clock.advance(15)  # refreshed at 30 s, when six had arrived and two were taken
    assert activated(jobs) == 4
    assert jobs.statistics()["Q"]["SCORE"]["managed"]["sent"] == 2
    assert jobs.totals()["Q"].activated == 4


def test_frozen_statistics() -> None:
    jobs, clock = made(lag=1)
    jobs.freeze()
    clock.advance(100)
    assert activated(jobs) == 3
    jobs.freeze(False)
    clock.advance(1)
    assert activated(jobs) == 13


def test_a_queue_without_jobs_is_absent() -> None:
    jobs, _ = made(SimulatedQueue("Q"), SimulatedQueue("MANY", resource_type="MCORE", cores=8, backlog=1))
    assert set(jobs.statistics()) == {"MANY"}
    (job,) = jobs.acquire("MANY", ["managed"], 1)
    jobs.update(job.id, "finished")
    assert jobs.statistics() == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 20)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["running", "finished", "failed"]), st.integers(0, 5)),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([0.0, 7.0]))
@settings(max_examples=60)
def test_no_job_is_lost_or_doubled(steps: list[tuple[str, int]], lag: float) -> None:
    jobs, clock = made(lag=lag, lease=15)
    taken: list[int] = []
    for what, number in steps:
        if what == "wait":
            clock.advance(number)
        elif what == "take":
            taken += [job.id for job in jobs.acquire("Q", ["managed"], number)]
        elif number < len(taken):
            jobs.update(taken[number], what)
        total = jobs.totals()["Q"]
        assert total.arrived == 3 + int((clock.now() - 1000) / 10)
        assert total.arrived == total.activated + total.running + total.finished + total.failed
        assert len(set(taken)) == len(taken) == total.arrived - total.activated
