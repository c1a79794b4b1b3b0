"""Put the configuration together from its files."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from autopyfactory.config import ini
from autopyfactory.config.catalogue import Catalogue, source_options
from autopyfactory.config.files import gather
from autopyfactory.config.formers import formers
from autopyfactory.config.generated import generate, orphans
from autopyfactory.config.ini import Block
from autopyfactory.config.models import Config, QueueConfig, Section
from autopyfactory.config.problems import Problem
from autopyfactory.config.queues import Judge, Verdict
from autopyfactory.config.sections import Main, read_main
from autopyfactory.errors import ConfigError

LOCAL = "local"


def load(path: Path, catalogue: Catalogue | None = None) -> Config:
    """Read the main file and the queue files beside it.

    Raises ConfigError with all problems, those of queues too, when the main file is wrong, and nothing
    else; a wrong queue is out, and the others are served.
    """
    catalogue = catalogue or Catalogue()
    file = ini.read(path, missing=ini.NO_MAIN)
    main = read_main(file, catalogue)
    if not file.blocks:
        raise ConfigError([str(problem) for problem in main.problems])
    files = gather(path.parent, main.queue_files)
    generated = generate(main, files)
    waiting = orphans(main, files, generated)
    blocks = {name: block for name, block in files.blocks.items() if name not in waiting} | generated.blocks
    judge = Judge(main, catalogue, files.defaults)
    verdicts = {
        name: generated.soften(name, judge.judge(block, trusted=files.trusted(files.blocks.get(name, block))))
        for name, block in blocks.items()
    }
    found = [p for verdict in verdicts.values() for p in verdict.problems]
    found += [*waiting.values(), *generated.problems, *formers(judge, blocks, verdicts)]
    problems = _ordered([*main.problems, *files.problems(), *found])
    if main.wrong or main.factory is None:
        raise ConfigError(list(dict.fromkeys(str(problem) for problem in problems)))
    if not blocks and not files.lost:
        problems.append(Problem(str(path), 0, "", "", "there is no queue yet, write one in queues.conf", warning=True))
    out = frozenset(problem.queue for problem in problems if problem.queue)
    _add_local_sources(main, catalogue, [v.queue for name, v in verdicts.items() if v.queue and name not in out])
    placed = {name: _placed(verdict, main, catalogue) for name, verdict in verdicts.items() if name not in out}
    return Config(
        path,
        main.factory,
        main.sources,
        main.wms,
        main.monitors,
        main.credentials,
        {name: queue for name, queue in placed.items() if queue and queue.options.enabled},
        out,
        tuple(problems),
        {name: placed[name] for name in placed if not verdicts[name].enabled},
        main.origins | _origins(judge, blocks),
        main.held,
        main.catalogues,
        generated.documents,
    )


def _add_local_sources(main: Main, catalogue: Catalogue, queues: list[QueueConfig]) -> None:
    """Add a section with default options for each backend whose queues name none, in the catalogue's order."""
    for backend, kind in catalogue.usable.items():
        served = [q.options for q in queues if catalogue.kind_of(q.options) is kind]
        unnamed = [options for options in served if options.enabled and not options.source]
        if unnamed and not main.source(kind.source_kind, LOCAL):
            main.add_source(Section(kind.source_kind, LOCAL, source_options(kind)(), backend))


def _placed(verdict: Verdict, main: Main, catalogue: Catalogue) -> QueueConfig | None:
    """Return the queue with the key of its source in `Config.sources` as its `source`."""
    if verdict.queue is None:
        return None
    options = verdict.queue.options
    kind = catalogue.kind_of(options).source_kind
    name = options.source or LOCAL
    return replace(verdict.queue, options=options.model_copy(update={"source": main.source(kind, name) or name}))


def _origins(judge: Judge, blocks: Mapping[str, Block]) -> dict[tuple[str, str], str]:
    return {
        (name, option): entry.place for name, block in blocks.items() for option, entry in judge.entries(block).items()
    }


def _ordered(problems: Iterable[Problem]) -> list[Problem]:
    """Sort by line within each file, the files in the order they were read."""
    listed = list(problems)
    files = {name: k for k, name in enumerate(dict.fromkeys(problem.file for problem in listed))}
    return sorted(listed, key=lambda problem: (files[problem.file], problem.line))
