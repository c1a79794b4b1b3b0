"""Jobs that arrive: what a trace lets us know of them, and an invented demand."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.model import JobCount
from autopyfactory.record.trace import Demand
from autopyfactory.simulate.arrivals import DAY, Arrival, made_up, replayed
from autopyfactory.simulate.model import Stream

COUNTS = st.lists(st.none() | st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=8)


def trace(*counts: tuple[int, int] | None, step: float = 600.0) -> list[Demand]:
    """Return a trace of one wmsqueue from (activated, running), None meaning unknown."""
    cells = [count and (JobCount("M", "l", {"activated": count[0], "running": count[1]}),) for count in counts]
    return [Demand(1000 + k * step, "Q", cell) for k, cell in enumerate(cells)]


def total(arrivals: list[Arrival]) -> int:
    return sum(arrival.count for arrival in arrivals)


def test_growth_and_what_started() -> None:
    assert total(list(replayed(trace((10, 0), (30, 0)), 3600))) == 30
    assert total(list(replayed(trace((10, 0), (4, 6)), 3600))) == 10
    # Sixty run for an hour each: within ten minutes ten of them ended and ten others took their place.
    assert total(list(replayed(trace((10, 60), (10, 60)), 3600))) == 20


def test_an_unknown_stretch() -> None:
    found = list(replayed(trace((5, 0), None, None, (7, 0)), 3600))
    assert [(arrival.at, arrival.known) for arrival in found if not arrival.count] == [
        (0.0, True),
        (600.0, False),
        (1800.0, True),
    ]
    assert total(found) == 7, "the five still wait after it"


def test_seconds_between_lines_lose_no_ends_of_jobs() -> None:
    assert total(list(replayed(trace(*[(10, 20)] * 61, step=60.0), 3600))) == 30
    assert total(list(replayed(trace(*[(10, 40)] * 61, step=60.0), 3600))) == 50


def test_cells_that_look_alike_but_for_cores_or_share_or_source() -> None:
    def cell(activated: int, kind: str = "MCORE", cores: int = 0, share: str = "") -> JobCount:
        return JobCount(kind, "", {"activated": activated}, cores=cores, share=share)

    def lines(k: int) -> list[Demand]:
        many = 30 + k % 2
        cells = [
            (cell(many, cores=4), cell(10, cores=16)),
            (cell(many, share="E"), cell(10, share="T")),
            (cell(10), cell(many)),
        ]
        return [Demand(60.0 * k, "Q", both, f"w{place}") for place, both in enumerate(cells)]

    found = list(replayed([line for k in range(60) for line in lines(k)], 3600))
    assert {name: total([one for one in found if one.stream.wms == name]) for name in ("w0", "w1", "w2")} == {
        "w0": 70,
        "w1": 70,
        "w2": 70,
    }
    assert {(one.stream.cores, one.stream.share) for one in found} == {(4, ""), (16, ""), (0, "E"), (0, "T"), (0, "")}


def test_lines_that_begin_to_tell_cores_and_share_bring_no_jobs() -> None:
    older = (JobCount("M", "l", {"activated": 40, "running": 300}),)
    newer = (
        JobCount("M", "l", {"activated": 30, "running": 200}, cores=8),
        JobCount("M", "l", {"activated": 10, "running": 100}, cores=16, share="E"),
    )
    found = list(replayed([Demand(360.0 * k, "Q", (older, older, newer, newer)[k]) for k in range(4)], 3600))
    came = [total([one for one in found if 360.0 * k < one.at < 360.0 * (k + 1)]) for k in range(3)]
    assert came == [30, 30, 30]
    assert {one.stream.cores for one in found if one.at > 720.0} == {8, 16}


def test_a_short_trace_begins_again() -> None:
    found = list(replayed(trace((0, 0), (12, 0), step=DAY / 4), 3600, days=1.0))
    assert total(found) == 48
    assert all(a.at <= b.at for a, b in pairwise(found))


@given(COUNTS)
@settings(max_examples=30, deadline=None)
def test_never_negative_and_in_order(counts: list[tuple[int, int] | None]) -> None:
    found = list(replayed(trace(*counts), 3600))
    assert all(arrival.count >= 0 for arrival in found)
    assert all(a.at <= b.at for a, b in pairwise(found))
    assert total(found) >= (counts[-1] or (0, 0))[0] - max((count[0] for count in counts[:-1] if count), default=0)


def test_invented_demand_is_the_same_each_time() -> None:
    names = [Stream("A", "MCORE"), Stream("B")]
    found = list(made_up(names, 1.0, 60.0, seed=1))
    assert found == list(made_up(names, 1.0, 60.0, seed=1))
    assert {arrival.stream.wmsqueue for arrival in found} == {"A", "B"}
    assert 500 < total(found) < 20_000
    assert all(a.at <= b.at for a, b in pairwise(found))
