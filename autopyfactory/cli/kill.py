"""`autopyfactory kill`: remove a queue's pilots, beside a running factory or without one."""

import os
import pwd
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import click

from autopyfactory import environment, ledger
from autopyfactory.account import Account
from autopyfactory.batch import Batch, Context, listed, remove
from autopyfactory.cli.options import conf_option
from autopyfactory.clock import Clock
from autopyfactory.config.catalogue import Catalogue, source_options
from autopyfactory.config.glance import glance
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config, Section
from autopyfactory.config.problems import suggest
from autopyfactory.errors import FactoryError, SourceError, StartError
from autopyfactory.model import Pilot, PilotState
from autopyfactory.operate import Operator

STATES = tuple(state for state in PilotState if state is not PilotState.FINISHING)
"""What can be removed."""


@runtime_checkable
class WritesOff(Protocol):
    """A backend whose pilots nobody can remove when their CE is gone for ever."""

    def lost(self, queue: str) -> Sequence[Pilot]:
        """Return the queue's pilots that may be written off. Raises SourceError."""
        ...

    def write_off(self, pilots: Sequence[Pilot]) -> None:
        """Have the factory count these no more. Raises SourceError."""
        ...


class Place(NamedTuple):
    """A source to ask."""

    section: Section

    def __str__(self) -> str:
        return f"{self.section.kind} {self.section.name}"


@click.command(short_help="Remove pilots of a queue.")
@conf_option
@click.option("--queue", "option", metavar="QUEUE", help="The same as QUEUE alone.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in STATES]),
    help="Only those in this state, may be given several times; default: all.",
)
@click.option(
    "--endpoint",
    "endpoints",
    metavar="ENDPOINT",
    multiple=True,
    help="Only those that went to this endpoint, as the configuration names it; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
@click.argument("argument", required=False, metavar="QUEUE")
def kill(
    conf: Path,
    argument: str | None,
    option: str | None,
    states: tuple[str, ...],
    endpoints: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Remove the pilots of QUEUE, of this factory only, whether it runs or not.

    With '--state unknown' those that no GRAM CE answers for are written off: they are not removed, they may still
    run, and the factory counts them no more.

    The queue need not be configured any more. The batch systems themselves are asked, as the account that owns
    state_dir; root becomes that account. Exit code: 0 done, also when there was none; 1 a batch system did not
    answer or refused; 2 a wrong command line or configuration.
    """
    queue = argument or option
    if queue is None or None not in (argument, option):
        raise click.UsageError("name one QUEUE, for example: autopyfactory kill BNL_PROD --dry-run")
    try:
        _become_owner(glance(conf).state_dir)
        config = load(conf)
        if config.factory.environment_script is not None:
            environment.source(config.factory.environment_script)
        chosen = [PilotState(state) for state in states]
        done = _Removal(queue, chosen or list(STATES), endpoints, dry_run, writes_off=PilotState.UNKNOWN in chosen)
        failures = list(done.at_all(config))
    except StartError as error:
        raise click.ClickException(str(error)) from None
    _say(config, done, complete=not failures)
    for failure in failures:
        click.echo(f"not done: {failure}", err=True)
    if failures:
        raise SystemExit(1)


def _become_owner(state_dir: Path) -> None:
    """Be the account whose pilots they are: no batch system takes orders for another's. Raises StartError."""
    try:
        owner = state_dir.stat().st_uid
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        raise StartError(f"{state_dir} belongs to an account that this host does not know, chown it") from None
    except FileNotFoundError:
        raise StartError(f"there is no {state_dir}: no factory with this state_dir has run here yet") from None
    except OSError as error:
        raise StartError(f"cannot tell whose the pilots are, no access to {state_dir}: {error.strerror}") from None
    if owner == os.geteuid():
        return
    if os.geteuid() != 0:
        raise StartError(f"the pilots are those of '{name}', who owns {state_dir}: run this as '{name}' or as root")
    account = Account.of(name)
    account.announce()
    account.become()


class _Removal:
    """What was found and removed of one queue; `removed` in a dry run is what would be."""

    def __init__(
        self, queue: str, states: Sequence[PilotState], endpoints: Sequence[str], dry_run: bool, *, writes_off: bool
    ) -> None:
        self.queue = queue
        self.states = states
        self.endpoints = endpoints
        self.dry_run = dry_run
        self.writes_off = writes_off
        self.removed: Counter[PilotState] = Counter()
        self.written_off = 0

    def at_all(self, config: Config) -> Iterator[str]:
        """Deal with every source that may have pilots of the queue; return what went wrong."""
        found, lost = places(config, self.queue)
        for source in lost:
            yield f"{source} took pilots of {self.queue} and has no section any more: write it again to remove them"
        for place in found:
            try:
                self._at(place, config)
            except (FactoryError, LookupError, ImportError) as error:
                reason = error.reason if isinstance(error, SourceError) else str(error)
                yield f"{place}: {reason}"

    def _at(self, place: Place, config: Config) -> None:
        with closing(_batch(place, config)) as batch:
            states = frozenset(self.states)
            for name in names(config, self.queue):
                self._write_off(name, batch)
                if self.dry_run:
                    self.removed.update(pilot.state for pilot in listed(batch, name, states, self.endpoints))
                else:
                    self.removed.update(remove(batch, name, states, self.endpoints))

    def _write_off(self, name: str, batch: Batch) -> None:
        """Count what no CE answers for no more, where the unknown ones were asked for by their name."""
        if not self.writes_off or not isinstance(batch, WritesOff):
            return
        lost = [pilot for pilot in batch.lost(name) if not self.endpoints or pilot.endpoint in self.endpoints]
        self.written_off += len(lost)
        if self.dry_run:
            self.removed[PilotState.UNKNOWN] -= len(lost)
        else:
            batch.write_off(lost)


def _batch(place: Place, config: Config) -> Batch:
    section = place.section
    kind = Catalogue().usable[section.plugin]
    batch: Batch = kind(section.name, section.options, Context(config.factory, Clock(), looking=True))
    return batch


def names(config: Config, queue: str) -> tuple[str, ...]:
    """Return the name of a queue and the former ones, under which its pilots may have been submitted."""
    known = config.queues.get(queue) or config.disabled.get(queue)
    return (queue, *(known.options.formerly if known else ()))


def places(config: Config, queue: str) -> tuple[list[Place], list[str]]:
    """Return the sources that may have pilots of a queue, and the names of those that nobody can ask any more.

    Of a configured queue that is its own, of another one every configured one; and those that the record names.
    """
    known = config.queues.get(queue) or config.disabled.get(queue)
    path = config.factory.state_dir / ledger.FILE
    recorded = frozenset[str]().union(*(ledger.sources_of(path, name) for name in names(config, queue)))
    configured = [Place(section) for section in config.sources.values()]
    own = config.sources.get(known.options.source) if known else None
    found = [place for place in configured if own in {None, place.section} or str(place) in recorded]
    lost = []
    for source in sorted(recorded - {str(place) for place in configured}):
        section = _default(source)
        if section is None:
            lost.append(source)
        else:
            found.append(Place(section))
    return found, lost


def _default(source: str) -> Section | None:
    """Return the section of a local source that needs none in the file."""
    kind, _, name = source.partition(" ")
    catalogue = Catalogue()
    plugin = catalogue.source_kinds.get(kind)
    if name != "local" or plugin is None:
        return None
    return Section(kind, name, source_options(catalogue.usable[plugin])(), plugin)


def _say(config: Config, done: _Removal, *, complete: bool) -> None:
    parts = [f"{state} {count}" for state in done.states if (count := done.removed[state])]
    total, queue = sum(done.removed.values()), done.queue
    whose = f"{queue} at {' or '.join(done.endpoints)}" if done.endpoints else queue
    verb = "would remove" if done.dry_run else "removed"
    known = {*config.queues, *config.disabled, *config.out}
    if parts:
        click.echo(f"{verb} {total} pilot{'' if total == 1 else 's'} of {whose}: {', '.join(parts)}")
        paused = Operator(config.factory.state_dir).state(queue, Clock().now()) is not None
        if queue in config.queues and not paused and not done.dry_run:
            click.echo(f"{queue} may submit new ones: 'autopyfactory pause {queue} --why ...' stops that", err=True)
    if done.written_off:
        verb = "would write off" if done.dry_run else "wrote off"
        click.echo(
            f"{verb} {done.written_off} of {whose} that no CE answers for: they are not removed and may still run,"
            " the factory counts them no more"
        )
    elif complete and not parts:
        which = f"no {' or '.join(done.states)} pilot" if len(done.states) < len(STATES) else "no pilot"
        click.echo(f"{verb} nothing: {which} of {whose} is there")
        if queue not in known:
            hint = suggest(queue, known)
            click.echo(f"no queue '{queue}' is configured either{hint}", err=True)
