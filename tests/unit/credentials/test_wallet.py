"""Which credential a queue takes, and what stops it."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.config.models import CredentialOptions, QueueConfig
from autopyfactory.credentials import Chosen, Validity, span
from autopyfactory.credentials.wallet import Wallet
from autopyfactory.cycle import Cycle
from tests.testbed import papers
from tests.unit.world import START, ManualClock, World, make_queue, order_of

HOUR = 3600.0
LIVES = st.sampled_from([-HOUR, 0.0, 599.0, 601.0, HOUR])


def wallet(folder: Path, clock: ManualClock, **lives: float) -> Wallet:
    """Return a wallet whose sections are tokens with so many seconds to live."""
    credentials = {
        name: CredentialOptions(kind="token", file=papers.write(folder / name, papers.token(exp=START + life)))
        for name, life in lives.items()
    }
    return Wallet(credentials, clock)


def queue(**options: Any) -> QueueConfig:
    return make_queue("Q", **options)


def test_the_first_good_one(tmp_path: Path) -> None:
    clock = ManualClock()
    both = wallet(tmp_path, clock, first=HOUR, second=9 * HOUR)
    one = queue(token="first, second")
    assert both.choose(one) == Chosen(token=tmp_path / "first")
    clock.at += HOUR - 590
    assert both.choose(one) == Chosen(token=tmp_path / "second"), "first lives shorter than 10 minutes"
    papers.write(tmp_path / "first", papers.token(exp=START + 20 * HOUR))
    assert both.choose(one) == Chosen(token=tmp_path / "first")


def test_no_good_one(tmp_path: Path) -> None:
    clock = ManualClock(START + 4 * HOUR)
    lacking = wallet(tmp_path, clock, first=HOUR).choose(queue(token="first, /gone", proxy=str(tmp_path / "first")))
    assert lacking == Chosen(
        lacking=f"no usable proxy: {tmp_path}/first holds no certificate that can be read, make it anew; "
        f"no usable token: {tmp_path}/first expired 3 h ago, renew it; "
        "/gone does not exist, make it or correct the path"
    )


def test_only_what_the_row_takes_is_asked_for(tmp_path: Path) -> None:
    empty = wallet(tmp_path, ManualClock())
    both = queue(token="/gone", proxy="/gone")
    assert empty.choose(both, ()) == Chosen()
    assert empty.choose(both, ("proxy",)).lacking.startswith("no usable proxy: /gone")
    assert empty.choose(queue()) == Chosen()


def test_best_for_a_look(tmp_path: Path) -> None:
    some = wallet(tmp_path, ManualClock(), good=HOUR)
    best = some.best(queue(token="/gone, good", proxy="/gone, /gone2"))
    assert (best.token, best.proxy) == (tmp_path / "good", Path("/gone"))


def test_remarks_are_made_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    proxy = papers.write(tmp_path / "proxy", papers.proxy(START - 60, START + 12 * HOUR))
    proxy.chmod(0o644)
    one, some = queue(proxy=f"/gone, {proxy}", walltime="2d"), wallet(tmp_path, clock)
    for _ in range(3):
        assert some.choose(one) == Chosen(proxy=proxy)
        clock.at += HOUR
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"proxy {proxy} has mode 0644, keep other accounts out: chmod 600 it",
        f"it takes the proxy {proxy}, for /gone does not exist, make it or correct the path; {proxy} lives 12 h more, "
        "less than walltime = 2 days: a pilot that lasts loses it, unless the CE takes renewed ones",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1 h"), (172799, "48 h"), (172800, "2 days")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_one_of_tomorrow() -> None:
    assert (
        Validity(begins=START + 61).fault(START, 0) == "is not valid for another 1 min, look at the clock of this host"
    )
    assert Validity(begins=START + 59).fault(START, 0) == ""


def cycle_of(world: World, one: QueueConfig, some: Wallet) -> Cycle:
    return Cycle(
        one,
        world.source,
        world.wms,
        world.board,
        world.ledger,
        world.clock,
        make_order=order_of,
        credentials=lambda: some.choose(one),
    )


def test_an_expired_one_blocks_and_a_renewed_one_lets_go(tmp_path: Path) -> None:
    one = queue(token="prod")
    world = World(tmp_path, [one])
    cycle = cycle_of(world, one, wallet(tmp_path, world.clock, prod=HOUR))
    world.activate("Q", 5)
    assert cycle.run(Event()).submitted_count == 5
    world.advance(2 * HOUR, step=60)
    world.activate("Q", 3)
    report = cycle.run(Event())
    assert report.blocked is not None
    assert report.blocked.reason.endswith("/prod expired 1 h ago, renew it")
    assert not report.blocked.outage, "the queue goes on at full speed"
    assert report.pilots is not None
    papers.write(tmp_path / "prod", papers.token(exp=world.clock.now() + HOUR))
    assert cycle.run(Event()).submitted_count == 3


def test_an_outage_is_told_rather_than_a_proxy(tmp_path: Path) -> None:
    one = queue(token="/gone")
    world = World(tmp_path, [one])
    cycle = cycle_of(world, one, wallet(tmp_path, world.clock))
    world.pool.down = True
    blocked = cycle.run(Event()).blocked
    assert blocked is not None
    assert blocked.outage


@settings(max_examples=20, deadline=None)
@given(lives=st.lists(st.tuples(LIVES, LIVES), min_size=1, max_size=5))
def test_nothing_is_ever_submitted_with_a_bad_one(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("w")
    one = queue(token="first, second", rules={"max_pilots": 100_000})
    world = World(folder, [one])
    some = wallet(folder, world.clock, first=0, second=0)
    cycle = cycle_of(world, one, some)
    for life in lives:
        world.advance(60)
        world.activate("Q", 1)
        for name, seconds in zip(("first", "second"), life, strict=True):
            papers.write(folder / name, papers.token(exp=world.clock.now() + seconds))
        good = [seconds >= 600 for seconds in life]
        report = cycle.run(Event())
        assert (report.blocked is None) == any(good)
        if any(good):
            assert some.choose(one).token == folder / ("first" if good[0] else "second")
