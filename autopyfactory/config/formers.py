"""Judge `formerly` of all queues against each other: a name has one heir, and no section of its own."""

from collections.abc import Iterator, Mapping

from autopyfactory.config.ini import Block
from autopyfactory.config.problems import Fault, Problem
from autopyfactory.config.queues import Judge, Verdict


def formers(judge: Judge, blocks: Mapping[str, Block], verdicts: Mapping[str, Verdict]) -> Iterator[Problem]:
    """Return what is wrong with the former names of the queues that are otherwise sound."""
    heirs: dict[str, str] = {}
    for name, verdict in verdicts.items():
        if verdict.queue is None:
            continue
        for old in verdict.queue.options.formerly:
            if text := _fault(name, old, heirs.get(old), blocks):
                yield judge.located(blocks[name], Fault("formerly", text), verdict.enabled)
            elif verdict.enabled:
                heirs[old] = name


def _fault(name: str, old: str, heir: str | None, blocks: Mapping[str, Block]) -> str:
    if old == name:
        return f"'{old}' is the name of this queue itself, take it out"
    if old in blocks:
        return f"there is a section [{old}] at {blocks[old].place}, remove that or take the name out here"
    if heir == name:
        return f"'{old}' stands there twice, take one away"
    return (
        f"'{old}' is adopted by [{heir}] at {blocks[heir].place} already, take it out of one of the two" if heir else ""
    )
