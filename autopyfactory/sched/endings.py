"""What became of a queue's last pilots, and whether that calls for caution.

A pilot that has ended worked, found no work, or lived too short a time for either: a fault. One that an
operator or the factory removed, or whose run time is unknown, says nothing. What is no fault by its
exit code stands in `empty_guard.no_work`: 0 (the ATLAS wrapper and the shipped pilots end so without a job), 20 (the
monitor's word for it) and 82 (pilot 3's).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from autopyfactory.model import EndedPilot
from autopyfactory.sched.options import RuleOptions

ENOUGH = 20
"""Ended pilots of which a share says something."""

LAST = 5
"""So many newest ones of a kind say something by themselves."""

ONE_NODE = 0.8
"""A node with more than this part of the faults is to blame, and not its CE."""


class End(StrEnum):
    """What the end of a pilot says."""

    WORKED = "worked"
    EMPTY = "empty"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Tendency:
    """How many of the judged pilots of a window are of a kind; `streak` of the newest in a row are, `calm` are not.

    Both count up to `LAST`, and further back than the window where probes are rarer than that.
    """

    judged: int = 0
    count: int = 0
    streak: int = 0
    calm: int = 0

    def over(self, limit: float) -> bool:
        """Tell whether it is too many: all of the last, or a share of enough above the limit."""
        return self.streak >= LAST or (self.judged >= ENOUGH and self.count > limit * self.judged)


@dataclass(frozen=True, slots=True)
class Endings:
    """What is known of one queue's pilots at one endpoint.

    `node` has the most faults, `node_faults` of them; `spared` says that other nodes are known to work.
    """

    faults: Tendency = Tendency()
    empty: Tendency = Tendency()
    node: str = ""
    node_faults: int = 0
    spared: bool = False

    @property
    def one_node(self) -> bool:
        """Tell whether one bad node among good ones makes the faults."""
        return self.spared and self.node_faults > ONE_NODE * self.faults.count

    def hole(self, options: RuleOptions) -> bool:
        """Tell whether the endpoint swallows pilots; the last ones in a row without a fault end that."""
        limit = options.throttle
        return limit is not None and self.faults.calm < LAST and self.faults.over(float(limit)) and not self.one_node

    def workless(self, options: RuleOptions) -> bool:
        """Tell whether pilots find no work; the newest one that did ends that."""
        limit = options.empty_guard
        return limit is not None and self.empty.calm == 0 and self.empty.over(float(limit))


def judge(pilot: EndedPilot, options: RuleOptions) -> End | None:
    """Return what the end of a pilot says, None when it says nothing."""
    if pilot.lived is None or pilot.removed:
        return None
    if not pilot.fault and pilot.exit_code in options.empty_guard_no_work:
        return End.EMPTY if pilot.lived < options.empty_guard_shorter_than else End.WORKED
    if pilot.lived >= options.throttle_shorter_than:
        return End.WORKED
    return End.FAULT if pilot.fault or pilot.exit_code is not None else None


def weigh(pilots: Iterable[EndedPilot], options: RuleOptions, now: float, good_nodes: frozenset[str]) -> Endings:
    """Return the endings of pilots of one endpoint; `good_nodes` are those on which pilots are known to have worked."""
    judged = [(now - pilot.at, end, pilot.node) for pilot in pilots if (end := judge(pilot, options)) is not None]
    judged.sort(key=lambda one: one[0])
    ends = [(age, end) for age, end, _ in judged]
    nodes = Counter(
        node for age, end, node in judged if end is End.FAULT and age <= options.throttle_window
    ).most_common(1)
    node, node_faults = nodes[0] if nodes and nodes[0][0] else ("", 0)
    return Endings(
        _tendency(ends, End.FAULT, options.throttle_window, options.throttle_probe),
        _tendency(ends, End.EMPTY, options.empty_guard_window, options.empty_guard_probe),
        node,
        node_faults,
        bool(node) and bool(good_nodes - {node}),
    )


def _tendency(ends: Sequence[tuple[float, End]], kind: End, window: float, probe: float) -> Tendency:
    """Add up pilots, newest first, by age. The last ones may be as far apart as probes are."""
    last = [end is kind for age, end in ends if age <= max(window, (LAST + 1) * probe)][:LAST]
    streak = next((place for place, bad in enumerate(last) if not bad), len(last))
    calm = next((place for place, bad in enumerate(last) if bad), len(last))
    recent = [end is kind for age, end in ends if age <= window]
    return Tendency(len(recent), sum(recent), streak, calm)
