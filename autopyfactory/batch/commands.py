"""Batch systems that are driven by their own commands: Slurm, Torque, LSF, Grid Engine.

`CommandBatch` is the contract `Batch` for all of them: it runs the commands, makes the cids, remembers and
counts. What one system is like stands in its own module, as an implementation of `Commands`:

    class Slurm(CommandBatch):
        source_kind = "slurm"
        programs = ("sbatch", "squeue", "scancel")
        SourceOptions = SlurmOptions            # of CommandOptions
        QueueOptions = SlurmQueueOptions        # of CommandQueueOptions

        def commands(self, options: CommandOptions) -> Commands:
            return SlurmCommands(...)

One call submits one pilot, so that each carries its own tags and is recorded as soon as it is accepted.
"""

import logging
import shlex
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from autopyfactory.batch import ALL_STATES, Context, Order
from autopyfactory.batch.commands_file import script_file
from autopyfactory.batch.commands_options import (
    CommandOptions,
    CommandQueueOptions,
    absent,
    hiding_lines,
    judge,
    own_account,
    refused_by_sudo,
)
from autopyfactory.batch.commands_words import Answer, Commands, End, NewPilot, Seen, Unbelievable
from autopyfactory.batch.order import make_log_folder
from autopyfactory.batch.recorded import Recorded
from autopyfactory.batch.script import pilot_script, read_wrapper
from autopyfactory.command import NotStarted, Run, Silent
from autopyfactory.config.fields import Options
from autopyfactory.config.models import CredentialOptions, FactoryOptions
from autopyfactory.config.models import QueueOptions as QueueOptionsOfAll
from autopyfactory.config.problems import Fault
from autopyfactory.errors import Ambiguous, Refused, SourceError, Unasked
from autopyfactory.model import Pilot, PilotReport, PilotState, Submitted

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Ids in one command: a command line has its limits."""

LOST = (
    "shows pilots no more and does not tell how they ended, so they have no exit code"
    " (it has to list ended jobs for longer than interval)"
)


class CommandBatch(Recorded):
    """One batch system by its commands. Safe from many threads; the lock is never held while a command runs."""

    source_kind: ClassVar[str]
    log = log
    programs: ClassVar[tuple[str, ...]]
    releasing: ClassVar[tuple[str, ...]] = ()
    """The command, before the ids, that lets held jobs go on."""
    script_stays: ClassVar[bool] = False
    """The system reads the script's file when the pilot starts, not when it is submitted."""

    SourceOptions: ClassVar[type[Options]] = CommandOptions
    QueueOptions: ClassVar[type[Options]] = CommandQueueOptions
    asked_at_once: int = AT_ONCE
    """Ids in one question for ends; a system whose command takes one says 1."""

    @classmethod
    def check(
        cls,
        options: QueueOptionsOfAll,
        backend: Options,
        factory: FactoryOptions,
        credentials: Mapping[str, CredentialOptions],
    ) -> list[str]:
        """Return what is wrong with a queue's account and further arguments, and warn of files nodes cannot see."""
        problems = list(judge(options, factory, credentials))
        if isinstance(backend, CommandQueueOptions) and (word := cls.hiding(shlex.split(backend.extra_arguments))):
            problems.append(f"extra_arguments: {word} would hide the pilots from their own factory, take it out")
        return problems

    @classmethod
    def check_submit(cls, submit: Mapping[str, str]) -> Iterator[Fault]:
        """Say which of a queue's `submit.X` would hide its pilots."""
        return hiding_lines(name for name in submit if cls.hiding([cls.option(name)]))

    @staticmethod
    def hiding(arguments: Sequence[str]) -> str:
        """Return the first further argument that would hide the pilots from their own factory, "" for none."""
        return ""

    @staticmethod
    def option(name: str) -> str:
        """Return the option of the submit command that `submit.NAME` becomes, "" where it becomes none."""
        return ""

    def __init__(self, name: str, options: CommandOptions, context: Context, *, run: Run | None = None) -> None:
        super().__init__(name, context, options.deadline, run)
        self._options = options
        self._commands = self.commands(options)

    @abstractmethod
    def commands(self, options: CommandOptions) -> Commands:
        """Return what this system has to know; each system's class gives its own."""

    @classmethod
    def lacking(cls, _type: str, _subtype: str, sources: Sequence[Options] = ()) -> str:
        """Say which of the system's commands this host has not."""
        return absent(cls.programs, sources)

    def describe(self, order: Order) -> str:
        """Return the command line and the script of the order's first pilot. Raises Refused."""
        pilot = self._new(order, f"{self._cids.base(self._clock.now())}.0", read_wrapper(order.executable))
        if self.script_stays or self._commands.needs_file:
            pilot = replace(pilot, file=pilot.kept if self.script_stays else Path(f"{pilot.cid}.sh"))
        line = shlex.join(self._as(self._account(order), self._commands.submit(pilot)))
        return f"{line}{'' if pilot.file else ' <<SCRIPT'}\n\n{pilot.script}"

    def shows(self, queue: str) -> list[str]:
        """Return the command that lists the pilots, those of other queues too."""
        return [shlex.join(self._as("", self._commands.status()))]

    def poll(self) -> PilotReport:
        """List all pilots with one command, a second one only for those listed no more. Raises SourceError."""
        began = self._clock.now()
        seen = self._list(self._options.deadline)
        with self._book() as pilots:
            pilots.shown(seen, self._clock.now())
            lacking = pilots.lacking(began)
            hidden, strange = pilots.hidden(), ", ".join(pilots.strange())
        self._once("state", f"states that we do not know, counted as unknown: {strange}" * bool(strange))
        accounts = f"took pilots and shows no job of the account {', '.join(hidden)}"
        self._once("hidden", f"{accounts}: its admin has to let {own_account()} see the jobs of others" * bool(hidden))
        ends = self._history(lacking, began + self._options.deadline) if lacking else {}
        with self._book() as pilots:
            lost = pilots.told(ends, self._clock.now())
            if ends or lost:
                self._once("lost", LOST if lost and not self._said.get("history") else "")
            return PilotReport(tuple(pilots.groups(self._clock.now())), pilots.news())

    def submit(self, order: Order) -> Submitted:
        """Submit the pilots of the order one by one, as many as half the deadline allows to begin.

        Raises Refused, with the cids accepted before, or Ambiguous.
        """
        user = self._account(order)
        wrapper = read_wrapper(order.executable)
        make_log_folder(order, shared=bool(user))
        return self._one_by_one(order, lambda cid, left: self._submit_one(order, cid, wrapper, user, left))

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> list[Pilot]:
        """List our pilots in these states, of one queue or of all. Raises SourceError."""
        seen = self._list(self._options.deadline)
        with self._book() as book:
            book.shown(seen, self._clock.now())
            return list(book.listed(queue, states))

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Remove pilots by their accounts, but none that is listed in another state by now. Raises SourceError."""
        now = {one.id: one.state for one in self.pilots()} if pilots else {}
        still = [one for one in pilots if now.get(one.id, one.state) is one.state]
        count = 0
        for ids, answer in self._ordered(still, self._commands.remove):
            with self._belief():
                count += self._commands.removed(answer, ids)
        return count

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Let held pilots go on, each by the account it runs as. Raises SourceError."""
        count = 0
        for ids, answer in self._ordered(pilots, lambda ids: [*self.releasing, *ids]) if self.releasing else ():
            if answer.rc:
                raise SourceError(self._source, f"{self.releasing[0]}: {answer.said()}")
            count += len(ids)
        return count

    def _ordered(
        self, pilots: Sequence[Pilot], command: Callable[[list[str]], list[str]]
    ) -> Iterator[tuple[list[str], Answer]]:
        """Run a command for pilots, each by its account; return the ids with the answer.

        Raises SourceError; Unasked only after all others, for the pilots of accounts that cannot be had.
        """
        failed: list[tuple[list[str], Unasked]] = []
        for user, ids in self._by_account(pilots):
            argv = self._as(user, command(ids))
            try:
                answer = self._ask(argv, self._options.deadline)
                if user and (reason := refused_by_sudo(answer, user, argv[4])):
                    raise Unasked(self._source, reason)
            except Unasked as error:
                failed.append((ids, error))
            else:
                yield ids, answer
        if failed:
            first = failed[0][1]
            raise Unasked(self._source, first.reason, [id_ for ids, _ in failed for id_ in ids], stopped=first.stopped)

    def _by_account(self, pilots: Sequence[Pilot]) -> Iterator[tuple[str, list[str]]]:
        with self._book() as book:
            accounts = book.accounts(pilot.id for pilot in pilots)
        for user, ids in accounts.items():
            for part in _parts(ids):
                yield self._foreign(user), part

    @contextmanager
    def _belief(self) -> Iterator[None]:
        try:
            yield
        except Unbelievable as error:
            raise SourceError(self._source, error.reason) from None

    def _ask(self, argv: Sequence[str], deadline: float) -> Answer:
        try:
            return self._run(argv, deadline)
        except NotStarted as error:
            raise Unasked(self._source, error.reason, stopped=error.stopped) from None
        except Silent as error:
            raise SourceError(self._source, error.reason, stopped=error.stopped) from None

    def _list(self, deadline: float) -> Sequence[Seen]:
        answer = self._ask(self._as("", self._commands.status()), deadline)
        with self._belief():
            return self._commands.listed(answer)

    def _history(self, ids: Sequence[str], end: float) -> dict[str, End]:
        """Ask for ends; without an answer the pilots are gone all the same, with an unknown exit code."""
        ends: dict[str, End] = {}
        for part in _parts(ids, self.asked_at_once):
            argv = self._commands.history(part)
            left = end - self._clock.now()
            if argv is None or left <= 0:
                break
            try:
                answer = self._ask(self._as("", argv), left)
                with self._belief():
                    ends |= self._commands.told(answer)
            except SourceError as error:
                if error.stopped:
                    raise
                self._once("history", f"exit codes of pilots listed no more are not known: {error.reason}")
                break
        else:
            self._once("history", "")
        return ends

    def _submit_one(self, order: Order, cid: str, wrapper: str, user: str, deadline: float) -> None:
        with self._file(self._new(order, cid, wrapper)) as pilot:
            argv = self._as(user, self._commands.submit(pilot))
            try:
                answer = self._run(argv, deadline, "" if pilot.file else pilot.script)
            except NotStarted as error:
                raise Refused(f"{error.reason}, nothing was submitted", stopped=error.stopped) from None
            except Silent as error:
                raise Ambiguous(error.reason, stopped=error.stopped) from None
            if user and (reason := refused_by_sudo(answer, user, argv[4])):
                raise Refused(reason)
            id_ = self._commands.submitted(answer)
        try:
            with self._book() as pilots:
                pilots.accepted(id_, pilot.tags, user, self._clock.now())
        except SourceError as error:
            # It is in the listing, by its tags.
            self._once("record", error.reason)

    def _new(self, order: Order, cid: str, wrapper: str) -> NewPilot:
        return NewPilot(order, self._tags(order, cid), pilot_script(self._context, order, cid, wrapper))

    def _file(self, pilot: NewPilot) -> AbstractContextManager[NewPilot]:
        if self.script_stays or self._commands.needs_file:
            return script_file(pilot, stays=self.script_stays)
        return nullcontext(pilot)

    def _account(self, order: Order) -> str:
        """Return the account that a pilot is submitted as by sudo, "" for our own."""
        user = order.queue.options.submit_user
        if user and user not in self._context.factory.submit_users:
            raise Refused(f"submit_user '{user}' is not allowed, add it to submit_users in [factory]")
        return self._foreign(user)

    def _foreign(self, user: str) -> str:
        """Return the account for sudo, "" for our own and for one that a listing named and nobody allowed."""
        return user if user in self._context.factory.submit_users and user != own_account() else ""

    def _as(self, user: str, argv: Sequence[str]) -> list[str]:
        """Return a command with its full path, run by sudo where it is another account's."""
        folder = self._options.bin_dir
        path = (shutil.which(argv[0], path=folder) if folder else None) or shutil.which(argv[0]) or argv[0]
        return ["sudo", "-n", "-u", user, path, *argv[1:]] if user else [path, *argv[1:]]


def _parts(ids: Iterable[str], size: int = AT_ONCE) -> Iterator[list[str]]:
    listed = list(ids)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
