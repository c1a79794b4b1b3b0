"""A glance at the configuration, for commands that must work while it is broken."""

from dataclasses import dataclass
from pathlib import Path

from autopyfactory.config import ini
from autopyfactory.config.fields import absolute, words
from autopyfactory.config.files import gather
from autopyfactory.config.models import FactoryOptions
from autopyfactory.config.problems import Fault
from autopyfactory.config.sections import located
from autopyfactory.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Glance:
    """Where an operator's deeds are kept, and the names of all queues; None when not all files can be read."""

    state_dir: Path
    queues: frozenset[str] | None


def glance(path: Path) -> Glance:
    """Read `state_dir` of `[factory]` and the heads of the queue files, and judge nothing else.

    Raises ConfigError when it is not known where the state is.
    """
    file = ini.read(path, missing=ini.NO_MAIN)
    block = next((block for block in file.blocks if block.name == "factory"), None)
    if block is None:
        faults = file.faults or (Fault("", "has no [factory] section, so it is not known where the state is"),)
        raise ConfigError([str(located(ini.Block("", file.file, 0), fault)) for fault in faults])
    values, faults_of_all = ini.expand(block.entries)
    faulty = [fault for fault in faults_of_all if fault.option == "state_dir"]
    # Without the option, any line that is nothing known may be the one that names it.
    faulty += [fault for fault in block.faults if fault.option == "state_dir" or "state_dir" not in block.entries]
    try:
        text = values.get("state_dir")
        state_dir = FactoryOptions.model_fields["state_dir"].default if text is None else absolute(text)
    except ValueError as error:
        faulty.append(Fault("state_dir", str(error)))
    if faulty:
        raise ConfigError([str(located(block, fault)) for fault in faulty])
    entry = block.entries.get("queues")
    files = gather(path.parent, words(entry.text) if entry else ())
    return Glance(state_dir, None if files.lost else frozenset(files.blocks))
