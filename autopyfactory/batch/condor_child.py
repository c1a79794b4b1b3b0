"""What runs in a schedd's child process: the only place that touches HTCondor's bindings.

The factory's own process imports this module for the names alone; the bindings are imported by `prepare`,
in the child, after CONDOR_CONFIG is set, for they read it once. What crosses the pipe is plain: ClassAds
and the bindings' exceptions stay here.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

Ad = dict[str, str | int | float | bool]

TAGS = ("APF_FACTORY", "APF_HOST", "APF_QUEUE", "APF_ENDPOINT", "APF_SHAPE", "APF_SUBMISSION")
GROUP_KEYS = (
    *TAGS,
    *("JobStatus", "HoldReasonCode", "JobUniverse", "GridResourceUnavailableTime", "GridJobStatus", "SubmitterId"),
)
LIFE_KEYS = ("QDate", "JobStartDate", "CompletionDate", "EnteredCurrentStatus", "RemoteWallClockTime", "LastRemoteHost")
ENDED_KEYS = (
    *("ClusterId", "ProcId", "JobUniverse", "ExitCode", "ExitBySignal", "ExitSignal", "StageInFinish"),
    *(*LIFE_KEYS, *TAGS),
)

GRID = 9
"""JobUniverse of a job that goes on to a CE."""

SPOOLING = 16
"""HoldReasonCode of a job whose input is still on its way to the schedd: no fault."""

UNSENT = f"JobUniverse == {GRID} && JobStatus == 1 && GridJobId =?= undefined"
"""What a schedd calls the pilots that it has taken and not yet handed to their CE."""

_STANDARD_CONFIGS = ("/etc/condor/condor_config", "/usr/local/etc/condor_config")
_PREFIX = re.compile(r"^(Failed to create job ad, errmsg=Submit:-?\d+:|Unable to commit transaction, SCHEDD:\d+:)")
_LIMITS = {"-2": "MAX_JOBS_SUBMITTED", "-3": "MAX_JOBS_PER_OWNER", "-4": "MAX_JOBS_PER_SUBMISSION"}


class ScheddSaid(Exception):
    """The bindings failed; `uncertain` is true when a submission may have been taken all the same."""

    def __init__(self, reason: str, uncertain: bool = False) -> None:
        super().__init__(reason, uncertain)
        self.reason = reason
        self.uncertain = uncertain


@dataclass(frozen=True, slots=True)
class Target:
    """Which schedd: by name, from a collector; both empty: the local one."""

    name: str = ""
    collector: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """All jobs of a factory in groups, each with its JobCount; `trusted` is false when they had to be counted here.

    `unsent` are idle grid jobs by submission that have not reached their CE: these have no GridJobId.
    """

    groups: tuple[Ad, ...]
    schedd: str = ""
    bindings: str = ""
    trusted: bool = True
    unsent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The jobs that a schedd took: procs `first` to `first + count - 1` of a cluster."""

    cluster: int
    first: int
    count: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spooled:
    """Spooled jobs to deal with: those whose output waits to be fetched, those whose input did not come in time."""

    completed: tuple[Ad, ...] = ()
    late: tuple[Ad, ...] = ()


_SCHEDDS: dict[Target, Any] = {}


def prepare(config: str, token_dir: str) -> None:
    """Import the bindings with the right configuration; without any, those of a pure client."""
    if config:
        os.environ["CONDOR_CONFIG"] = config
    elif "CONDOR_CONFIG" not in os.environ and not any(Path(path).exists() for path in _STANDARD_CONFIGS):
        os.environ["CONDOR_CONFIG"] = "ONLY_ENV"
    bindings = _bindings()
    if token_dir:
        bindings.param["SEC_TOKEN_DIRECTORY"] = token_dir


def _bindings() -> Any:
    return import_module("htcondor2")


def plain(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the bindings' exceptions into ScheddSaid: unpickling them would import the bindings."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not type(error).__module__.startswith(("htcondor", "classad")):
                raise
            raise ScheddSaid(*_explain(str(error))) from None

    return wrapped


def _explain(text: str) -> tuple[str, bool]:
    """Return the bindings' words in one line, and whether a submission that ended so may exist.

    Everything before the commit is certain to leave nothing behind, and so is a commit that the schedd
    answers with a reason of its own (`SCHEDD:2:...`, for example a submit requirement).
    """
    line = " ".join(text.split())
    uncertain = "commit" in line.lower() and "SCHEDD:" not in line
    limit = _LIMITS.get(line.rsplit(" ", 1)[-1]) if line.startswith("expected next ProcId") else None
    if limit:
        line = f"the schedd takes no more jobs: {limit}"
    if line.startswith("Unable to locate local daemon"):
        line = "no schedd runs on this host, or HTCondor's configuration is not found (start it, or set CONDOR_CONFIG)"
    return _PREFIX.sub("", line), uncertain


def _locate(target: Target) -> Any:
    bindings = _bindings()
    if not target.name:
        return bindings.Schedd()
    collector = bindings.Collector(target.collector) if target.collector else bindings.Collector()
    # Schedd(None) would be the local one: a mistyped name must never lead there.
    location = collector.locate(bindings.DaemonType.Schedd, target.name)
    if location is None:
        where = f"collector {target.collector}" if target.collector else "the collector of its configuration"
        raise ScheddSaid(f"{where} knows no schedd '{target.name}'")
    return bindings.Schedd(location)


def ask(target: Target, question: Callable[[Any], R]) -> R:
    """Put a question to the schedd; a known address serves without the collector until it fails."""
    schedd = _SCHEDDS.pop(target, None) or _locate(target)
    answer = question(schedd)
    _SCHEDDS[target] = schedd
    return answer


def act(target: Target, action: str, constraint: str, reason: str) -> int:
    """Do something (`Remove`, `Release`) to the jobs that a constraint chooses, and return to how many."""
    word = getattr(_bindings().JobAction, action)
    done = ask(target, lambda schedd: schedd.act(word, constraint, reason))
    return int(done["TotalSuccess"]) if done is not None else 0


def ad_of(classad: Any, keys: Sequence[str]) -> Ad:
    """Copy plain values; undefined ones, which are enum members and true, are left out."""
    values = {key: classad.get(key) for key in keys}
    return {key: value for key, value in values.items() if type(value) in (str, int, float, bool)}


def of_factory(factory: str) -> str:
    """Return the constraint that chooses a factory's jobs; `==` would know no case.

    A job that another schedd has sent here as to a CE carries our tags too, and SubmitterId: it is the copy
    of a pilot that is counted there.
    """
    return f'APF_FACTORY =?= "{factory}" && SubmitterId =?= undefined'


@plain
def survey(target: Target, factory: str) -> Survey:
    """Count a factory's jobs by our tags and their state with one grouped query.

    Every attribute of the constraint must be among the keys: the constraint of a grouped query sees no
    other, and the answer would be empty. So an empty answer is checked with a plain query.
    """
    bindings = _bindings()

    def question(schedd: Any) -> Survey:
        grouped = schedd.query(of_factory(factory), list(GROUP_KEYS), opts=bindings.QueryOpt.GroupBy)
        groups = tuple(ad_of(group, (*GROUP_KEYS, "JobCount")) for group in grouped)
        trusted = bool(groups) or not schedd.query(of_factory(factory), ["ClusterId"], limit=1)
        if not trusted:
            jobs = schedd.query(of_factory(factory), list(GROUP_KEYS))
            groups = tuple(ad_of(job, GROUP_KEYS) | {"JobCount": 1} for job in jobs)
        unsent = _unsent(schedd, factory) if any(may_be_unsent(group) for group in groups) else {}
        return Survey(groups, _version(schedd._version), _version(bindings.version()), trusted, unsent)

    return ask(target, question)


def may_be_unsent(group: Ad) -> bool:
    """Tell whether the jobs of a group may be waiting for their CE to take them."""
    return group.get("JobUniverse") == GRID and group.get("JobStatus") == 1


def _unsent(schedd: Any, factory: str) -> Mapping[str, int]:
    """Count by submission; a group key GridJobId would make a group of every job."""
    constraint = f"{of_factory(factory)} && {UNSENT}"
    return dict(Counter(str(job["APF_SUBMISSION"]) for job in schedd.query(constraint, ["APF_SUBMISSION"])))


@plain
def full(target: Target, factory: str) -> dict[str, int]:
    """Return the gridmanager's limit of each endpoint that has no room for our unsent pilots.

    The collector tells it, by the Grid ads of the schedd's gridmanagers, each named like the jobs' GridResource. An
    ad is made anew every five minutes, so it counts all jobs there, and not who of them waits.
    """
    constraint = f"{of_factory(factory)} && {UNSENT}"
    jobs = ask(target, lambda schedd: schedd.query(constraint, ["APF_ENDPOINT", "GridResource"]))
    waiting = {str(job["GridResource"]): str(job["APF_ENDPOINT"]) for job in jobs}
    if not waiting:
        return {}
    bindings = _bindings()
    collector = bindings.Collector(target.collector) if target.collector else bindings.Collector()
    ads = collector.query(bindings.AdType.Grid, "NumJobs > JobLimit", ["Name", "JobLimit"])
    return {waiting[name]: int(ad["JobLimit"]) for ad in ads if (name := str(ad["Name"])) in waiting}


def _version(text: str) -> str:
    words = text.split()
    return words[1] if len(words) > 1 else text


@plain
def completed(target: Target, factory: str) -> tuple[Ad, ...]:
    """Return the completed jobs of a factory that are still listed."""
    constraint = f"{of_factory(factory)} && JobStatus == 4"
    jobs = ask(target, lambda schedd: schedd.query(constraint, list(ENDED_KEYS)))
    return tuple(ad_of(job, ENDED_KEYS) for job in jobs)


@plain
def submit(target: Target, description: dict[str, str], count: int, spool: bool) -> Accepted:
    """Submit `count` jobs, and with `spool` send their input."""
    bindings = _bindings()
    try:
        described = bindings.Submit(description)
    except (TypeError, ValueError) as error:
        raise ScheddSaid(f"no submit description: {error}") from None

    def question(schedd: Any) -> Accepted:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = schedd.submit(described, count=count, spool=spool)
        if spool:
            _send_input(schedd, result)
        said = tuple(" ".join(str(warning.message).split()) for warning in caught)
        return Accepted(result.cluster(), result.first_proc(), result.num_procs(), said)

    return ask(target, question)


def _send_input(schedd: Any, result: Any) -> None:
    bindings = _bindings()
    try:
        schedd.spool(result)
    except bindings.HTCondorException as error:
        failure = " ".join(str(error).split())
        try:
            schedd.act(bindings.JobAction.Remove, f"ClusterId == {result.cluster()}", "its input could not be sent")
        except bindings.HTCondorException as second:
            left = f"cannot remove cluster {result.cluster()} either: {' '.join(str(second).split())}"
            raise ScheddSaid(f"cannot send the input of the pilots: {failure}; {left}", uncertain=True) from None
        raise ScheddSaid(f"cannot send the input of the pilots, they are removed: {failure}") from None


@plain
def spooled(target: Target, factory: str, patience: float) -> Spooled:
    """Return the spooled jobs that are completed, and those whose input did not come within `patience` seconds."""
    late = f"JobStatus == 5 && HoldReasonCode == {SPOOLING} && time() - EnteredCurrentStatus > {patience:.0f}"

    def question(schedd: Any) -> Spooled:
        def those(constraint: str) -> tuple[Ad, ...]:
            jobs = schedd.query(f"{of_factory(factory)} && {constraint}", list(ENDED_KEYS))
            return tuple(ad_of(job, ENDED_KEYS) for job in jobs)

        return Spooled(those("JobStatus == 4 && StageInFinish > 0"), those(late))

    return ask(target, question)


@plain
def fetch(target: Target, job: str) -> None:
    """Fetch the output of a completed job (`cluster.proc`) and let it go."""
    remove_job = _bindings().JobAction.Remove

    def question(schedd: Any) -> None:
        schedd.retrieve(job)
        # Schedds of 25.8.2 and later let it go by themselves.
        schedd.act(remove_job, [job], "its output was retrieved")

    ask(target, question)


@plain
def drop(target: Target, job: str, reason: str) -> None:
    """Remove one job (`cluster.proc`)."""
    remove_job = _bindings().JobAction.Remove
    ask(target, lambda schedd: schedd.act(remove_job, [job], reason))


@plain
def listed(target: Target, factory: str, submissions: Sequence[str]) -> tuple[Ad, ...]:
    """Return the submission and the state of each job that is listed."""
    wanted = ", ".join(f'"{submission}"' for submission in submissions)
    constraint = f"{of_factory(factory)} && member(APF_SUBMISSION, {{{wanted}}})"
    keys = ("APF_SUBMISSION", "JobStatus")
    jobs = ask(target, lambda schedd: schedd.query(constraint, list(keys)))
    return tuple(ad_of(job, keys) for job in jobs)


@plain
def records(target: Target, factory: str, submission: str, limit: int) -> tuple[Ad, ...]:
    """Return the newest records of a submission in the history, which is read backwards until `limit` are found.

    No time bounds it: it is in the order of leaving the queue, where a foreign job may have ended days before ours.
    """
    constraint = f'APF_SUBMISSION == "{submission}" && {of_factory(factory)}'
    keys = (*ENDED_KEYS, "JobStatus")
    jobs = ask(target, lambda schedd: schedd.history(constraint, list(keys), limit))
    return tuple(ad_of(job, keys) for job in jobs)
