"""What a cycle saw, decided and did, and why: the nouns that are shown, recorded and explained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from autopyfactory.model import JobCount, PilotCounts, Site, Submitted


@dataclass(frozen=True, slots=True)
class Blocked:
    """No decision is possible, and why.

    `outage` is true when a source failed; the ramp starts then. A typo, a pause or a full disk is none.
    `wanted` is true when an operator wants it so. `cause` is the kind of obstacle in a word, "" where none fits.
    """

    reason: str
    outage: bool = False
    wanted: bool = False
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One rule's part in a decision. `inputs` are the figures it used, for those who show or explain the decision;
    what the factory acts upon is asked of `sched`.

    `resource_type` is set where the queue counts each type alone and the rule spoke of this one.
    """

    rule: str
    before: int
    after: int
    why: str
    inputs: Mapping[str, int | str] = field(default_factory=dict)
    resource_type: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pilots to submit, and each rule's reason.

    `by_type` divides the number where the queue counts each resource type alone; empty for other queues.
    """

    count: int
    steps: tuple[Step, ...] = ()
    by_type: Mapping[str, int] = field(default_factory=dict)

    def of(self, resource_type: str) -> int:
        """Return the number of one resource type; "" stands for all."""
        return self.by_type.get(resource_type, 0) if resource_type else self.count


@dataclass(frozen=True, slots=True)
class Input:
    """What a cycle asked for (`pilots`, `demand`, `site`), who answered, and how many seconds old the answer was."""

    what: str
    source: str
    age: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the demand comes to for one queue: its part in pilots, how much of it is for pilots that left pending too
    lately for the figures, and how much siblings' pilots that wait will take."""

    part: int
    left: int = 0
    surplus: int = 0


@dataclass(frozen=True, slots=True)
class Stuck:
    """Pilots of one queue that wait at an endpoint in trouble, and what is wrong there, since when.

    They may still start when it works again, so they count like all that wait.
    """

    count: int
    endpoint: str
    word: str
    since: float

    def __str__(self) -> str:
        return f"{self.count} wait{'s' if self.count == 1 else ''} at {self.place}"

    @property
    def place(self) -> str:
        """Return the endpoint with its trouble, for example `ce1, unreachable since 22:13:20`."""
        return f"{self.endpoint or 'its source'}, {self.word} since {datetime.fromtimestamp(self.since, UTC):%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class CycleReport:
    """All that one cycle of one queue saw, decided and did; what the reporter hands to the monitors.

    Exactly one of `decision` and `blocked` is set. `activated` None: demand was not asked for or unknown.
    `note` says why pilots are held, and what keeps them unsent; `stuck` are those that wait where there is trouble.
    `wms`, `wmsqueue`, `batchqueue` and `endpoint` are the queue's own, by which monitors group it; "": it has none.
    `inputs` are those that gave an answer; `jobs` and `site` None: not asked for or unknown. `siblings` are the
    queues that divide the jobs with this one now. `retired` pilots were removed, for no job is there for them.
    `words` are its pending pilots by the CE's own word for their state, where it is known.
    """

    queue: str
    at: float
    decision: Decision | None = None
    blocked: Blocked | None = None
    pilots: PilotCounts | None = None
    activated: int | None = None
    submitted: tuple[Submitted, ...] = ()
    error: str = ""
    note: str = ""
    dry_run: bool = False
    wmsqueue: str = ""
    batchqueue: str = ""
    endpoint: str = ""
    interval: float = 0.0
    retired: int = 0
    inputs: tuple[Input, ...] = ()
    jobs: tuple[JobCount, ...] | None = None
    site: Site | None = None
    siblings: tuple[str, ...] = ()
    wanted: Wanted | None = None
    stuck: tuple[Stuck, ...] = ()
    wms: str = ""
    words: Mapping[str, int] = field(default_factory=dict)

    @property
    def submitted_count(self) -> int:
        """Return how many pilots the batch system is known to have accepted."""
        return sum(len(part.cids) for part in self.submitted)
