"""HTCondor: pilots as jobs of a schedd, the local one or a remote one.

The bindings hold the interpreter's lock during network calls, so all of them run in a child process that is
killed at the deadline (`child`; what runs there are `condor_child` and `condor_pilots`). What is submitted is
rendered by `condor_submit`.
"""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, ParamSpec, TypeVar

from pydantic import Field, model_validator

from autopyfactory.batch import ALL_STATES, Context, Order, condor_child, condor_pilots
from autopyfactory.batch.cids import cid_prefix
from autopyfactory.batch.condor_check import lacking, problems, refusal
from autopyfactory.batch.condor_child import Ad, ScheddSaid, Survey, Target
from autopyfactory.batch.condor_ends import Ends
from autopyfactory.batch.condor_rows import CONDOR_ROWS, CondorQueueOptions
from autopyfactory.batch.condor_silence import Silences
from autopyfactory.batch.condor_spool import Spool
from autopyfactory.batch.condor_states import STATES, at_ces, is_coming, pilot_groups, pilot_of, these, those
from autopyfactory.batch.condor_submit import faults_of, render, written
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.batch.condor_troubles import MEANING, Lasting, Watch, troubles, unreachable
from autopyfactory.batch.condor_vanished import Vanished
from autopyfactory.batch.order import make_log_folder
from autopyfactory.child import CallLost, KillableChild, NoAnswer, NotRun
from autopyfactory.clock import utc
from autopyfactory.config.fields import Boolean, Duration, Options, Rate, check_longer
from autopyfactory.config.models import CredentialOptions, FactoryOptions
from autopyfactory.config.models import QueueOptions as QueueOptionsOfAll
from autopyfactory.config.problems import Fault
from autopyfactory.credentials import KINDS
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.model import Pilot, PilotGroup, PilotReport, PilotState, Submitted, Trouble

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)

LIMITS_AGE = 60.0
"""Seconds between two questions for the limits of endpoints, while pilots are unsent."""

AT_MOST = 50_000
"""Pilots in one listing."""


class ScheddOptions(Options):
    """`[schedd NAME]` of autopyfactory.conf."""

    place: ClassVar[tuple[str, ...]] = ("name", "collector", "config")

    name: str = Field("", description="name of the schedd; empty: the one of this host")
    collector: str = Field("", description="its collector, host:port; empty: the one of HTCondor's own configuration")
    interval: Duration = Field(30.0, gt=0, description="time between two counts of the pilots")
    max_age: Duration = Field(300.0, gt=0, description="older counts of pilots are not believed")
    deadline: Duration = Field(20.0, gt=0, description="the most that one call of the schedd may take")
    max_submit_rate: Rate | None = Field(None, gt=0, description="pilots a second, at most; unset: as fast as it takes")
    spool: Boolean | None = Field(None, description="send input and fetch output; unset: only where name is set")
    spool_timeout: Duration = Field(600.0, gt=0, description="a pilot whose input takes longer is removed")
    silent_after: Duration = Field(
        1800.0, gt=0, description="a CE gets probes only when nothing has moved there for so long while pilots wait"
    )
    config: Path | None = Field(None, description="CONDOR_CONFIG for this schedd; empty: HTCondor's own search")
    token_dir: Path | None = Field(None, description="folder of the tokens that authenticate us to it")

    @model_validator(mode="after")
    def _sensible(self) -> "ScheddOptions":
        if self.collector and not self.name:
            raise ValueError("a collector knows many schedds, write also name = <the schedd's name>")
        check_longer(self, "max_age", "interval", "deadline")
        return self


class CondorSchedd:
    """One schedd. Safe from many threads; its calls run one after the other in its child process.

    What asks the collector beside them has a child of its own: a pool whose central manager hangs still takes pilots.
    """

    source_kind: ClassVar[str] = "schedd"
    SourceOptions: ClassVar[type[Options]] = ScheddOptions
    QueueOptions: ClassVar[type[Options]] = CondorQueueOptions

    def __init__(
        self,
        name: str,
        options: ScheddOptions,
        context: Context,
        *,
        child: KillableChild | None = None,
        beside: KillableChild | None = None,
    ) -> None:
        self._source = f"schedd {name}"
        self._options = options
        self._context = context
        self._factory = context.factory.id
        self._target = Target(options.name, options.collector)
        self._spool = bool(options.name) if options.spool is None else options.spool
        config, tokens = str(options.config or ""), str(options.token_dir or "")
        self._child = child or KillableChild(f"schedd-{name}", condor_child.prepare, config, tokens)
        self._beside = beside or child or KillableChild(f"limits-{name}", condor_child.prepare, config, tokens)
        self._ends = Ends(cid_prefix(context.position))
        self._spooled = Spool(
            self._child,
            self._target,
            self._factory,
            self._ends,
            context.clock,
            deadline=options.deadline,
            patience=options.spool_timeout,
            say=lambda trouble: self._once("spool", trouble),
        )
        self._vanished = Vanished(
            self._ends,
            context.clock,
            lambda seconds, names: self._ask(seconds, condor_child.listed, self._target, self._factory, names),
            lambda seconds, name, most: self._ask(
                seconds, condor_child.records, self._target, self._factory, name, most
            ),
            lambda trouble: self._once("history", trouble),
        )
        self._said: dict[str, str] = {}
        self._silences = Silences(context.factory.state_dir, name)
        self._watch = Watch(options.silent_after, self._silences.known)
        self._lasting = Lasting()
        self._troubles: Mapping[str, Trouble] = {}
        self._version = ""
        self._full: Mapping[str, int] = {}
        self._next_look = float("-inf")

    @classmethod
    def check(
        cls,
        options: QueueOptionsOfAll,
        backend: CondorQueueOptions,
        _factory: FactoryOptions,
        credentials: Mapping[str, CredentialOptions],
    ) -> list[str]:
        """Return what is wrong with a queue's section, for its row of the table."""
        return list(problems(options, backend, credentials))

    @classmethod
    def check_submit(cls, submit: Mapping[str, str]) -> Iterator[Fault]:
        """Judge a queue's `submit.X`."""
        return faults_of(submit)

    @classmethod
    def lacking(cls, type: str, subtype: str, sources: Sequence[Options] = ()) -> str:
        """Return what this host has not that a row needs; a schedd elsewhere needs none here."""
        return lacking(type, subtype, remote=any(getattr(options, "name", "") for options in sources))

    @classmethod
    def carries(cls, type: str, subtype: str) -> tuple[str, ...]:
        """Return the kinds of credentials that go into a row's submit description."""
        row = CONDOR_ROWS.get((type or "vanilla", subtype))
        return row.credentials if row else KINDS

    def describe(self, order: Order) -> str:
        """Return the submit description as condor_submit would read it."""
        return written(render(self._context, order, spool=self._spool), order.count)

    def shows(self, queue: str) -> list[str]:
        """Return the condor_q that shows a queue's pilots."""
        where = ["-name", self._options.name] if self._options.name else []
        pool = ["-pool", self._options.collector] if self._options.collector else []
        tags = f"APF_FACTORY =?= {class_ad_string(self._factory)} && APF_QUEUE =?= {class_ad_string(queue)}"
        asked = ["-af:jh", "JobStatus", "APF_ENDPOINT", "GridJobStatus", "HoldReason"]
        return [shlex.join(["condor_q", "-allusers", *pool, *where, "-constraint", tags, *asked])]

    @property
    def endpoint(self) -> str:
        """Return the schedd's name, or this host's where it is the local one."""
        return self._options.name or self._context.factory.host

    def poll(self) -> PilotReport:
        """Count the pilots with one grouped query; a second one only when some completed since the last."""
        began = self._context.clock.now()
        survey = self._ask(self._options.deadline, condor_child.survey, self._target, self._factory)
        self._note_versions(survey)
        groups = self._groups(survey)
        self._vanished.shown(survey.groups)
        left = self._options.deadline - (self._context.clock.now() - began)
        self._look_for_ends(survey.groups, max(1.0, left))
        if any(is_coming(ad) for ad in survey.groups) and not self._context.looking:
            self._spooled.look_after()
        there = pilot_groups(at_ces(survey))
        ended = self._ends.at_ces()
        silent = self._watch.look(began, there, ended)
        if not self._context.looking:
            self._silences.keep(self._watch.at(silent))
            self._once("silent", self._silences.trouble)
        found = self._lasting.look(began, troubles(unreachable(survey.groups), silent), there, ended)
        self._tell_of_endpoints(found)
        self._look_for_limits(groups, began)
        return PilotReport(groups, self._ends.take(), found, full=self._full)

    def submit(self, order: Order) -> Submitted:
        """Submit all pilots of the order as one cluster. Raises Refused or Ambiguous."""
        description = render(self._context, order, spool=self._spool)
        if why := refusal(order.queue, self._version):
            raise Refused(f"{self._source}: {why}")
        make_log_folder(order)
        try:
            taken = self._child.call(
                self._options.deadline, condor_child.submit, self._target, description, order.count, self._spool
            )
        except NotRun as error:
            raise Refused(f"{self._source}: {error.reason}, nothing was submitted", stopped=error.stopped) from None
        except NoAnswer as error:
            raise Ambiguous(f"{self._source}: {error.reason}", stopped=error.stopped) from None
        except ScheddSaid as error:
            kind = Ambiguous if error.uncertain else Refused
            raise kind(f"{self._source}: {error.reason}") from None
        self._once(f"submit {order.queue.name}", "; ".join(taken.warnings))
        self._vanished.accepted(order.id, taken.count)
        return Submitted(order.id, tuple(self._ends.cid(taken.cluster, taken.first + n) for n in range(taken.count)))

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        """Return the submissions of which no pilot is alive and all accepted ones have a record of their end.

        Of one that was shown before, or after a restart, one record has to do: the history is not kept for ever.
        """
        return self._vanished.ended(submissions, self._options.deadline)

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        """List our pilots in these states, of one queue or of all; of very many the first ones."""
        constraint = those(self._factory, queue, states)
        ads = self._ask(self._options.deadline, condor_pilots.pilots, self._target, constraint, AT_MOST)
        return [pilot_of(ad, self._ends.cid(ad["ClusterId"], ad["ProcId"])) for ad in ads]

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Remove those of the pilots that are still in the state they were listed in."""
        return sum(
            self._ask(self._options.deadline, condor_pilots.remove, self._target, constraint)
            for constraint in these(self._factory, pilots)
        )

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Release those of the pilots that are still held."""
        held: dict[int, list[Pilot]] = {}
        for pilot in pilots:
            if pilot.state is PilotState.HELD:
                held.setdefault(pilot.releases + 1, []).append(pilot)
        return sum(
            self._ask(self._options.deadline, condor_pilots.release, self._target, constraint, time)
            for time, those_held in held.items()
            for constraint in these(self._factory, those_held)
        )

    def close(self) -> None:
        """Kill the children; who waits for one gets SourceError(stopped), or Ambiguous for a submission under way."""
        self._child.close()
        self._beside.close()

    def _ask(self, deadline: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._child.call(deadline, function, *args, **kwargs)
        except CallLost as error:
            raise SourceError(self._source, error.reason, stopped=error.stopped) from None
        except ScheddSaid as error:
            raise SourceError(self._source, error.reason) from None

    def _groups(self, survey: Survey) -> tuple[PilotGroup, ...]:
        try:
            groups = pilot_groups(survey)
        except ValueError as error:
            raise SourceError(self._source, str(error)) from None
        if any(group.state is PilotState.UNKNOWN for group in groups):
            strange = sorted({str(ad.get("JobStatus")) for ad in survey.groups if ad.get("JobStatus") not in STATES})
            self._once("status", f"it knows a JobStatus {', '.join(strange)} that we do not, counted as unknown")
        return groups

    def _look_for_limits(self, groups: Iterable[PilotGroup], now: float) -> None:
        """Ask now and then what limits the pilots that stay unsent; nobody waits for the answer."""
        if not any(group.state is PilotState.UNSENT for group in groups):
            self._full = {}
        elif now >= self._next_look:
            self._next_look = now + LIMITS_AGE
            with suppress(NotRun):
                future = self._beside.post(self._options.deadline, condor_child.full, self._target, self._factory)
                future.add_done_callback(self._take_limits)

    def _take_limits(self, future: "Future[dict[str, int]]") -> None:
        # Without an answer nothing is said: the pilots are counted all the same.
        self._full = {} if future.exception() else future.result()

    def _tell_of_endpoints(self, found: Mapping[str, Trouble]) -> None:
        """Log what has changed."""
        for endpoint, trouble in found.items():
            before = self._troubles.get(endpoint)
            if before is None or before.word != trouble.word:
                since = f"{utc(trouble.since):%Y-%m-%d %H:%M:%S}"
                found_wrong = f"endpoint {endpoint} is {trouble.word} since {since} UTC: {MEANING[trouble.word]}"
                log.warning("%s: %s; it gets probes only", self._source, found_wrong)
        for endpoint in self._troubles.keys() - found.keys():
            log.info("%s: endpoint %s is no longer in trouble", self._source, endpoint)
        self._troubles = found

    def _note_versions(self, survey: Survey) -> None:
        self._once("version", f"HTCondor {survey.schedd}, bindings {survey.bindings}", logging.INFO)
        self._version = survey.schedd
        if not survey.trusted:
            self._once("grouping", "its grouped answer is empty though it has our pilots; they are counted one by one")

    def _once(self, topic: str, text: str, level: int = logging.WARNING) -> None:
        """Log a text when it is another one than the last on the topic."""
        if text and self._said.get(topic) != text:
            log.log(level, "%s: %s", self._source, text)
        self._said[topic] = text

    def _look_for_ends(self, groups: Iterable[Ad], deadline: float) -> None:
        if not self._ends.hidden_in(groups):
            return
        try:
            jobs = self._ask(deadline, condor_child.completed, self._target, self._factory)
        except SourceError as error:
            if error.stopped:
                raise
            log.warning("%s (asked for the pilots that completed; they are reported with the next count)", error)
            return
        if self._ends.tell_completed(jobs) and not self._context.looking:
            self._spooled.look_after()
