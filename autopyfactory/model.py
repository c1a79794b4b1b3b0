"""The nouns of the factory: plain frozen values that every other module speaks in.

Times are seconds since the epoch on the factory's `Clock`; ages and intervals are seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class PilotState(StrEnum):
    """Where a pilot is in its life, in the factory's words (design page, "The words")."""

    UNSENT = "unsent"
    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    HELD = "held"
    FINISHING = "finishing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Shape:
    """What one pilot asks for, whole (not per core). None: left to the batch system."""

    cores: int = 1
    memory_mb: int | None = None
    walltime_s: int | None = None
    resource_type: str = ""
    label: str = ""

    def tag(self) -> str:
        """Return the shape as one word for `APF_SHAPE`, for example `8c-16000m-172800s-MCORE` or `1c-SCORE-~ptest`."""
        words = [f"{self.cores}c"]
        if self.memory_mb is not None:
            words.append(f"{self.memory_mb}m")
        if self.walltime_s is not None:
            words.append(f"{self.walltime_s}s")
        words += [word for word in (self.resource_type, self.label and f"~{self.label}") if word]
        return "-".join(words)


def tagged_type(tag: str) -> str:
    """Return the resource type in the tag of a shape, "" where it has none."""
    found = _TAG.fullmatch(tag)
    return (found["type"] or "") if found else ""


_TAG = re.compile(r"[0-9]+c(-[0-9]+m)?(-[0-9]+s)?(-(?P<type>[^~].*?))?(-~.*)?")


@dataclass(frozen=True, slots=True)
class PilotGroup:
    """Some pilots of one submission that are in one state, as a batch system lists them by our tags.

    `word` is a CE's own word for the state, where the batch system passes it on.
    """

    submission: str
    queue: str
    state: PilotState
    count: int
    host: str = ""
    endpoint: str = ""
    shape: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True)
class Pilot:
    """One pilot as its batch system lists it. `id` is what the system removes and releases it by.

    `since` is when it entered its state, `submitted` when it was taken; None: unknown. `hold_reason` and the
    codes of HTCondor say why it is held, `releases` how often it was released before. `word` is the system's own
    word for the state, where it says more than ours.
    """

    id: str
    queue: str
    state: PilotState
    cid: str = ""
    submission: str = ""
    endpoint: str = ""
    submitted: float | None = None
    since: float | None = None
    hold_code: int | None = None
    hold_subcode: int | None = None
    hold_reason: str = ""
    releases: int = 0
    word: str = ""


@dataclass(frozen=True, slots=True)
class EndedPilot:
    """A pilot that has ended. `exit_code` None: the batch system does not tell; negative: a signal.

    `fault` is the reason when the pilot did not end by itself (removed, lost, could not start). It begins with
    "removed" where that was somebody's wish, and never otherwise. `lived` are the seconds it ran, or at most ran,
    None: unknown; `at` is when it ended, or was first seen to have. Two reports of the same end may differ in these.
    """

    cid: str
    queue: str
    submission: str
    exit_code: int | None = None
    fault: str = ""
    endpoint: str = field(default="", compare=False)
    node: str = field(default="", compare=False)
    lived: float | None = field(default=None, compare=False)
    at: float = field(default=0.0, compare=False)

    @property
    def removed(self) -> bool:
        """Tell whether it ended because somebody wished so, which speaks neither against it nor against its node."""
        return self.fault.startswith("removed")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an endpoint gets probes only: in a word or a few (`unreachable`, `silent`), and since when."""

    word: str
    since: float


@dataclass(frozen=True, slots=True)
class PilotReport:
    """What one poll of a batch source said about all pilots of this factory.

    `ended` holds pilots that were first seen as ended by this poll, each once in the life of the process;
    `troubles` the endpoints behind the source that do not work, as the tag APF_ENDPOINT names them. `speaks_of`
    is the time of the oldest state in it, where a poll does not ask for all of them; None: its own beginning.
    `full` is the limit of each endpoint that has no room for pilots which are unsent.
    """

    groups: tuple[PilotGroup, ...] = ()
    ended: tuple[EndedPilot, ...] = ()
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    speaks_of: float | None = None
    full: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PilotCounts:
    """How many pilots of one queue are in which state.

    `ambiguous` were submitted without an answer, `unseen` were accepted after the snapshot was taken:
    both count as pending until a newer snapshot shows what became of them. `awaited`
    wait at a source that the queue no longer submits to, `elsewhere` are the others in flight there.
    """

    unsent: int = 0
    pending: int = 0
    running: int = 0
    suspended: int = 0
    held: int = 0
    finishing: int = 0
    unknown: int = 0
    ambiguous: int = 0
    unseen: int = 0
    elsewhere: int = 0
    awaited: int = 0

    @property
    def waiting(self) -> int:
        """Return the pilots that have not started and will answer demand when they do."""
        return self.unsent + self.pending + self.ambiguous + self.unseen + self.awaited

    @property
    def in_flight(self) -> int:
        """Return every pilot that exists or may exist and has not begun to end."""
        return self.waiting + self.running + self.suspended + self.held + self.unknown + self.elsewhere

    def __add__(self, other: "PilotCounts") -> "PilotCounts":
        return PilotCounts(*(getattr(self, at.name) + getattr(other, at.name) for at in fields(self)))


@dataclass(frozen=True, slots=True)
class JobCount:
    """Jobs of one wmsqueue in one cell of the WMS statistics, by WMS status (`activated`, `running`, ...).

    `wmsqueue` is set where cells of several stand together, `testing` where the site is in test, `cores` of one
    job and its global `share` where the WMS tells them.
    """

    resource_type: str
    label: str
    by_status: Mapping[str, int]
    wmsqueue: str = ""
    testing: bool = False
    cores: int = 0
    share: str = ""

    @property
    def activated(self) -> int:
        """Return the jobs of this cell that wait for a pilot."""
        return self.by_status.get("activated", 0)


@dataclass(frozen=True, slots=True)
class Downtime:
    """A time in which nothing runs at a site or CE: why, and who said so."""

    start: float
    end: float
    why: str
    who: str = ""

    def __str__(self) -> str:
        period = " to ".join(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}" for at in (self.start, self.end))
        return f"down from {period} UTC{self.who and f', by {self.who}'}: {self.why}"


@dataclass(frozen=True, slots=True)
class Site:
    """What the WMS's site table says of one wmsqueue; `cores` None: the table does not tell.

    `statuses` tells each one's where a queue and its siblings have several wmsqueues; `downtimes` are those that the
    table announces, where a WMS has any.
    """

    status: str
    cores: int | None = None
    statuses: Mapping[str, str] = field(default_factory=dict)
    downtimes: tuple[Downtime, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T]):
    """What a source said, and when.

    `began` is when the query began: what the factory submitted later is surely not in it.
    `speaks_of` is the time the figures describe: `began` minus the age a cache admits to (`Age`) minus
    the source's own lag. Staleness is counted from it.
    """

    value: T
    source: str
    began: float
    speaks_of: float

    def age(self, now: float) -> float:
        """Return the age in seconds of what the figures describe."""
        return max(0.0, now - self.speaks_of)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a batch system accepted: pilots by cid, in the order of their processes.

    `resource_type` is set by the cycle of a queue that counts each type alone.
    """

    submission: str
    cids: tuple[str, ...]
    resource_type: str = ""
