"""One queue's part of the demand: which jobs count, who else asks for them, and how many pilots that makes.

A wmsqueue may be served by several queues (siblings) and by several factories (`share`). Every activated
job is asked for once: each cell of the statistics (resource type, label) is dealt among the siblings that
count it and can submit now, by weight and largest remainder; then the queue's jobs become pilots by their
cores, rounded up once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from autopyfactory.model import JobCount


@dataclass(frozen=True, slots=True)
class Claim:
    """What one queue may ask for of a wmsqueue, and what it has already asked.

    `labels` and `resource_types` empty: all. `waiting` are its pilots that will take a job of the
    figures (they wait, or left pending since). `active` is false while it cannot submit.
    """

    queue: str
    weight: Fraction = Fraction(1)
    cores: int = 1
    labels: frozenset[str] = frozenset()
    resource_types: frozenset[str] = frozenset()
    waiting: int = 0
    active: bool = True

    def counts(self, cell: JobCount) -> bool:
        """Tell whether jobs of this cell are for this queue."""
        return (not self.labels or cell.label in self.labels) and (
            not self.resource_types or cell.resource_type in self.resource_types
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What a queue may ask for.

    `activated` are all jobs it counts, `gross` its part of them in pilots, `surplus` how many of those
    will be taken by siblings' pilots that wait beyond their own part (a sibling that can no longer
    submit has no part, but its pilots are there).
    """

    activated: int
    gross: int
    surplus: int = 0


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

    `cores_of` gives the cores of a job by resource type (1 where it is silent). `gross` is
    ceil(share x sum of this queue's jobs x cores of the job / cores of the pilot).
    """
    cores_of = cores_of or {}
    claims = [mine, *siblings]
    wanted = {claim.queue: Fraction(0) for claim in claims}
    for cell in cells:
        takers = {
            claim.queue: claim.weight for claim in claims if claim.counts(cell) and (claim.active or claim is mine)
        }
        cores = cores_of.get(cell.resource_type, 1)
        for queue, jobs in deal(cell.activated, takers).items():
            wanted[queue] += jobs * cores * share
    gross = math.ceil(wanted[mine.queue] / mine.cores)
    activated = sum(cell.activated for cell in cells if mine.counts(cell))
    surplus = _surplus([claim for claim in siblings if _overlap(mine, claim, cells)], wanted)
    active = sum((claim.weight for claim in claims if claim.active or claim is mine), Fraction(0))
    mine_of_it = surplus * mine.weight / active / mine.cores if active else Fraction(0)
    return Demand(activated, gross, math.ceil(mine_of_it))


def _surplus(siblings: Sequence[Claim], wanted: Mapping[str, Fraction]) -> Fraction:
    """Return, in cores, what siblings' waiting pilots will take beyond those siblings' own parts."""
    return sum((max(Fraction(0), claim.waiting * claim.cores - wanted[claim.queue]) for claim in siblings), Fraction(0))


def _overlap(mine: Claim, other: Claim, cells: Sequence[JobCount]) -> bool:
    return any(mine.counts(cell) and other.counts(cell) for cell in cells)
