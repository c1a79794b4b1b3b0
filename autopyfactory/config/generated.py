"""Sections that site catalogues make, beside those of the queue files; a local section adds to one of its name.

What is wrong with a generated section costs that queue alone, as a warning: nobody here can mend the document,
and a reload that it causes must not be refused.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from autopyfactory.config.files import QueueFiles
from autopyfactory.config.ini import Block, Entry
from autopyfactory.config.problems import Problem
from autopyfactory.config.queues import Verdict
from autopyfactory.config.sections import Main
from autopyfactory.cric.document import Unusable
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.sections import Harvest, harvest
from autopyfactory.cric.store import Store


@dataclass(slots=True)
class Generated:
    """What all catalogues made: whole sections by name, of which documents (their digests), and warnings."""

    blocks: dict[str, Block] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def soften(self, name: str, verdict: Verdict) -> Verdict:
        """Make warnings of the problems that a section has from its catalogue."""
        block = self.blocks.get(name)
        if block is None:
            return verdict
        local = {problem.file for problem in verdict.problems} - {block.file}
        problems = tuple(
            problem if problem.file in local else replace(problem, warning=True, queue="")
            for problem in verdict.problems
        )
        return replace(verdict, problems=problems)


def generate(main: Main, files: QueueFiles) -> Generated:
    """Return the sections of all catalogues, with what the queue files add to them; opens no connection."""
    found = Generated()
    if main.factory is None:
        return found
    for name, options in main.catalogues.items():
        for block in _sections(name, options, Store(name, options, main.factory.state_dir), found):
            first = found.blocks.setdefault(block.name, block)
            if first is not block:
                found.problems.append(_warning(options, block.name, f"{first.file} has a queue of this name, too"))
    for name, block in list(found.blocks.items()):
        local = files.blocks.get(name)
        if local is not None:
            found.blocks[name] = replace(local, file=block.file, line=0, entries={**block.entries, **local.entries})
    return found


def orphans(main: Main, files: QueueFiles, generated: Generated) -> Mapping[str, Problem]:
    """Return local sections that only add to a generated one which is not there now, each with a warning."""
    if not main.catalogues:
        return {}
    common = files.defaults.entries if files.defaults else {}
    text = "no catalogue has a queue of this name now, and the section names no backend: it waits for one"
    return {
        name: Problem(block.file, block.line, name, "", text, warning=True)
        for name, block in files.blocks.items()
        if name not in generated.blocks and "backend" not in {**common, **block.entries}
    }


def _sections(name: str, options: CricOptions, store: Store, found: Generated) -> Iterator[Block]:
    try:
        kept = store.current()
    except Unusable as error:
        return found.problems.append(_warning(options, f"cric {name}", f"no document can be used: {error}"))
    if kept is None:
        return found.problems.append(_warning(options, f"cric {name}", options.missing))
    found.documents[name] = kept.digest
    age = time.time() - kept.at
    if age > options.max_age:
        text = f"the document is {age / 3600:.0f} h old, the log of the factory says why there is no newer one"
        found.problems.append(_warning(options, f"cric {name}", text))
    harvested = harvest(kept.document, options)
    found.problems += _doubts(options, harvested)
    for section in harvested.sections.values():
        entries = {option: Entry(text, options.origin, 0) for option, text in section.options.items()}
        yield Block(section.name, options.origin, 0, entries)
    return None


def _doubts(options: CricOptions, harvested: Harvest) -> Iterator[Problem]:
    """Return one warning for each doubt; a document may have it of hundreds of queues."""
    names: dict[str, list[str]] = {}
    for queue, text in harvested.warnings:
        names.setdefault(text, []).append(queue)
    for text, queues in names.items():
        more = f" (and {len(queues) - 1} more, 'autopyfactory queues' names them)" if len(queues) > 1 else ""
        yield _warning(options, queues[0], f"{text}{more}")


def _warning(options: CricOptions, section: str, text: str) -> Problem:
    return Problem(options.origin, 0, section, "", text, warning=True)
