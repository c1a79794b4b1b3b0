"""Ask a WMS for the jobs and the site of a queue, also where several wmsqueues feed one queue.

`own` are the queue's wmsqueues, `reach` these and all that its siblings serve: what a sibling's pilots will take
elsewhere is not left for this queue. Without an answer for one of its own the queue knows nothing; of others
it takes that there is nothing for its siblings to do there, so that it never asks for more.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from autopyfactory.errors import FactoryError
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.sched.gates import OFFLINE, SERVING, TEST
from autopyfactory.wms import Wms

T = TypeVar("T")
U = TypeVar("U")

_RANK = {word: rank for rank, words in enumerate((SERVING, TEST, OFFLINE)) for word in words}
"""Of several sites the one that serves best decides; a word that nobody knows decides before all."""


def answer(ask: Callable[[], Snapshot[T]]) -> Snapshot[T] | FactoryError:
    """Return what a source says, or the error that came instead."""
    try:
        return ask()
    except FactoryError as error:
        return error


def ask_jobs(wms: Wms, own: Sequence[str], reach: Iterable[str]) -> Snapshot[tuple[JobCount, ...]] | FactoryError:
    """Return the jobs of all wmsqueues in reach, each cell with the name of its own where there are several."""
    heard = _heard(wms.jobs, own, reach)
    if not isinstance(heard, dict):
        return heard
    cells = tuple(replace(cell, wmsqueue=name) for name, found in heard.items() for cell in found.value)
    return _joined(cells, [heard[name] for name in own])


def ask_site(wms: Wms, own: Sequence[str], reach: Iterable[str]) -> Snapshot[Site] | FactoryError:
    """Return the site of a queue: with several wmsqueues that of the one that serves best, and the status of each."""
    heard = _heard(wms.site, own, reach)
    if not isinstance(heard, dict):
        return heard
    mine = [heard[name].value for name in own]
    best = min(mine, key=lambda site: _RANK.get(site.status, -1))
    cores = next((site.cores for site in mine if site.status == best.status and site.cores), None)
    statuses = {name: found.value.status for name, found in heard.items()}
    return _joined(Site(best.status, cores, statuses, best.downtimes), [heard[name] for name in own])


def served(cells: Iterable[JobCount], site: Site | None) -> list[JobCount]:
    """Return the cells whose site hands out jobs, those of a site in test marked as such."""
    if site is None:
        return list(cells)
    found: list[JobCount] = []
    for cell in cells:
        status = site.statuses.get(cell.wmsqueue, "") if site.statuses else site.status
        # Where one site decides for all jobs, the gates see to it; here one of several may be offline.
        if not site.statuses or status in SERVING | TEST or site.status in OFFLINE:
            found.append(replace(cell, testing=True) if status in TEST else cell)
    return found


def _heard(
    ask: Callable[[str], Snapshot[T]], own: Sequence[str], reach: Iterable[str]
) -> dict[str, Snapshot[T]] | Snapshot[T] | FactoryError:
    """Return the answers by wmsqueue; where there is one, its answer as it is; where one of `own` fails, the error."""
    names = list(dict.fromkeys([*own, *reach]))
    if len(names) == 1:
        return answer(partial(ask, names[0]))
    heard: dict[str, Snapshot[T]] = {}
    for name in names:
        found = answer(partial(ask, name))
        if isinstance(found, Snapshot):
            heard[name] = found
        elif name in own:
            return found
    return heard


def _joined(value: T, parts: Sequence[Snapshot[U]]) -> Snapshot[T]:
    return Snapshot(value, parts[0].source, min(part.began for part in parts), min(part.speaks_of for part in parts))
