"""Recorded answers of batch systems: `$ command`, its output, `[stderr]` lines, `[rc N]`."""

import re
from pathlib import Path

from autopyfactory.batch.commands_words import Answer

DATA = Path(__file__).parents[2] / "data" / "batch"


def answers(name: str) -> dict[str, Answer]:
    """Return the answers of a file by their commands, of a command that stands there twice the last one."""
    found = {}
    for part in re.split(r"^\$ ", (DATA / name).read_text(), flags=re.MULTILINE)[1:]:
        command, _, rest = part.partition("\n")
        lines = rest.split("\n")
        end = next(k for k, line in enumerate(lines) if line.startswith("[rc "))
        errors = [line.removeprefix("[stderr] ") for line in lines[:end] if line.startswith("[stderr] ")]
        output = [line for line in lines[:end] if not line.startswith("[stderr] ")]
        found[command] = Answer(int(lines[end][4:-1]), _text(output), _text(errors))
    return found


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
