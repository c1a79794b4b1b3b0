"""Find and read the queue files: which sections there are, what serves all of them, what cannot be believed."""

import glob
from dataclasses import dataclass, field, replace
from pathlib import Path

from autopyfactory.config.ini import NO_QUEUES, Block, IniFile, read
from autopyfactory.config.problems import Fault, Problem
from autopyfactory.config.sections import located

USUAL = ("queues.conf", "queues.d/*.conf")
_WILD = frozenset("*?[")


@dataclass(slots=True)
class QueueFiles:
    """The sections of all queue files in order, and [DEFAULT].

    `lost` are problems with the file they cost, all of them where that is "": what a queue inherits, or
    where its options went, is then unknown. `wrong` are those of single sections, by name.
    """

    defaults: Block | None = None
    blocks: dict[str, Block] = field(default_factory=dict)
    lost: list[tuple[Problem, str]] = field(default_factory=list)
    wrong: list[Problem] = field(default_factory=list)

    def trusted(self, block: Block) -> bool:
        """Tell whether all that the section inherits is known."""
        return not any(file in ("", block.file) for _, file in self.lost)

    def problems(self) -> list[Problem]:
        """Return all problems, those that cost several queues once for each."""
        found = list(self.wrong)
        for problem, file in self.lost:
            names = [name for name, block in self.blocks.items() if file in ("", block.file)]
            found += [replace(problem, queue=name) for name in names] or [problem]
        return found


def gather(folder: Path, patterns: tuple[str, ...]) -> QueueFiles:
    """Read the queue files; patterns are paths or globs relative to the folder, none meaning the usual ones."""
    files = QueueFiles()
    seen: set[Path] = set()
    for pattern in patterns or USUAL:
        wild = bool(_WILD.intersection(pattern))
        paths = _matching(folder, pattern) if wild else [folder / pattern]
        for path in paths:
            if path not in seen and not (not patterns and _unneeded(path, folder)):
                seen.add(path)
                _add(files, read(path, missing=NO_QUEUES), shared=not wild)
    return files


def _unneeded(path: Path, folder: Path) -> bool:
    """Tell whether this is a queues.conf that is not there because queues.d holds all queues."""
    return path.name == USUAL[0] and not path.exists() and bool(_matching(folder, USUAL[1]))


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files in the order of their names; hidden ones are an editor's, and not meant."""
    return [folder / name for name in sorted(glob.glob(pattern, root_dir=folder))]  # noqa: PTH207


def _add(files: QueueFiles, file: IniFile, *, shared: bool) -> None:
    """Add a file; only a `shared` one, which is named and not found by a pattern, can serve others with a [DEFAULT]."""
    scope = "" if shared else file.file
    nowhere = Block("", file.file, 0)
    files.lost += [(located(nowhere, fault), scope) for fault in file.faults]
    for block in file.blocks:
        if block.name == "DEFAULT":
            _default(files, block, shared=shared)
        elif block.name.lower() == "default":
            files.lost.append((located(block, Fault("", "what serves all queues is written [DEFAULT]")), scope))
        else:
            _queue(files, block)


def _default(files: QueueFiles, block: Block, *, shared: bool) -> None:
    first = files.defaults
    if first is None and shared:
        files.defaults = block
        files.lost += [(located(block, fault), "") for fault in block.faults]
        return
    where = f", the one that serves all queues is at {first.place}" if first else ", write it in queues.conf"
    text = f"can stand only once, and in no file found by a pattern{where}"
    scope = "" if first and first.file == block.file else block.file
    files.lost.append((located(block, Fault("", text)), scope))


def _queue(files: QueueFiles, block: Block) -> None:
    first = files.blocks.setdefault(block.name, block)
    faults = list(block.faults)
    if first is not block:
        faults.append(Fault("", f"stands twice, first at {first.place}, rename one or make one of the two"))
    files.wrong += [located(block, fault, queue=block.name) for fault in faults]
