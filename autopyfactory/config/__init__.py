"""What the admin wrote, read and judged: INI files in, one validated `Config` out.

`load(path)` is the whole contract. It opens no connection, raises ConfigError when the main file is
wrong, and otherwise returns a `Config` in which wrong queues are left out, with every problem at its
file and line. `difference(old, new)` tells what a reload would change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopyfactory.config.compare import Difference, difference
    from autopyfactory.config.loader import load

__all__ = ["Difference", "difference", "load"]

_HOMES = {"Difference": "compare", "difference": "compare", "load": "loader"}


def __getattr__(name: str) -> Any:
    """Import on use: the option models of the whole package import `config.fields`, and so this file."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
