import logging
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from autopyfactory.batch import condor_child, condor_pilots, remove
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_child import Accepted, Ad, ScheddSaid, Spooled, Survey, Target
from autopyfactory.batch.condor_states import AT_ONCE, STATES
from autopyfactory.child import KillableChild, NoAnswer, NotRun
from autopyfactory.errors import Ambiguous, Refused, SourceError, SubmitError
from autopyfactory.model import EndedPilot, Pilot, PilotGroup, PilotState, Trouble
from tests.unit.batch.test_condor_rows import order as grid_order
from tests.unit.batch.test_condor_submit import ORDER, context

Answer = Any
URL = "http://logs.test/2026-01-02/BNL_PROD/$(Cluster).$(Process)"
LINKS = "".join(f'+APF_{word}URL = "{URL}.{word.lower()}"\n' for word in ("LOG", "OUT", "ERR"))
TAGS: Ad = {
    "APF_QUEUE": "BNL_PROD",
    "APF_SUBMISSION": "s-1",
    "APF_HOST": "host1",
    "APF_ENDPOINT": "ap1",
    "APF_SHAPE": "1c",
}


class FakeChild:
    """Answers by the name of the function: with a value, or by raising it."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {"spooled": Spooled(), "fetch": None, "drop": None, "completed": ()} | answers
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.deadlines: list[float] = []
        self.closed = False

    def call(self, deadline: float, function: Callable[..., Any], *args: Any) -> Any:
        self.calls.append((function.__name__, args))
        self.deadlines.append(deadline)
        answer = self.answers[function.__name__]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def post(self, deadline: float, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self.call(deadline, function, *args))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        self.closed = True

    def asked(self, name: str) -> int:
        return [function for function, _ in self.calls].count(name)


def schedd(child: FakeChild, position: int = 0, **options: Any) -> CondorSchedd:
    return CondorSchedd("ap1", ScheddOptions(**options), context(position), child=cast(KillableChild, child))


def ad(status: int, count: int, **more: str | int) -> Ad:
    return TAGS | {"JobStatus": status, "JobCount": count} | more


def job(proc: int, **more: str | int | bool) -> Ad:
    return TAGS | {"ClusterId": 9, "ProcId": proc, "ExitCode": 0} | more


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (1, None, PilotState.PENDING),
        (2, None, PilotState.RUNNING),
        (3, None, PilotState.FINISHING),
        (4, None, PilotState.FINISHING),
        (5, 1, PilotState.HELD),
        (5, None, PilotState.HELD),
        (5, 16, PilotState.PENDING),
        (2, 16, PilotState.RUNNING),
        (6, None, PilotState.RUNNING),
        (7, None, PilotState.SUSPENDED),
        (8, None, PilotState.UNKNOWN),
        (0, None, PilotState.UNKNOWN),
    ],
)
def test_states(status: int, code: int | None, state: PilotState) -> None:
    more = {} if code is None else {"HoldReasonCode": code}
    child = FakeChild(survey=Survey((ad(status, 3, **more),)))
    assert schedd(child).poll().groups == (
        PilotGroup("s-1", "BNL_PROD", state, 3, host="host1", endpoint="ap1", shape="1c"),
    )


def test_every_documented_status_has_a_state() -> None:
    assert set(STATES) == set(range(1, 8))


def test_a_group_without_tags_is_counted_under_empty_names() -> None:
    child = FakeChild(survey=Survey(({"JobStatus": 2, "JobCount": 1},)))
    assert schedd(child).poll().groups == (PilotGroup("", "", PilotState.RUNNING, 1),)


def test_an_unknown_status_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    source = schedd(FakeChild(survey=Survey((ad(9, 1),))))
    source.poll()
    source.poll()
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["schedd ap1: it knows a JobStatus 9 that we do not, counted as unknown"]


def test_versions_are_logged_once_and_an_untrusted_grouping_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = schedd(FakeChild(survey=Survey((), "25.14.1", "25.14.0", trusted=False)))
    source.poll()
    source.poll()
    assert [record.getMessage() for record in caplog.records] == [
        "schedd ap1: HTCondor 25.14.1, bindings 25.14.0",
        "schedd ap1: its grouped answer is empty though it has our pilots; they are counted one by one",
    ]


@pytest.mark.parametrize(
    ("trouble", "words", "stopped"),
    [
        (NoAnswer("no answer within 20 s"), "schedd ap1: no answer within 20 s", False),
        (NotRun("busy with other calls for 20 s"), "schedd ap1: busy with other calls for 20 s", False),
        (NoAnswer("closed", stopped=True), "schedd ap1: closed", True),
        (ScheddSaid("Failed communication with collector."), "schedd ap1: Failed communication with collector.", False),
    ],
)
def test_no_answer_is_an_error_and_never_zero(trouble: Exception, words: str, stopped: bool) -> None:
    with pytest.raises(SourceError) as caught:
        schedd(FakeChild(survey=trouble)).poll()
    assert (str(caught.value), caught.value.stopped) == (words, stopped)


def test_ends_are_told_once_and_asked_for_only_when_there_are_new_ones() -> None:
    child = FakeChild(survey=Survey((ad(2, 3),)))
    source = schedd(child, position=1)
    assert source.poll().ended == ()
    assert child.asked("completed") == 0

    child.answers |= {"survey": Survey((ad(2, 1), ad(4, 2))), "completed": (job(0, ExitCode=3), job(1))}
    assert source.poll().ended == (
        EndedPilot("1-9.0", "BNL_PROD", "s-1", 3),
        EndedPilot("1-9.1", "BNL_PROD", "s-1", 0),
    )
    assert source.poll().ended == ()
    assert child.asked("completed") == 1

    # One leaves the queue as another one completes: the count of completed ones is the same.
    child.answers |= {"survey": Survey((ad(2, 0), ad(4, 2))), "completed": (job(1), job(2))}
    assert [pilot.cid for pilot in source.poll().ended] == ["1-9.2"]
    child.answers["survey"] = Survey((ad(4, 1),))
    assert source.poll().ended == ()
    assert child.asked("completed") == 2


def test_a_signal_is_a_negative_exit_code_and_an_unknown_one_is_none() -> None:
    jobs = (job(0, ExitBySignal=True, ExitSignal=11), TAGS | {"ClusterId": 9, "ProcId": 1})
    child = FakeChild(survey=Survey((ad(4, 2),)), completed=jobs)
    assert [pilot.exit_code for pilot in schedd(child).poll().ended] == [-11, None]


def test_a_failed_question_for_ends_leaves_the_counts_and_is_asked_again() -> None:
    child = FakeChild(survey=Survey((ad(4, 1),)), completed=NoAnswer("no answer within 1 s"))
    source = schedd(child)
    assert source.poll().groups[0].count == 1
    child.answers["completed"] = (job(0),)
    assert [pilot.cid for pilot in source.poll().ended] == ["9.0"]
    child.answers |= {"survey": Survey((ad(4, 2),)), "completed": NoAnswer("closed", stopped=True)}
    with pytest.raises(SourceError):
        source.poll()


def test_both_questions_of_a_poll_share_one_deadline() -> None:
    child = FakeChild(survey=Survey((ad(4, 1),)), completed=(job(0),))
    schedd(child, deadline=20).poll()
    assert child.deadlines[0] == 20
    assert child.deadlines[1] <= 20


def test_a_spooled_pilot_is_told_when_its_output_is_here() -> None:
    waiting = job(0, StageInFinish=5, ExitCode=2)
    child = FakeChild(
        survey=Survey((ad(4, 1),)), completed=(waiting,), spooled=Spooled((waiting,)), fetch=ScheddSaid("no space")
    )
    source = schedd(child)
    assert source.poll().ended == ()
    assert source.poll().ended == ()
    assert child.asked("fetch") == 2, "it is tried again"
    child.answers["fetch"] = None
    # Still listed for a moment, and fetched again: reported once all the same.
    ended = source.poll().ended + source.poll().ended + source.poll().ended
    assert ended == (EndedPilot("9.0", "BNL_PROD", "s-1", 2),)


def test_spooling_input_is_looked_after_and_a_stuck_pilot_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    child = FakeChild(survey=Survey((ad(5, 1, HoldReasonCode=16),)), spooled=Spooled(late=(job(0),)))
    source = schedd(child, spool_timeout=600)
    ended = source.poll().ended
    assert ended == (
        EndedPilot("9.0", "BNL_PROD", "s-1", None, "removed: its input did not reach the schedd within 600 s"),
    )
    child.answers["spooled"] = NoAnswer("no answer within 20 s")
    source.poll()
    child.answers["spooled"] = NoAnswer("closed", stopped=True)
    source.poll()
    child.answers["spooled"] = ValueError("a bug")
    source.poll()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "schedd ap1: no answer within 20 s (fetching the output of pilots; it is tried again)",
        "bug while fetching the output of pilots",
        "schedd ap1: ValueError('a bug') (fetching the output of pilots; it is tried again)",
    ]


def test_submitted_pilots_by_cid(tmp_path: Path) -> None:
    child = FakeChild(submit=Accepted(12, 4, 3))
    order = replace(ORDER, log_dir=tmp_path / "2026-01-02" / "BNL_PROD")
    assert schedd(child, position=1).submit(order).cids == ("1-12.4", "1-12.5", "1-12.6")
    assert order.log_dir.is_dir()
    target, description, count, spool = child.calls[0][1]
    assert (target, count, spool) == (Target(), 3, False)
    assert description["universe"] == "vanilla"


@pytest.mark.parametrize(
    ("options", "spool"),
    [({}, False), ({"name": "ap1"}, True), ({"name": "ap1", "spool": "no"}, False), ({"spool": "yes"}, True)],
)
def test_spool_is_on_unless_local(tmp_path: Path, options: dict[str, Any], spool: bool) -> None:
    child = FakeChild(submit=Accepted(1, 0, 3))
    schedd(child, **options).submit(replace(ORDER, log_dir=tmp_path))
    assert child.calls[0][1][3] is spool


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (NotRun("busy with other calls for 20 s"), Refused, "busy with other calls for 20 s, nothing was submitted"),
        (NotRun("closed", stopped=True), Refused, "closed, nothing was submitted"),
        (NoAnswer("no answer within 20 s"), Ambiguous, "no answer within 20 s"),
        (NoAnswer("closed", stopped=True), Ambiguous, "closed"),
        (ScheddSaid("Invalid value 'gt2' for grid type"), Refused, "Invalid value 'gt2' for grid type"),
        (ScheddSaid("Unable to commit transaction,", True), Ambiguous, "Unable to commit transaction,"),
    ],
)
def test_a_submission_that_may_exist_is_ambiguous_and_no_other(
    tmp_path: Path, trouble: Exception, kind: type[SubmitError], words: str
) -> None:
    with pytest.raises(kind, match=re.escape(f"schedd ap1: {words}") + "$") as caught:
        schedd(FakeChild(submit=trouble)).submit(replace(ORDER, log_dir=tmp_path))
    assert caught.value.stopped == getattr(trouble, "stopped", False)


def test_a_log_folder_that_cannot_be_made_refuses_before_anything_is_submitted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    child = FakeChild()
    with pytest.raises(Refused, match="cannot make the log folder"):
        schedd(child).submit(replace(ORDER, log_dir=tmp_path / "file" / "Q"))
    assert child.calls == []


def test_warnings_of_the_submission_are_logged_on_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = schedd(FakeChild(submit=Accepted(1, 0, 1, ("the line 'bogus = 1' was unused",))))
    for _ in range(2):
        source.submit(replace(ORDER, log_dir=tmp_path))
    assert [record.getMessage() for record in caplog.records] == ["schedd ap1: the line 'bogus = 1' was unused"]


def test_only_submissions_with_all_their_ends_have_ended(tmp_path: Path) -> None:
    child = FakeChild(submit=Accepted(9, 0, 3), listed=({"APF_SUBMISSION": "s-1", "JobStatus": 4},))
    source = schedd(child)
    source.submit(replace(ORDER, id="s-1", log_dir=tmp_path))
    child.answers["records"] = (job(0, JobStatus=3), job(1, JobStatus=4, ExitCode=2))
    assert source.ended(frozenset({"s-1"})) == {"s-1"}
    assert child.calls[-1] == ("records", (Target(), "fac-1", "s-1", 2))
    child.answers["survey"] = Survey(())
    assert source.poll().ended == (
        EndedPilot("9.0", "BNL_PROD", "s-1", None, "removed"),
        EndedPilot("9.1", "BNL_PROD", "s-1", 2),
    )


@pytest.mark.parametrize("count", [{}, {"JobCount": True}, {"JobCount": "3"}])
def test_a_group_without_a_count_is_no_answer(count: dict[str, Any]) -> None:
    child = FakeChild(survey=Survey((TAGS | {"JobStatus": 2} | count,)))
    with pytest.raises(SourceError, match="schedd ap1: its grouped answer has no JobCount for s-1"):
        schedd(child).poll()


def test_trouble_with_the_history_is_told_on_change(caplog: pytest.LogCaptureFixture) -> None:
    child = FakeChild(listed=(), records=NoAnswer("no answer within 20 s"))
    source = schedd(child)
    assert source.ended(frozenset({"a"})) == frozenset()
    assert source.ended(frozenset({"b"})) == frozenset()
    assert [record.getMessage() for record in caplog.records] == [
        "schedd ap1: no answer within 20 s (asked for the end of pilots that it does not show any more)"
    ]
    child.answers["records"] = NoAnswer("closed", stopped=True)
    with pytest.raises(SourceError):
        source.ended(frozenset({"c"}))


def test_no_submission_asks_nothing() -> None:
    child = FakeChild()
    assert schedd(child).ended(frozenset()) == frozenset()
    assert child.calls == []


OURS = 'APF_FACTORY =?= "fac-1" && SubmitterId =?= undefined'
HELD = "(JobStatus == 5 && HoldReasonCode =!= 16)"
IDLE = (
    "((JobStatus == 1 && !(JobUniverse == 9 && JobStatus == 1 && GridJobId =?= undefined)) || "
    "(JobStatus == 5 && HoldReasonCode =?= 16))"
)


def test_unsent_pilots_make_it_ask_for_limits_now_and_then() -> None:
    idle = ad(1, 3, JobUniverse=9)
    child = FakeChild(survey=Survey((idle,), unsent={"s-1": 3}), full={"ap1": 2})
    source = schedd(child)
    source.poll()
    assert source.poll().full == {"ap1": 2}
    assert child.asked("full") == 1
    child.answers["survey"] = Survey((idle,))
    assert source.poll().full == {}
    failing = schedd(FakeChild(survey=Survey((idle,), unsent={"s-1": 3}), full=NoAnswer("no")))
    failing.poll()
    assert failing.poll().full == {}


def test_a_collector_that_hangs_keeps_no_submission_waiting() -> None:
    child, beside = FakeChild(survey=Survey((ad(1, 3, JobUniverse=9),), unsent={"s-1": 3})), FakeChild(full={})
    children = {"child": cast(KillableChild, child), "beside": cast(KillableChild, beside)}
    source = CondorSchedd("ap1", ScheddOptions(), context(0), **children)
    source.poll()
    assert (child.asked("full"), beside.asked("full")) == (0, 1)
    source.close()
    assert (child.closed, beside.closed) == (True, True)


def test_pilots_are_listed_by_our_tags_and_states() -> None:
    child = FakeChild(pilots=())
    source = schedd(child)
    source.pilots("Q1", frozenset({PilotState.PENDING, PilotState.HELD}))
    source.pilots()
    asked = [arguments[1] for _, arguments in child.calls]
    assert asked == [f'{OURS} && APF_QUEUE =?= "Q1" && ({HELD} || {IDLE})', OURS]
    child.answers["pilots"] = ScheddSaid("no")
    with pytest.raises(SourceError, match=r"^schedd ap1: no$"):
        source.pilots()


def test_a_listed_job_is_a_pilot() -> None:
    tags: Ad = {"APF_QUEUE": "Q", "APF_SUBMISSION": "s", "APF_ENDPOINT": "ce", "QDate": 5, "EnteredCurrentStatus": 7}
    common: Ad = tags | {"ClusterId": 9, "JobUniverse": 9, "APF_RELEASES": 2}
    ads = (
        common | {"ProcId": 0, "JobStatus": 1},
        common | {"ProcId": 1, "JobStatus": 1, "GridJobId": "condor x", "GridJobStatus": "IDLE"},
        common | {"ProcId": 2, "JobStatus": 5, "HoldReasonCode": 13, "HoldReasonSubCode": 28, "HoldReason": "a\nb"},
        common | {"ProcId": 3, "JobStatus": 5, "HoldReasonCode": 16},
        common | {"ProcId": 4, "JobStatus": 99},
    )
    unsent, pending, held, coming, strange = schedd(FakeChild(pilots=ads), position=1).pilots()
    assert unsent == Pilot("9.0", "Q", PilotState.UNSENT, "1-9.0", "s", "ce", 5.0, 7.0, releases=2)
    assert (pending.state, pending.word) == (PilotState.PENDING, "IDLE")
    assert (held.state, held.hold_code, held.hold_subcode) == (PilotState.HELD, 13, 28)
    assert (held.hold_reason, held.releases) == ("a b", 2)
    assert (coming.state, coming.hold_code) == (PilotState.PENDING, None)
    assert strange.state is PilotState.UNKNOWN


def test_pilots_are_removed_by_name_while_they_are_in_their_state() -> None:
    child = FakeChild(remove=2, release=1)
    source = schedd(child)
    held = Pilot("9.1", "Q", PilotState.HELD)
    waiting = [Pilot(f"9.{number}", "Q", PilotState.PENDING) for number in range(AT_ONCE + 1)]
    assert source.remove_pilots([held, *waiting]) == 6
    constraints = [arguments[1] for _, arguments in child.calls]
    assert constraints[0] == f'{OURS} && ({HELD}) && member(strcat(ClusterId, ".", ProcId), {{"9.1"}})'
    assert constraints[2] == f'{OURS} && ({IDLE}) && member(strcat(ClusterId, ".", ProcId), {{"9.{AT_ONCE}"}})'
    assert source.release_pilots([held, *waiting]) == 1
    assert child.asked("release") == 1
    assert source.remove_pilots([]) == 0


def test_no_state_at_all_chooses_no_pilot() -> None:
    child = FakeChild(pilots=())
    assert remove(schedd(child), "Q1", frozenset()).total() == 0
    assert str(child.calls[0][1][1]).endswith("&& (False)")


def test_close_closes_the_child_and_a_report_waits_for_nothing() -> None:
    child = FakeChild()
    schedd(child).close()
    assert child.closed


def test_endpoint_is_the_schedds_name_or_this_host() -> None:
    assert schedd(FakeChild(), name="ap1.example.org").endpoint == "ap1.example.org"
    assert schedd(FakeChild()).endpoint == "host1"


def test_options() -> None:
    options = ScheddOptions()
    assert (options.interval, options.max_age, options.deadline, options.max_submit_rate) == (30, 300, 20, None)
    assert ScheddOptions.model_validate({"max_submit_rate": "20"}).max_submit_rate == 20
    with pytest.raises(ValidationError, match="write also name"):
        ScheddOptions(collector="cm:9618")


@pytest.mark.parametrize("times", [{"interval": "5m"}, {"deadline": "5m"}, {"max_age": "50s"}])
def test_options_that_would_make_good_counts_too_old_are_refused(times: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="max_age must be more than interval and deadline together"):
        ScheddOptions.model_validate(times)


def test_what_the_child_runs_can_be_sent_to_it() -> None:
    for function in (condor_child.survey, condor_child.submit, condor_child.fetch):
        assert getattr(condor_child, function.__name__) is function
    assert getattr(condor_pilots, condor_pilots.remove.__name__) is condor_pilots.remove


def grid_ad(status: int, count: int, **more: str | int) -> Ad:
    return ad(status, count, JobUniverse=9, **more)


def test_pilots_on_their_way_to_a_ce_and_a_ce_that_is_dead(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dead = Survey((grid_ad(1, 5, GridResourceUnavailableTime=1_700_000_000),), "25.14.1", unsent={"s-1": 5})
    child = FakeChild(survey=dead)
    source = schedd(child)
    report = source.poll()
    assert [(group.state, group.count) for group in report.groups] == [(PilotState.UNSENT, 5)]
    assert report.troubles == {"ap1": Trouble("unreachable", 1_700_000_000.0)}
    assert source.poll().troubles == report.troubles
    child.answers["survey"] = Survey((grid_ad(1, 5),), "25.14.1")
    assert source.poll().troubles == {}
    assert [record.getMessage() for record in caplog.records if "endpoint" in record.getMessage()] == [
        "schedd ap1: endpoint ap1 is unreachable since 2023-11-14 22:13:20 UTC:"
        " HTCondor's gridmanager cannot talk to it, see its log; it gets probes only",
        "schedd ap1: endpoint ap1 is no longer in trouble",
    ]


def test_a_grid_type_that_the_schedd_no_longer_knows_is_refused_with_the_way_out() -> None:
    child = FakeChild(survey=Survey((), "25.14.1"))
    source = schedd(child)
    source.poll()
    with pytest.raises(Refused, match=r"HTCondor 25\.14 does not submit gt2: use backend = globus, or a schedd of 9"):
        source.submit(grid_order("gt2", "gk.example.org"))
    assert child.asked("submit") == 0


def test_a_description_as_text() -> None:
    assert schedd(FakeChild()).describe(ORDER).endswith('\n+APF_SUBMISSION = "s-1"\n' + LINKS + "queue 3\n")
