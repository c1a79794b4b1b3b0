"""What a poll's answers mean for what we submitted: counts, doubt, what left pending, twins."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from autopyfactory.batch.held import table
from autopyfactory.batch.source import DOUBT, REMEMBER, PilotSource
from autopyfactory.batch.tally import Tally
from autopyfactory.config.models import HeldOptions
from autopyfactory.errors import SourceError
from autopyfactory.ledger import KEEP, Ledger, Outcome
from autopyfactory.model import EndedPilot, PilotCounts, PilotState, Snapshot, Submitted
from tests.unit.world import DEADLINE, POLL, FakeWms, ManualClock, Pool, PoolBatch, make_queue, order_of

PENDING, RUNNING = PilotState.PENDING, PilotState.RUNNING


class Bench:
    """A source over a pool, with submissions that go around the cycle."""

    def __init__(self, folder: Path, rate: float | None = None) -> None:
        self.clock = ManualClock()
        self.wms = FakeWms(self.clock)
        self.wms.activated = {"Q": 1000, "R": 1000}
        self.pool = Pool(self.clock, self.wms, start_after=None)
        self.path = folder / "submissions.jsonl"
        self.ended: list[EndedPilot] = []
        self.rate = rate
        self.restart()

    def restart(self) -> None:
        self.ledger = Ledger(self.path, self.clock)
        self.batch = PoolBatch("pool", self.pool, "here")
        self.batch.heard = float("inf")
        self.source = PilotSource(
            "pool",
            self.batch,
            self.ledger,
            self.clock,
            interval=POLL,
            max_age=600.0,
            deadline=DEADLINE,
            host="here",
            on_ended=self.tell,
            rate=self.rate,
        )

    def tell(self, ended: Sequence[EndedPilot]) -> None:
        self.ended += ended

    def submit(
        self, count: int, queue: str = "Q", outcome: Outcome = Outcome.ACCEPTED, *, lost: bool = False, waiting: int = 0
    ) -> str:
        name = self.ledger.open(queue, "pool", count, waiting=waiting, in_flight=waiting)
        if not lost:
            self.batch.submit(order_of(make_queue(queue), name, count, self.clock.at))
        if outcome is not Outcome.OPEN:
            self.ledger.close(name, outcome, count)
        return name

    def poll(self) -> Snapshot[Tally]:
        """Move on until the next poll is due, and return its answer."""
        self.clock.at += POLL + 1
        return self.source.snapshot()

    def counts(self, snapshot: Snapshot[Tally] | None = None, queue: str = "Q") -> PilotCounts:
        return self.source.counts(queue, snapshot or self.source.snapshot())

    def move(self, state: PilotState, count: int = 10_000) -> None:
        for pilot in [pilot for pilot in self.pool.pilots.values() if pilot.state is PENDING][:count]:
            pilot.state, pilot.started = state, self.clock.at

    def finish(self) -> None:
        self.pool.gone |= self.pool.pilots
        self.pool.pilots.clear()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_was_submitted_after_the_poll_waits_unseen(bench: Bench) -> None:
    bench.source.snapshot()
    bench.submit(5)
    assert bench.counts() == PilotCounts(unseen=5)
    assert bench.counts(queue="R") == PilotCounts()
    bench.poll()
    assert bench.counts() == PilotCounts(pending=5)


def test_what_has_no_answer_waits_as_ambiguous(bench: Bench) -> None:
    bench.source.snapshot()
    bench.submit(5, outcome=Outcome.OPEN, lost=True)
    bench.submit(4, outcome=Outcome.AMBIGUOUS, lost=True)
    assert bench.counts() == PilotCounts(ambiguous=9)


def test_the_half_that_shows_is_not_counted_twice(bench: Bench) -> None:
    bench.submit(6, outcome=Outcome.AMBIGUOUS)
    bench.pool.half = True
    bench.poll()
    assert bench.counts() == PilotCounts(pending=3, ambiguous=3)


def test_ambiguous_and_there(bench: Bench) -> None:
    bench.submit(5, outcome=Outcome.AMBIGUOUS)
    bench.poll()
    assert bench.counts() == PilotCounts(pending=5)
    assert bench.ledger.unsettled("pool") == []


def test_ambiguous_and_not_there_is_given_up_after_the_deadline_of_a_call(bench: Bench) -> None:
    bench.submit(5, outcome=Outcome.AMBIGUOUS, lost=True)
    bench.poll()
    assert bench.counts() == PilotCounts(ambiguous=5)
    bench.poll()
    assert bench.counts() == PilotCounts()


def test_a_crash_just_after_a_late_submission_waits_from_the_restart(bench: Bench) -> None:
    name = bench.ledger.open("Q", "pool", 5, waiting=0, in_flight=0)
    bench.clock.at += 60
    bench.restart()
    bench.source.snapshot()
    assert bench.counts() == PilotCounts(ambiguous=5)
    bench.batch.submit(order_of(make_queue("Q"), name, 5, bench.clock.at))
    bench.poll()
    assert bench.counts() == PilotCounts(pending=5)


def test_doubt_until_accepted_pilots_show(bench: Bench) -> None:
    bench.pool.hidden = True
    bench.submit(5)
    assert bench.source.doubt("Q", bench.source.snapshot()) == ""
    snapshot = bench.poll()
    said = "pool accepted 5 pilots at 22:13:20 and shows neither them nor their end; look for submission 2023"
    assert bench.source.doubt("Q", snapshot).startswith(said)
    assert bench.source.doubt("R", snapshot) == ""
    assert bench.source.in_flight() == 5
    assert bench.counts(snapshot) == PilotCounts(unseen=5), "siblings must not ask for their jobs again"
    bench.pool.hidden = False
    assert bench.source.doubt("Q", bench.poll()) == ""
    assert bench.counts() == PilotCounts(pending=5)


def test_doubt_ends_with_the_record_of_their_end(bench: Bench) -> None:
    bench.submit(5)
    bench.finish()
    assert bench.source.doubt("Q", bench.poll()) == ""
    assert bench.counts() == PilotCounts()


def test_doubt_stays_while_nobody_can_tell_of_their_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(names: frozenset[str]) -> frozenset[str]:
        raise SourceError("pool", "no history")

    bench.submit(5)
    bench.finish()
    monkeypatch.setattr(bench.batch, "ended", fails)
    assert bench.source.doubt("Q", bench.poll())
    monkeypatch.undo()
    assert not bench.source.doubt("Q", bench.poll())


def test_doubt_ends_after_an_hour(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.submit(5, lost=True)
    assert bench.source.doubt("Q", bench.poll())
    bench.clock.at += DOUBT - 2 * POLL
    assert bench.source.doubt("Q", bench.poll())
    bench.clock.at += POLL
    assert bench.source.doubt("Q", bench.poll()) == ""
    assert re.search("shows neither the 5 pilots of submission .* nor their end; they are given up", caplog.text)


def test_pilots_that_were_shown_and_vanish_put_the_source_in_doubt(bench: Bench) -> None:
    bench.submit(5)
    assert bench.source.doubt("Q", bench.poll()) == ""
    bench.pool.hidden = True
    hidden = bench.poll()
    assert bench.source.doubt("Q", hidden)
    assert bench.counts(hidden).in_flight == 5
    bench.pool.hidden = False
    assert bench.source.doubt("Q", bench.poll()) == ""


def test_pilots_that_vanish_with_an_end_on_record_are_believed_gone(bench: Bench) -> None:
    bench.submit(5)
    bench.poll()
    bench.finish()
    shown = bench.poll()
    assert bench.source.doubt("Q", shown) == ""
    assert bench.counts(shown).in_flight == 0


def test_an_older_answer_does_not_lose_what_a_newer_one_settled(bench: Bench) -> None:
    """A queue may decide on the answer it got while another thread has already polled again."""
    bench.pool.hidden = True
    bench.submit(5)
    bench.submit(4, outcome=Outcome.AMBIGUOUS)
    old = bench.poll()
    bench.pool.hidden = False
    new = bench.poll()
    assert bench.counts(old).waiting == 9
    assert bench.counts(new) == PilotCounts(pending=9)


def test_pilots_of_another_source_are_not_this_ones(bench: Bench) -> None:
    bench.ledger.open("Q", "elsewhere", 50, waiting=0, in_flight=0)
    assert bench.counts() == PilotCounts()


@pytest.mark.parametrize("run_for", [0.0, 1e9])
def test_pilots_that_start_at_once_have_left(bench: Bench, run_for: float) -> None:
    """Also those that come and go between two polls, so that no poll ever shows them."""
    figures = bench.clock.at - 100
    bench.pool.start_after, bench.pool.run_for = 0.0, run_for
    bench.submit(40)
    for _ in range(5):
        bench.poll()
        assert bench.source.left("Q", figures, 0) == 40
        assert bench.source.left("R", figures, 0) == 0
    bench.poll()
    assert bench.source.left("Q", bench.clock.at, 0) == 0, "figures of now know of them"


@pytest.mark.parametrize("run_for", [0.0, 1e9])
def test_what_left_is_known_after_a_restart(bench: Bench, run_for: float) -> None:
    figures = bench.clock.at - 100
    bench.pool.start_after, bench.pool.run_for = 0.0, run_for
    bench.submit(40)
    bench.clock.at += 15
    bench.restart()
    for _ in range(5):
        bench.poll()
        assert bench.source.left("Q", figures, 0) == 40
    assert bench.source.left("Q", bench.clock.at, 0) == 0


def test_after_a_restart_the_record_bounds_what_waited_from_above(bench: Bench) -> None:
    bench.poll()
    bench.submit(40)
    bench.poll()
    bench.submit(10, waiting=40)
    bench.clock.at += 500
    figures = bench.clock.at - 100
    bench.restart()
    bench.move(RUNNING, 30)
    bench.source.snapshot()
    assert bench.source.left("Q", figures, 20) == 30


def test_a_queue_whose_pilots_no_poll_shows_is_not_starved_for_ever(bench: Bench) -> None:
    bench.poll()
    bench.pool.start_after, bench.pool.run_for = 0.0, 0.0
    bench.submit(40)
    for _ in range(30):
        bench.poll()
    assert bench.source.left("Q", bench.clock.at - 120, 0) == 0


def test_nothing_known_nothing_left(bench: Bench) -> None:
    assert bench.source.left("Q", bench.clock.at, 0) == 0
    bench.poll()
    assert bench.source.left("Q", bench.clock.at - 100, 0) == 0


def test_a_first_poll_younger_than_the_figures_counts_what_waited_then(bench: Bench) -> None:
    bench.submit(40)
    bench.path.unlink()
    bench.restart()
    bench.poll()
    bench.move(RUNNING, 15)
    bench.poll()
    assert bench.source.left("Q", bench.clock.at - 300, 25) == 15


def test_ambiguous_pilots_that_then_start_at_once_have_left(bench: Bench) -> None:
    """An answer that did not show them yet is no point at which nothing waited."""
    bench.pool.hidden = True
    bench.submit(10, outcome=Outcome.AMBIGUOUS)
    figures = bench.poll().began + 1
    bench.pool.hidden = False
    bench.move(RUNNING)
    bench.poll()
    assert bench.source.left("Q", figures, bench.counts().waiting) == 10


def test_history_is_bounded(bench: Bench) -> None:
    for _ in range(int(REMEMBER / POLL * 2)):
        bench.poll()
    assert len(bench.source._polls) <= REMEMBER / POLL + 2


def test_in_flight_of_a_source_that_has_not_answered(bench: Bench) -> None:
    bench.submit(5, waiting=7)
    bench.restart()
    assert bench.source.in_flight() == 12
    bench.poll()
    assert bench.source.in_flight() == 5
    bench.submit(3)
    bench.submit(2, outcome=Outcome.AMBIGUOUS, lost=True)
    assert bench.source.in_flight() == 10


def test_ends_are_told_once(bench: Bench) -> None:
    name = bench.submit(2)
    bench.poll()
    bench.finish()
    bench.poll()
    bench.poll()
    assert bench.ended == [EndedPilot(f"{name}.{k}", "Q", name, 0) for k in range(2)]


def test_who_is_told_of_ends_may_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(ended: Sequence[EndedPilot]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.source, "_on_ended", fails)
    bench.submit(2)
    bench.finish()
    polls = bench.batch.polls
    bench.poll()
    bench.poll()
    assert bench.batch.polls == polls + 2, "the source is not in back-off for that"
    assert "a bug in telling of 2 pilots" in caplog.text


def twin(bench: Bench, name: str, host: str) -> None:
    bench.pool.accept(order_of(make_queue("Q"), name, 1, bench.clock.at), host, 1)


def test_a_twin_is_named_and_forgiven_when_its_pilots_are_gone(bench: Bench) -> None:
    bench.submit(1)
    bench.poll()
    twin(bench, "other", "there")
    bench.poll()
    assert bench.source.twin == "pool shows pilots of this factory's id from host there that it did not submit"
    bench.finish()
    bench.poll()
    assert bench.source.twin == ""


def test_pilots_from_before_our_start_are_adopted(bench: Bench) -> None:
    twin(bench, "19700101T000000-abc", "there")
    bench.poll()
    bench.poll()
    assert bench.source.twin == ""
    assert bench.counts() == PilotCounts(pending=1)


def test_pilots_younger_than_our_start_are_a_twins_even_in_the_first_answer(bench: Bench) -> None:
    twin(bench, "29991231T235959-abc", "there")
    bench.poll()
    assert "host there" in bench.source.twin


def test_a_twin_on_our_own_host_is_known_by_what_we_did_not_submit(bench: Bench) -> None:
    bench.poll()
    twin(bench, "29991231T235959-abc", "here")
    bench.poll()
    assert "host here" in bench.source.twin


def test_pilots_without_a_host_that_we_did_not_submit_are_a_twins(bench: Bench) -> None:
    bench.poll()
    twin(bench, "other", "")
    bench.poll()
    assert bench.source.twin


def test_one_empty_answer_does_not_make_our_old_pilots_a_twins(bench: Bench) -> None:
    bench.submit(5)
    bench.submit(1)
    bench.poll()
    bench.clock.at += KEEP
    bench.poll()
    bench.pool.hidden = True
    bench.poll()
    bench.pool.hidden = False
    bench.poll()
    assert bench.source.twin == ""
    assert bench.counts() == PilotCounts(pending=6)


def test_a_turn_is_never_later_than_one_interval_and_nobody_gets_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, rate=1.0)
    assert bench.source.pace.turn(1000) == (int(POLL), 0.0)
    assert bench.source.pace.turn(1000) == (1, POLL)
    assert bench.source.pace.turn(1000) == (0, 0.0)
    bench.clock.at += 2
    assert bench.source.pace.turn(1000)[0] == 1


def test_a_queue_that_was_moved_is_counted_where_it_was(bench: Bench) -> None:
    bench.submit(5)
    bench.submit(3, queue="R")
    bench.poll()
    bench.submit(2, lost=True, outcome=Outcome.AMBIGUOUS)
    assert bench.source.in_flight("Q") == 7
    assert bench.source.in_flight("R") == 3
    bench.restart()
    assert bench.source.in_flight("Q") == 2, "of a source that has not answered what is unsettled counts"


def test_a_second_doubt_lasts_as_long_as_the_first(bench: Bench) -> None:
    bench.submit(5)
    bench.poll()
    for _ in range(2):
        bench.pool.hidden = True
        assert bench.source.doubt("Q", bench.poll())
        bench.pool.hidden = False
        assert bench.source.doubt("Q", bench.poll()) == ""
        bench.clock.at += DOUBT
        bench.poll()


def test_of_what_vanishes_only_what_was_alive_is_missed(bench: Bench) -> None:
    bench.submit(5)
    bench.poll()
    for pilot in list(bench.pool.pilots.values())[:4]:
        pilot.state = PilotState.FINISHING
    bench.poll()
    bench.pool.hidden = True
    assert bench.counts(bench.poll()).in_flight == 1


def test_close_ends_both(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(bench.batch, "close", lambda: closed.append(True))
    bench.source.close()
    assert closed
    with pytest.raises(SourceError, match="the factory stops"):
        bench.source.snapshot()


def test_a_submitted_reports_its_cids(bench: Bench) -> None:
    order = order_of(make_queue("Q"), "s", 2, bench.clock.at)
    assert bench.batch.submit(order) == Submitted("s", ("s.0", "s.1"))


def test_what_is_paused_is_known_in_the_first_answer_after_a_restart(bench: Bench) -> None:
    bench.submit(3)
    bench.clock.at += 60
    bench.move(PilotState.HELD)
    bench.restart()
    bench.source.tender.configure(table({"all": HeldOptions(match="^", action="pause")}), [make_queue("Q")])
    first = bench.source.snapshot().value
    bench.source.close()
    [endpoint] = {at for _, at in first.held_at}
    assert first.paused.keys() == {("Q", endpoint), ("Q", "")}
    assert {trouble.word for trouble in first.paused.values()} == {"paused"}
    assert first.held["Q"].startswith("3 held")
