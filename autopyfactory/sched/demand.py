"""One queue's part of the demand: which jobs count, who else asks for them, and how many pilots that makes.

A wmsqueue may be served by several queues (siblings) and by several factories (`share`). Every activated
job is asked for once: the cells of the statistics (resource type, label) that the same siblings count are
one pool; it is multiplied by the share, rounded up once to whole pilots and dealt among those siblings that
can submit now, by weight and largest remainder. A pilot answers as many cores of jobs as it has, times the
jobs that it runs one after the other. Pilots that wait beyond their own queue's part (a queue that
can no longer submit has no part) answer what the others still lack, as much as each of them lacks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from autopyfactory.model import JobCount

COMMON = frozenset({"managed", "user", "unified"})
"""The labels of ordinary work, in PanDA's words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one queue may ask for of a wmsqueue, and what it has already asked.

    `labels`, `resource_types`, `shares` and `wmsqueues` empty: all. `test_labels` are those of the jobs that a site in
    test gives to pilots of the common labels. `waiting` are its pilots that will take a job of the
    figures (they wait, or left pending since); of these at most `fresh` (None: all) are believed to take jobs
    beyond its own part, so that pilots which never start starve nobody. `active` is false while it cannot
    submit.
    """

    queue: str
    weight: Fraction = Fraction(1)
    cores: int = 1
    labels: frozenset[str] = frozenset()
    resource_types: frozenset[str] = frozenset()
    waiting: int = 0
    active: bool = True
    fresh: int | None = None
    jobs_per_pilot: Fraction = Fraction(1)
    wmsqueues: frozenset[str] = frozenset()
    test_labels: frozenset[str] = frozenset()
    shares: frozenset[str] = frozenset()

    @property
    def capacity(self) -> Fraction:
        """Return how many cores of jobs one pilot answers."""
        return self.cores * self.jobs_per_pilot

    def counts(self, cell: JobCount) -> bool:
        """Tell whether jobs of this cell are for this queue; a WMS that tells no label or type means any."""
        return (
            _admits(self.wmsqueues, cell.wmsqueue)
            and _admits(self.resource_types, cell.resource_type)
            and _admits(self.shares, cell.share)
            and (self._tests(cell.label) if cell.testing else _admits(self.labels, cell.label))
        )

    def _tests(self, label: str) -> bool:
        """Tell whether pilots of this queue get jobs of a label from a site in test.

        The server takes COMMON labels that a pilot asks for as `test`; others it leaves as they are.
        """
        if not label or (label in self.labels and label not in COMMON):
            return True
        return label in self.test_labels and (not self.labels or not self.labels.isdisjoint(COMMON | self.test_labels))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a queue may ask for.

    `activated` are all jobs it counts, `gross` its part of them in pilots, `surplus` how many of those
    will be taken by siblings' pilots that wait beyond their own part. `testing` are the labels to which a site in
    test has narrowed the jobs.
    """

    activated: int
    gross: int
    surplus: int = 0
    testing: tuple[str, ...] = ()


def job_cores(resource_type: str, named: Mapping[str, int], site_cores: int | None, pilot_cores: int) -> int:
    """Return the cores of one job of a resource type: as the configuration names them, else by its name.

    PanDA's statistics give no cores: SCORE types have one, MCORE types the site's core count; where the
    site table has none (or 1, which cannot be meant) a job is taken to fill a pilot.
    """
    if resource_type in named:
        return named[resource_type]
    if resource_type.startswith("MCORE"):
        return site_cores if site_cores is not None and site_cores > 1 else pilot_cores
    return 1


def deal(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """Deal a whole number by weights and largest remainder; the sum is exactly `total`.

    Ties go to the first name in alphabetical order, so that all queues compute the same. With no weight
    at all nobody gets anything.
    """
    whole = sum(weights.values(), Fraction(0))
    if whole == 0:
        return dict.fromkeys(weights, 0)
    exact = {name: total * weight / whole for name, weight in weights.items()}
    parts = {name: math.floor(value) for name, value in exact.items()}
    rest = total - sum(parts.values())
    by_remainder = sorted(exact, key=lambda name: (parts[name] - exact[name], name))
    for name in by_remainder[:rest]:
        parts[name] += 1
    return parts


def part(
    cells: Sequence[JobCount],
    mine: Claim,
    siblings: Sequence[Claim] = (),
    *,
    share: Fraction = Fraction(1),
    cores_of: Mapping[str, int] | None = None,
) -> Demand:
    """Return one queue's part of a wmsqueue's activated jobs.

    `cores_of` gives the cores of a job by resource type where a cell does not tell them, else it is 1. For a
    queue alone `gross` is ceil(share x sum of its jobs x cores of the job / (cores of the pilot x jobs per pilot)).
    """
    claims = [mine, *siblings]
    takers = {claim.queue: claim for claim in claims if claim.active or claim is mine}
    parts = _parts(cells, takers, share, cores_of or {})
    lacking = {name: max(Fraction(0), parts[name] - claim.waiting * claim.capacity) for name, claim in takers.items()}
    lacked = lacking[mine.queue]
    for claim in sorted(claims, key=lambda claim: claim.queue):
        believed = claim.waiting if claim.fresh is None else min(claim.waiting, claim.fresh)
        _spend(claim, believed * claim.capacity - parts.get(claim.queue, 0), lacking, takers, cells)
    mine_cells = [cell for cell in cells if mine.counts(cell)]
    testing = any(cell.testing for cell in cells)
    return Demand(
        sum(cell.activated for cell in mine_cells),
        math.ceil(parts[mine.queue] / mine.capacity),
        math.ceil((lacked - lacking[mine.queue]) / mine.capacity),
        tuple(sorted(mine.test_labels)) if testing else (),
    )


def _parts(
    cells: Sequence[JobCount], takers: Mapping[str, Claim], share: Fraction, cores_of: Mapping[str, int]
) -> dict[str, Fraction]:
    """Return each taker's part in cores."""
    pools: dict[frozenset[str], Fraction] = {}
    for cell in cells:
        names = frozenset(name for name, claim in takers.items() if claim.counts(cell))
        wanted = cell.activated * (cell.cores or cores_of.get(cell.resource_type, 1)) * share
        pools[names] = pools.get(names, Fraction(0)) + wanted
    parts = dict.fromkeys(takers, Fraction(0))
    for names, wanted in pools.items():
        # Dealt in whole pilots where all are of one size, else in the largest unit that fits all of them.
        unit = _unit([takers[name].capacity for name in names])
        for name, units in deal(math.ceil(wanted / unit), {name: takers[name].weight for name in names}).items():
            parts[name] += units * unit
    return parts


def _spend(
    owner: Claim,
    surplus: Fraction,
    lacking: dict[str, Fraction],
    takers: Mapping[str, Claim],
    cells: Sequence[JobCount],
) -> None:
    """Let an owner's surplus pilots, in cores, answer what queues for the same jobs lack."""
    open_to = {name: lack for name, lack in lacking.items() if lack and _overlap(owner, takers[name], cells)}
    if surplus <= 0 or not open_to:
        return
    unit = _unit([takers[name].capacity for name in open_to])
    units = {name: lack / unit for name, lack in open_to.items()}
    answered = min(surplus // unit, math.floor(sum(units.values())))
    for name, number in deal(answered, units).items():
        lacking[name] = max(Fraction(0), lacking[name] - number * unit)


def _unit(sizes: Sequence[Fraction]) -> Fraction:
    """Return the largest unit of which all sizes are multiples; 1 for none."""
    whole = math.lcm(*(size.denominator for size in sizes))
    return Fraction(math.gcd(*(int(size * whole) for size in sizes)) or 1, whole)


def _admits(wanted: frozenset[str], word: str) -> bool:
    return not wanted or not word or word in wanted


def _overlap(mine: Claim, other: Claim, cells: Sequence[JobCount]) -> bool:
    return any(mine.counts(cell) and other.counts(cell) for cell in cells)
