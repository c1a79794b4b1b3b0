"""Sources that list jobs: an HTCondor pool and a Slurm cluster."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from autopyfactory.batch.commands_words import Answer, Tags
from autopyfactory.batch.condor_child import ScheddSaid
from autopyfactory.child import CallLost, KillableChild
from autopyfactory.command import NotStarted, Silent
from autopyfactory.errors import SourceError
from autopyfactory.model import JobCount, Site
from autopyfactory.wms.condor import CondorJobs, CondorJobsOptions
from autopyfactory.wms.condor_jobs import Idle
from autopyfactory.wms.slurm import SlurmJobs, SlurmJobsOptions
from tests.unit.wms.fakes import FakeClock

DATA = Path(__file__).parents[2] / "data" / "slurm"


class Child:
    """A child process that answers from a script."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.closed = False

    def call(self, deadline: float, function: Callable[..., Any], *args: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


def pool(*answers: Any, **options: Any) -> tuple[CondorJobs, FakeClock]:
    clock = FakeClock()
    child = cast(KillableChild, Child(*answers))
    return CondorJobs("pool", CondorJobsOptions(**options), clock, child=child), clock


def counts(cells: Sequence[JobCount]) -> list[tuple[str, int, int, int]]:
    return [(cell.resource_type, cell.cores, cell.activated, cell.by_status["running"]) for cell in cells]


IDLE = (
    Idle("atlas", 1, True, 12),
    Idle("atlas", 1, False, 3),
    Idle("atlas", 8, True, 2),
    Idle("atlas", 1, True, 5),
    Idle("cms", 4, False, 1),
)


def test_idle_jobs_by_their_attribute() -> None:
    one, clock = pool(IDLE, attribute="ProjectName")
    assert counts(one.jobs("atlas").value) == [("SCORE", 1, 17, 3), ("MCORE", 8, 2, 0)]
    assert counts(one.jobs("cms").value) == [("MCORE", 4, 0, 1)]
    assert one.jobs("nobody").value == (), "who has no jobs is not listed"
    assert (one.jobs("atlas").began, one.jobs("atlas").source) == (clock.now(), "wms pool")
    assert one.site("atlas").value == Site("online")


def test_without_an_attribute_every_wmsqueue_has_all() -> None:
    one, _ = pool((Idle("", 1, True, 7),), status="test")
    assert counts(one.jobs("any").value) == counts(one.jobs("").value) == [("SCORE", 1, 7, 0)]
    assert one.site("any").value == Site("test")


@pytest.mark.parametrize(
    ("error", "reason", "stopped"),
    [
        (ScheddSaid("the collector knows no schedd 'x'"), "the collector knows no schedd 'x'", False),
        (CallLost("no answer within 20 s"), "no answer within 20 s", False),
        (CallLost("closed", stopped=True), "closed", True),
    ],
)
def test_a_pool_without_an_answer_is_unknown(error: Exception, reason: str, stopped: bool) -> None:
    one, _ = pool(error, attribute="ProjectName")
    with pytest.raises(SourceError) as caught:
        one.jobs("atlas")
    assert caught.value.reason.startswith(reason)
    assert caught.value.stopped == stopped
    one.close()
    with pytest.raises(SourceError, match="the factory stops"):
        one.jobs("atlas")


def test_options() -> None:
    with pytest.raises(ValueError, match="interval and deadline together, which are 1m20s, and not 1m10s, else"):
        CondorJobsOptions(max_age="70s")
    with pytest.raises(ValueError, match="write one expression on one line"):
        CondorJobsOptions(constraint=" ")
    with pytest.raises(ValueError, match="is no JMESPath expression, at character"):
        SlurmJobsOptions(expression="account = 'x'")


def job(state: Any = "PENDING", **words: Any) -> dict[str, Any]:
    base = {"partition": "normal", "cpus": 1, "user_name": "alice", "state_reason": "Priority", "comment": ""}
    return {"job_state": state, **base, **words}


def cluster(*answers: Any, **options: Any) -> SlurmJobs:
    waiting = list(answers)

    class Run:
        def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
            assert list(argv) == ["squeue", "--all", "--array", "--json"]
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, Answer) else Answer(0, json.dumps({"jobs": answer, "errors": []}))

        def close(self) -> None:
            pass

    return SlurmJobs("farm", SlurmJobsOptions(**options), FakeClock(), run=Run())


def test_what_shows_the_jobs_of_a_pool() -> None:
    ours = "(JobStatus == 1 || JobStatus == 2) && APF_FACTORY =?= undefined"
    assert pool()[0].shows("x") == [f"condor_q -allusers -constraint '{ours} && (true)' -af:j JobStatus RequestCpus"]
    options = {"attribute": "P", "collector": "cm:9618", "schedds": "a, b", "config": "/c", "constraint": "X == 1"}
    first, second = pool(**options)[0].shows('q"')
    assert first == (
        "env CONDOR_CONFIG=/c condor_q -pool cm:9618 -name a -allusers -constraint "
        f'\'{ours} && (X == 1) && P == "q\\""\' -af:j JobStatus RequestCpus P'
    )
    assert "-name b" in second
    assert "-global" in pool(schedds="all")[0].shows("x")[0]


def test_what_shows_the_jobs_of_a_cluster() -> None:
    line = "squeue --all --array --partition normal --states PENDING,RUNNING"
    assert cluster().shows("normal") == [line]
    assert cluster(bin_dir="/opt/s", users="a, b").shows("normal") == [f"/opt/s/{line} --user a,b"]


JOBS = [
    job(),
    job(state_reason="Resources", cpus=8),
    job(["PENDING"], cpus={"set": True, "infinite": False, "number": 8}),
    job("RUNNING"),
    job("COMPLETED"),
    job(state_reason="JobHeldUser"),
    job(state_reason="Dependency"),
    job(partition="short,normal", user_name="bob", account="atlas"),
    job(comment=Tags("F", "Q", "s", "c").text()),
    job(["PENDING"], comment={"job": Tags("F", "Q", "s", "c").text()}),
]


def test_pending_jobs_by_partition() -> None:
    one = cluster(JOBS)
    assert counts(one.jobs("normal").value) == [("SCORE", 1, 1, 1), ("MCORE", 8, 2, 0)]
    assert counts(one.jobs("short").value) == [("SCORE", 1, 1, 0)]
    assert one.jobs("empty").value == ()
    assert one.site("normal").value == Site("online")


@pytest.mark.parametrize(
    ("tasks", "count"),
    [("", 1), (None, 1), ("1-4", 4), ("1-4%2", 4), ("7", 1), ("0,3,10-20:5", 5), ("1-3,...", 3), ("strange", 1)],
)
def test_an_array_is_as_many_jobs_as_it_has_tasks(tasks: str | None, count: int) -> None:
    one = cluster([job(array_task_string=tasks)])
    assert one.jobs("normal").value[0].activated == count


@pytest.mark.parametrize("options", [{"users": "bob"}, {"expression": "account == 'atlas'"}])
def test_only_the_jobs_that_count(options: dict[str, str]) -> None:
    one = cluster(JOBS, **options)
    assert one.jobs("normal").value == ()
    assert counts(one.jobs("short").value) == [("SCORE", 1, 1, 0)]


def test_what_squeue_wrote() -> None:
    text = (DATA / "squeue-22.05.json").read_text()
    waiting = [job for job in json.loads(text)["jobs"] if job["job_state"] in {"PENDING", "RUNNING"}]
    cells = cluster(Answer(0, text)).jobs("normal").value
    assert sum(sum(cell.by_status.values()) for cell in cells) <= len(waiting)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(0, (DATA / "squeue-controller-down.json").read_text()), "squeue: no answer of slurmctld: Failed while"),
        (Answer(0, "slurm is down"), "squeue: slurm is down"),
        (Answer(1, "", "munge"), "squeue: munge"),
        ([{"job_state": "PENDING"}], "squeue writes a form that is not known here: KeyError('partition')"),
        (Silent("squeue: no answer within 20 s"), "squeue: no answer within 20 s"),
        (NotStarted("cannot run squeue: No such file"), "cannot run squeue: No such file"),
    ],
)
def test_a_cluster_without_an_answer_is_unknown(answer: Any, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        cluster(answer).jobs("normal")
    assert caught.value.reason.startswith(reason)
    assert not caught.value.stopped
