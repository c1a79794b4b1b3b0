"""Where pilots run: HTCondor, batch systems, computing elements, this host.

A backend is one class here (alias table in `plugins`). The factory makes one object of it per source
section (a schedd, a controller, this host) and shares it among all queues of that source. It is called
from many threads: `poll` never twice at once (the shared snapshot sees to that), everything else at any
time. Nothing in it may wait without a deadline.

A class may have two methods more, for what only it can judge of a queue's section:

    @classmethod
    def check(cls, options: QueueOptions, backend: Options, factory: FactoryOptions,
              credentials: Mapping[str, CredentialOptions]) -> list[str]: ...

    @classmethod
    def check_submit(cls, submit: Mapping[str, str]) -> Iterable[Fault]: ...

They are called when the configuration is read and open no connection. `check` returns one text per problem, best
as `option: what is wrong, and what to do`; each takes the queue out, but one that begins with `warning: `
(of an option it is told only where the section sets it itself). `options` are those of every queue, `backend`
those of the class's own `QueueOptions`. A class with `reads_submit = False` takes no `submit.X`: `check` then warns.

One more tells which credentials a row takes, of `proxy` and `token`; without it both:

    @classmethod
    def carries(cls, type: str, subtype: str) -> Iterable[str]: ...

An expired one that its pilots do not carry then blocks no queue.

And three for the command line, `autopyfactory backends`, `render` and `why`:

    @classmethod
    def lacking(cls, type: str, subtype: str, sources: Sequence[Options] = ()) -> str: ...

    def describe(self, order: Order) -> str: ...

    def shows(self, queue: str) -> list[str]: ...

`lacking` says what this host has not that the row needs, "" when it can be used now; `sources` are the options
of the class's sections in the main file, of which one that can be used is enough. `describe` returns what
`submit` would hand to the batch system, as text: a submit description, or command line and script; it submits
nothing and writes no file. `shows` returns the native commands that show a queue's pilots. What there is to
submit to stands in `rows`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from autopyfactory.clock import Clock
from autopyfactory.config.fields import Options
from autopyfactory.config.models import FactoryOptions, QueueConfig
from autopyfactory.model import Pilot, PilotReport, PilotState, Shape, Submitted

ALL_STATES = frozenset(PilotState)


@dataclass(frozen=True, slots=True)
class Order:
    """One submission of one queue to one endpoint, of pilots of one shape.

    `id` is unique for ever and becomes the tag APF_SUBMISSION. `log_dir` is
    `<pilot_log_dir>/YYYY-MM-DD/<queue>`, `log_url` the URL of the same folder or "". `monitor_url` is
    the pilot's APFMON or "". `proxy` is the path of the X.509 proxy that travels, `token` that of the token
    that authenticates us to a CE, if any.
    """

    id: str
    queue: QueueConfig
    endpoint: str
    shape: Shape
    count: int
    executable: Path
    log_dir: Path
    log_url: str = ""
    monitor_url: str = ""
    proxy: Path | None = None
    token: Path | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What every backend object is given by the factory.

    `position` is the number of its source among all that the factory ever had, from 0: it goes into the cid
    (`<k>-cluster.proc`) of all but the first. `looking`: it works beside the daemon, or in a dry run, and by itself
    changes nothing: it starts, fetches and writes nothing, nor takes a lock. Of the contract only `poll`, `ended`,
    `pilots`, `remove_pilots` and `close` will be called; beside it `shows`, and what `kill` asks where pilots can be
    written off.
    """

    factory: FactoryOptions
    clock: Clock
    position: int = 0
    looking: bool = False


class Batch(Protocol):
    """One source of pilots: a schedd, a controller, this host."""

    source_kind: ClassVar[str]
    """The word before the name in its section of the main file: `[schedd ap1]` -> "schedd"."""

    SourceOptions: ClassVar[type[Options]]
    """The options of that section; has at least `interval`, `max_age`, `deadline` (seconds).

    Its class may have `place`, the names of those that tell which batch system it is: two sections alike in them
    are one and the same, of which `check` warns.
    """

    QueueOptions: ClassVar[type[Options]]
    """The options this backend adds to a queue's section."""

    def __init__(self, name: str, options: Any, context: Context) -> None: ...

    @property
    def endpoint(self) -> str:
        """The endpoint of a queue that names none, for tags and messages."""
        ...

    def poll(self) -> PilotReport:
        """Ask once for all pilots that carry this factory's id, whatever queue, host or user.

        Raises SourceError when there is no believable answer within the deadline.
        """
        ...

    def submit(self, order: Order) -> Submitted:
        """Submit all pilots of the order in as few calls as the system can.

        Raises Refused or Ambiguous.
        """
        ...

    def ended(self, submissions: frozenset[str]) -> frozenset[str]:
        """Return those of the submissions whose pilots have all ended, from the system's own record.

        Asked only for accepted submissions that a newer poll does not show. Raises SourceError.
        """
        ...

    def pilots(self, queue: str = "", states: frozenset[PilotState] = ALL_STATES) -> Sequence[Pilot]:
        """List this factory's pilots in these states one by one, of one queue or of all, with one question.

        Asked only when single pilots have to be dealt with. Raises SourceError.
        """
        ...

    def remove_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Remove pilots that `pilots` listed and return how many went; one that has ended is no failure.

        Where the system can tell, only those that are still in the state they were listed in. Raises SourceError.
        """
        ...

    def release_pilots(self, pilots: Sequence[Pilot]) -> int:
        """Let held pilots that `pilots` listed go on and return how many do, 0 where there is no such thing.

        Raises SourceError; Unasked for those that surely nobody was asked about, which counts as no attempt.
        """
        ...

    def close(self) -> None:
        """Give up everything under way at once, from another thread. Running pilots are not touched."""
        ...


def listed(batch: Batch, queue: str, states: frozenset[PilotState], endpoints: Collection[str] = ()) -> Sequence[Pilot]:
    """List this factory's pilots of a queue that are in one of the states, at some endpoints or at all of them."""
    return [pilot for pilot in batch.pilots(queue, states) if not endpoints or pilot.endpoint in endpoints]


def remove(
    batch: Batch, queue: str, states: frozenset[PilotState], endpoints: Collection[str] = ()
) -> Counter[PilotState]:
    """Remove the pilots that `listed` lists; return how many of each state.

    Those that wait come first. One that went into another of the states meanwhile is removed in a second round.
    Raises SourceError.
    """
    removed: Counter[PilotState] = Counter()
    tried: set[tuple[str, PilotState]] = set()
    for _ in range(2):
        pilots = [pilot for pilot in listed(batch, queue, states, endpoints) if (pilot.id, pilot.state) not in tried]
        tried |= {(pilot.id, pilot.state) for pilot in pilots}
        before = removed.total()
        for state in PilotState:
            if mine := [pilot for pilot in pilots if pilot.state is state]:
                removed[state] += batch.remove_pilots(mine)
        if removed.total() - before == len(pilots):
            break
    return removed


def pilot_environment(context: Context, order: Order, cid: str, *, job_id: str = "") -> dict[str, str]:
    """Return the environment every pilot gets, the classic's names first, then the queue's `env.NAME`.

    `cid` and `job_id` may be templates of the batch system (`$(Cluster).$(Process)`). GTAG is the URL
    of the pilot's output, which PanDA shows as a link.
    """
    factory = context.factory
    values = {
        "PANDA_JSID": factory.id,
        "APFFID": factory.id,
        "APFCID": cid,
        "FACTORY_JOBID": f"{factory.host}#{job_id or cid}",
        "FACTORYQUEUE": order.queue.name,
        "FACTORYUSER": factory.user,
    }
    if order.log_url:
        values["GTAG"] = f"{order.log_url}/{cid}.out"
    if order.monitor_url:
        values["APFMON"] = order.monitor_url
    return values | dict(order.queue.environment)


def pilot_tags(context: Context, order: Order) -> dict[str, str]:
    """Return the tags by which pilots are counted (design page, "Tags")."""
    return {
        "APF_FACTORY": context.factory.id,
        "APF_HOST": context.factory.host,
        "APF_QUEUE": order.queue.name,
        "APF_ENDPOINT": order.endpoint,
        "APF_SHAPE": order.shape.tag(),
        "APF_SUBMISSION": order.id,
    }
