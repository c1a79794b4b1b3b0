"""Held and old pilots: the table, releases, limited removal, pauses, ages; and nothing done without an answer."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.batch import ALL_STATES, Batch
from autopyfactory.batch.held import OTHER, SHIPPED, row_of, summary, table
from autopyfactory.batch.tender import Ages, Tender
from autopyfactory.config.models import HeldOptions, QueueConfig
from autopyfactory.errors import SourceError, Unasked
from autopyfactory.model import Pilot, PilotCounts, PilotState, Trouble
from tests.unit.world import START, ManualClock, make_queue

HELD = frozenset({PilotState.HELD})
WAITING = frozenset({PilotState.UNSENT, PilotState.PENDING})
SLURM_AWAY = (
    "(stdout:) (stderr:sbatch: error: Batch job submission failed: Unable to contact slurm controller "
    "(connect failure)-Error from sbatch: )"
)
SGE_AWAY = '(stdout:) (stderr:Unable to run job: unable to send message to qmaster using port 6444 on host "head": got'


class FakeBatch:
    """Pilots by id; released ones are pending, removed ones gone."""

    def __init__(self) -> None:
        self.there: dict[str, Pilot] = {}
        self.asked: list[frozenset[PilotState]] = []
        self.released: list[str] = []
        self.removed: list[str] = []
        self.error: Exception | None = None

    def add(self, count: int, state: PilotState = PilotState.HELD, **more: object) -> None:
        for _ in range(count):
            pilot = Pilot(f"{len(self.there)}.0", "Q", state, since=START, submitted=START, endpoint="ce")
            self.there[pilot.id] = replace(pilot, **more)  # type: ignore[arg-type]

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        self.asked.append(states)
        if self.error and not isinstance(self.error, Unasked):
            raise self.error
        return [pilot for pilot in self.there.values() if pilot.state in states and queue in {"", pilot.queue}]

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        if isinstance(self.error, Unasked):
            raise self.error
        self.released += [pilot.id for pilot in pilots]
        return len(pilots)

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        for pilot in pilots:
            self.removed.append(pilot.id)
            del self.there[pilot.id]
        return len(pilots)


def queue(name: str, ages: Ages) -> QueueConfig:
    return make_queue(name, max_pending_age=ages.pending, max_running_age=ages.running, interval=ages.interval)


class Bed:
    def __init__(self, rows: Mapping[str, HeldOptions] | None = None, ages: Mapping[str, Ages] | None = None) -> None:
        self.clock = ManualClock()
        self.batch = FakeBatch()
        self.acts = True
        self.tender = Tender("schedd x", cast(Batch, self.batch), self.clock, may_act=lambda: self.acts)
        self.tender.configure(table(rows or {}), [queue(name, one) for name, one in (ages or {}).items()])

    def tend(self, later: float = 0.0, states: frozenset[PilotState] = ALL_STATES) -> None:
        self.clock.at += later
        self.tender.tend(states)


def held(code: int | None, reason: str = "", **more: object) -> Pilot:
    pilot = Pilot("1.0", "Q", PilotState.HELD, hold_code=code, hold_reason=reason)
    return replace(pilot, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "reason", "name", "action"),
    [
        (1, "via condor_hold (by user apf)", "by-hand", "leave"),
        (15, "submitted on hold at user's request", "by-hand", "leave"),
        (13, "Transfer input files failure", "transfer", "release"),
        (6, "Failed to execute '/x': (errno=2)", "no-start", "remove"),
        (0, "Failed to start GAHP: Missing remote command", "no-gahp", "pause"),
        (0, "ARC job has no credentials", "no-credential", "pause"),
        (0, "proxy delegation failed: HTTP response 500", "no-delegation", "pause"),
        (0, "HTTP response 500", "arc-refuses", "pause"),
        (0, "curl_easy_perform() failed (7): 'Could not connect to server'.", "arc-unreachable", "release"),
        (0, "File stage-out failed: curl_easy_perform() failed (35)", "arc-unreachable", "release"),
        (0, "The job's proxy has expired", "credential-of-grid", "release"),
        (0, "submission command failed (exit code = 1) (stdout:) (stderr:)", "gahp-refused", "tell"),
        (0, f"submission command failed (exit code = 1) {SLURM_AWAY}", "gahp-unreachable", "release"),
        (0, f"submission command failed (exit code = 1) {SGE_AWAY}", "gahp-unreachable", "release"),
        (0, "submission command failed (stderr:qsub: cannot connect to server", "gahp-unreachable", "release"),
        (0, "submission command failed (stderr:sbatch: error: Socket timed out on send/recv", "gahp-refused", "tell"),
        (0, "Job removed from batch queue manually", "gahp-removed", "remove"),
        (21, "Job exceeded something here", "by-site", "remove"),
        (34, "memory usage exceeded request_memory", "resources", "remove"),
        (7, "Error from slot1: Failed to open '/x/1.out'", "files-here", "pause"),
        (0, "who knows", OTHER, "tell"),
        (999, "a new code", OTHER, "tell"),
        (None, "PENDING (JobHeldUser)", "slurm-by-hand", "leave"),
        (None, "PENDING (launch_failed_requeued_held)", "slurm-start", "release"),
        (None, "PENDING (PartitionTimeLimit)", "slurm-limits", "tell"),
        (None, "PSUSP", "lsf-by-hand", "leave"),
        (None, "H", "torque-by-hand", "leave"),
    ],
)
def test_the_shipped_table(code: int | None, reason: str, name: str, action: str) -> None:
    found, row = row_of(SHIPPED, held(code, reason))
    assert (found, row.action) == (name, action)


@pytest.mark.parametrize(
    "said",
    [
        *(SLURM_AWAY.replace("connect", word) for word in ("send", "receive", "shutdown")),
        "(stderr:Unable to run job: failed receiving gdi request response for mid=1 (got receive timeout",
        "(stderr:qsub: submit error (Premature end of message))",
        "(stderr:Cannot connect to LSF. Please wait ... Communication time out. Job not submitted.)",
    ],
)
def test_what_may_have_been_taken_is_not_released_to_be_submitted_again(said: str) -> None:
    found, row = row_of(SHIPPED, held(0, f"submission command failed (exit code = 1) (stdout:) {said}"))
    assert (found, row.action) == ("gahp-refused", "tell")


def test_rows_of_the_configuration_come_first_and_may_name_a_subcode() -> None:
    text = HeldOptions(match="No SPACE", action="leave")
    rows = table({"mine": HeldOptions(code=("13:28",), action="remove"), "text": text, "hook": text})
    assert rows["hook"] is text, "a shipped row is replaced by one of its name"
    assert row_of(rows, held(13, hold_subcode=28))[0] == "mine"
    assert row_of(rows, held(13, hold_subcode=2))[0] == "transfer"
    assert row_of(rows, held(13, "no space left", hold_subcode=2))[0] == "text"


def test_a_row_needs_a_condition() -> None:
    with pytest.raises(ValueError, match="name code or match"):
        HeldOptions.model_validate({"action": "leave"})
    with pytest.raises(ValueError, match="is no regular expression"):
        HeldOptions.model_validate({"action": "leave", "match": "("})
    with pytest.raises(ValueError, match="'x' is no hold code"):
        HeldOptions.model_validate({"action": "leave", "code": "12, x"})


def test_reasons_are_told_by_what_they_have_in_common() -> None:
    reasons = [f"Error from slot1_{n}: no space" for n in range(9)] + ["via condor_hold"] * 2 + [""]
    pilots = [held(1, reason) for reason in reasons]
    assert (
        summary(pilots) == "12 held: 9 x 'Error from slot1_0: no space' (code 1), 2 x 'via condor_hold' (code 1), ..."
    )
    assert summary(pilots[-1:]) == "1 held: 1 x 'no reason given' (code 1)"
    assert summary([held(1, "x" * 300)]) == f"1 held: 1 x '{'x' * 97}...' (code 1)"


def test_reasons_are_told_with_the_code_that_a_row_would_name() -> None:
    pilots = [held(13, "no", hold_subcode=28)] * 3 + [held(13, "no", hold_subcode=0)] * 2
    assert summary(pilots) == "5 held: 3 x 'no' (code 13:28), 2 x 'no' (code 13)"
    HeldOptions.model_validate({"action": "leave", "code": "13:28, 13"})
    assert summary([held(None, "PSUSP")]) == "1 held: 1 x 'PSUSP'"


def test_released_so_often_then_removed() -> None:
    bed = Bed()
    bed.batch.add(1, hold_code=13)
    bed.tend(299)
    assert bed.batch.released == []
    for count in (1, 2, 3):
        bed.tend(300)
        assert len(bed.batch.released) == count
    assert bed.batch.removed == []
    bed.tend(300)
    assert (bed.batch.released, bed.batch.removed) == (["0.0"] * 3, ["0.0"])


def test_a_release_that_reached_nobody_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed()
    bed.batch.add(2, hold_code=13)
    bed.batch.error = Unasked("slurm x", "sudo refuses, allow it by a line", ["0.0"])
    for _ in range(5):
        bed.tend(600)
    assert (bed.batch.released, bed.batch.removed) == ([], ["1.0"]), "what is not named may have been released"
    assert caplog.text.count("slurm x: sudo refuses, allow it by a line") == 1
    bed.batch.error = None
    for count in (1, 2, 3):
        bed.tend(600)
        assert bed.batch.released == ["0.0"] * count
    bed.tend(600)
    assert bed.batch.removed == ["1.0", "0.0"]


@pytest.mark.parametrize("action", ["release", "remove"])
@pytest.mark.parametrize("error", [Unasked, SourceError])
def test_pilots_that_are_refused_keep_no_others_from_their_turn(action: str, error: type[SourceError]) -> None:
    """Twenty of an account that sudo refuses, held longer than the five of another one."""
    bed = Bed({"mine": HeldOptions.model_validate({"match": "x", "action": action, "after": 60})})
    bed.batch.add(20, hold_reason="x", queue="BAD", since=START - 100)
    bed.batch.add(5, hold_reason="x")
    done: list[str] = []

    def act(pilots: Sequence[Pilot]) -> int:
        for pilot in pilots:
            if pilot.queue != "BAD":
                done.append(bed.batch.there.pop(pilot.id).id)
        if bad := [pilot.id for pilot in pilots if pilot.queue == "BAD"]:
            raise Unasked("slurm x", "sudo refuses", bad) if error is Unasked else SourceError("slurm x", "denied")
        return len(pilots)

    bed.batch.release_pilots = bed.batch.remove_pilots = act  # type: ignore[method-assign]
    for _ in range(20):
        bed.tend(30)
    assert sorted(done) == [f"{number}.0" for number in range(20, 25)]
    assert len(bed.batch.there) == 20


def test_old_pilots_that_are_refused_keep_no_others_from_their_turn() -> None:
    bed = Bed(ages={"Q": Ages(60.0, None, 60.0)})
    bed.batch.add(2, PilotState.PENDING)
    bed.batch.add(1, PilotState.PENDING, since=START + 1)
    remove = bed.batch.remove_pilots

    def refuse(pilots: Sequence[Pilot]) -> int:
        if bad := [pilot.id for pilot in pilots if pilot.since == START]:
            raise Unasked("slurm x", "sudo refuses", bad)
        return remove(pilots)

    bed.batch.remove_pilots = refuse  # type: ignore[method-assign]
    for _ in range(4):
        bed.tend(70)
    assert bed.batch.removed == ["2.0"]


def test_nothing_is_released_at_once() -> None:
    bed = Bed({"mine": HeldOptions(code=("13",), action="release", after=0.0)})
    bed.batch.add(1, hold_code=13)
    bed.tend(4)
    assert bed.batch.released == []
    bed.tend(1)
    assert bed.batch.released == ["0.0"]


def test_what_the_system_counts_is_not_forgotten_by_a_restart() -> None:
    bed = Bed()
    bed.batch.add(1, hold_code=13, releases=3)
    bed.tend(300)
    assert (bed.batch.released, bed.batch.removed) == ([], ["0.0"])


@given(st.integers(1, 300), st.lists(st.floats(0, 400), min_size=1, max_size=15), st.floats(0.01, 5))
@settings(max_examples=25, deadline=None)
def test_a_rate_is_never_passed(count: int, waits: Sequence[float], rate: float) -> None:
    bed = Bed({"mine": HeldOptions(code=("99",), action="remove", after=0.0, rate=rate)})
    bed.batch.add(count, hold_code=99)
    began = bed.clock.at
    for wait in waits:
        bed.tend(wait)
    allowed = max(1.0, rate * 60) + rate * (bed.clock.at - began) + 1
    assert 1 <= len(bed.batch.removed) <= allowed


def test_an_endpoint_is_paused_while_pilots_are_held_for_it(caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed()
    bed.batch.add(2, hold_code=7, hold_reason="cannot open /x/1.out")
    bed.batch.add(1, hold_code=1)
    for _ in range(3):
        bed.tend(600)
    assert bed.tender.paused == dict.fromkeys([("Q", "ce"), ("Q", "")], Trouble("paused", START))
    assert (bed.batch.released, bed.batch.removed) == ([], [])
    assert bed.tender.held == {"Q": "3 held: 2 x 'cannot open /x/1.out' (code 7), 1 x 'no reason given' (code 1)"}
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("schedd x: 2 held: 2 x 'cannot open /x/1.out' (code 7); make room")
    bed.tender.notice({"Q": PilotCounts(running=3)})
    assert (bed.tender.paused, bed.tender.held) == ({}, {})
    bed.tend()
    assert len(caplog.records) == 2, "told again when it comes again"


def test_nothing_is_done_without_an_answer_and_it_is_told_on_change(caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed(ages={"Q": Ages(60.0, None, 60.0)})
    bed.batch.add(3, hold_code=6)
    bed.batch.add(3, PilotState.PENDING)
    bed.batch.error = SourceError("schedd x", "no answer within 20 s")
    for _ in range(3):
        bed.tend(3600)
    assert (bed.batch.released, bed.batch.removed) == ([], [])
    assert len(caplog.records) == 1
    bed.batch.error = SourceError("schedd x", "closed", stopped=True)
    bed.tend()
    bed.batch.error = ZeroDivisionError("a bug")
    bed.tend()
    assert "a bug in looking after" in caplog.records[-1].getMessage()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("takes", [0.0, 20.0])
def test_what_cannot_be_done_for_some_is_done_for_others(caplog: pytest.LogCaptureFixture, takes: float) -> None:
    rows = {"no": HeldOptions(match="no", action="release"), "go": HeldOptions(match="go", action="remove")}
    bed = Bed(rows, ages={"Q": Ages(None, 60.0, 60.0)})
    bed.batch.add(1, hold_reason="no")
    bed.batch.add(1, hold_reason="go")
    bed.batch.add(1, PilotState.RUNNING)

    def refuse(pilots: Sequence[Pilot]) -> int:
        bed.clock.at += takes
        raise SourceError("schedd x", "no such job")

    bed.batch.release_pilots = refuse  # type: ignore[method-assign]
    bed.tend(3600)
    bed.tend(3600)
    assert bed.batch.removed == ([] if takes else ["1.0", "2.0"]), "a source that hangs is asked no more in this round"
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_who_may_not_act_only_looks() -> None:
    bed = Bed(ages={"Q": Ages(60.0, 60.0, 60.0)})
    bed.acts = False
    bed.batch.add(3, hold_code=6)
    bed.batch.add(3, PilotState.PENDING)
    bed.tend(3600)
    assert bed.tender.held
    assert (bed.batch.released, bed.batch.removed) == ([], [])


def test_old_waiting_pilots_go_unsent_first_and_few_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bed = Bed(ages={"Q": Ages(3600.0, None, 300.0)})
    bed.batch.add(38, PilotState.PENDING)
    bed.batch.add(1, PilotState.UNSENT)
    bed.batch.add(1, PilotState.PENDING, since=START - 10)
    bed.batch.add(1, PilotState.PENDING, since=None)
    bed.batch.add(5, PilotState.PENDING, queue="OTHER")
    bed.tend(3590)
    assert bed.batch.removed == []
    bed.tend(20)
    assert bed.batch.removed == ["38.0", "39.0"]
    bed.tend(100)
    assert len(bed.batch.removed) == 2, "once per cycle of the queue"
    bed.tend(200)
    assert len(bed.batch.removed) == 3, "at least one"
    assert caplog.records[0].getMessage() == "schedd x: removed 2 pilots waiting for more than 1 h (1 unsent)"


def test_pilots_under_a_former_name_are_their_heirs() -> None:
    bed = Bed()
    heir = make_queue("Q", formerly="OLD", max_running_age=60.0)
    bed.tender.configure(table({"full": HeldOptions(match="no space", action="pause")}), [heir])
    bed.batch.add(1, PilotState.RUNNING, queue="OLD")
    bed.batch.add(2, queue="OLD", hold_reason="no space")
    assert bed.tender.wanted({"OLD": PilotCounts(running=1)}) == {PilotState.RUNNING, PilotState.SUSPENDED}
    bed.tend(3600)
    assert bed.batch.removed == ["0.0"]
    assert bed.tender.held["Q"].startswith("2 held")
    assert bed.tender.paused.keys() == {("Q", "ce"), ("Q", "")}


def test_pilots_that_run_too_long_go() -> None:
    bed = Bed(ages={"Q": Ages(None, 3600.0, 300.0)})
    bed.batch.add(2, PilotState.RUNNING)
    bed.batch.add(1, PilotState.SUSPENDED)
    bed.batch.add(1, PilotState.RUNNING, since=START + 3000)
    bed.batch.add(3, PilotState.PENDING)
    bed.tend(3601)
    assert bed.batch.removed == ["0.0", "1.0", "2.0"]


def test_only_what_somebody_needs_is_asked() -> None:
    ages = {"Q": Ages(60.0, None, 60.0), "R": Ages(None, 60.0, 60.0)}
    bed = Bed(ages=ages)
    assert bed.tender.wanted({"X": PilotCounts(pending=3, running=2), "Q": PilotCounts(running=2)}) == frozenset()
    assert bed.tender.wanted({"X": PilotCounts(held=1)}) == HELD
    assert bed.tender.wanted({"Q": PilotCounts(pending=1, running=5), "R": PilotCounts(pending=3)}) == WAITING
    assert PilotState.RUNNING in bed.tender.wanted({"R": PilotCounts(running=1)})


def test_its_thread_works_when_a_count_shows_work_and_ends_with_it() -> None:
    bed = Bed()
    bed.batch.add(1, hold_code=1)
    done = threading.Event()
    tend = bed.tender.tend

    def tended(states: frozenset[PilotState]) -> None:
        tend(states)
        done.set()

    bed.tender.tend = tended  # type: ignore[method-assign]
    before = set(threading.enumerate())
    bed.tender.notice({"Q": PilotCounts(pending=3)})
    assert set(threading.enumerate()) <= before
    bed.tender.notice({"Q": PilotCounts(held=1)})
    assert done.wait(5)
    assert bed.batch.asked == [HELD]
    bed.tender.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
    bed.tender.notice({"Q": PilotCounts(held=1)})
    assert set(threading.enumerate()) <= before


def test_a_probe_that_runs_lifts_the_pause_until_the_next_hold() -> None:
    bed = Bed()
    bed.batch.add(2, hold_code=7)
    bed.batch.add(1, PilotState.RUNNING)
    bed.tend(60)
    bed.tend(60)
    assert ("Q", "ce") in bed.tender.paused, "it was submitted before"
    assert PilotState.RUNNING in bed.tender.wanted({"Q": PilotCounts(held=2, running=1)})
    bed.batch.add(1, PilotState.RUNNING, submitted=START + 90, since=START + 100)
    bed.tend(60)
    assert bed.tender.paused == {}
    bed.tend(60, HELD)
    assert bed.tender.paused == {}
    bed.batch.add(1, hold_code=7, since=START + 250)
    bed.tend(60)
    assert ("Q", "ce") in bed.tender.paused


def test_a_first_look_knows_the_pauses_and_touches_nothing() -> None:
    bed = Bed()
    bed.batch.add(2, hold_code=7, hold_reason="no space")
    bed.batch.add(1, hold_code=6)
    bed.clock.at += 3600
    bed.tender.look({("Q", "ce"): 3})
    assert bed.tender.paused == dict.fromkeys([("Q", "ce"), ("Q", "")], Trouble("paused", START))
    assert bed.tender.held["Q"].startswith("3 held: 2 x 'no space' (code 7)")
    assert (bed.batch.asked, bed.batch.released, bed.batch.removed) == ([HELD], [], [])


def test_a_first_look_asks_nothing_where_nothing_is_held_or_nobody_looks_after_pilots() -> None:
    bed = Bed()
    bed.tender.look({("Q", "ce"): 0})
    bed.tender.configure({}, [])
    bed.tender.look({("Q", "ce"): 3})
    assert (bed.batch.asked, bed.tender.paused) == ([], {})


@pytest.mark.parametrize("error", [SourceError("schedd x", "no answer within 20 s"), ZeroDivisionError("a bug")])
def test_held_pilots_that_cannot_be_listed_slow_their_endpoint_down_for_a_while(error: Exception) -> None:
    bed = Bed()
    bed.tender.configure(table({}), [make_queue("Q", formerly="OLD")])
    bed.batch.add(1, hold_code=6, queue="OLD")
    bed.batch.error = error
    bed.tender.look({("OLD", "ce"): 1})
    unlisted = dict.fromkeys([("Q", "ce"), ("Q", "")], Trouble("holding pilots that cannot be listed", START))
    assert bed.tender.paused == unlisted
    bed.tender.close()
    bed.tend(600)
    bed.tender.notice({"OLD": PilotCounts(held=1)})
    assert bed.tender.paused == unlisted
    bed.clock.at += 1
    bed.tender.notice({"OLD": PilotCounts(held=1)})
    assert bed.tender.paused == {}, "not for ever"


def test_a_listing_ends_what_its_failure_began() -> None:
    bed = Bed()
    bed.batch.add(1, hold_code=6)
    bed.batch.error = SourceError("schedd x", "no answer within 20 s")
    bed.tender.look({("Q", "ce"): 1})
    bed.batch.error = None
    bed.tend(30)
    assert bed.tender.paused == {}
