"""Where the shipped bootstrap is, the executable of every queue that names none."""

from pathlib import Path

import autopyfactory


def wrapper_path() -> Path:
    """Return the path of the shipped bootstrap, an executable file in a clone and in an installed package."""
    return Path(autopyfactory.__file__).absolute().parent / "wrappers" / "autopyfactory-bootstrap.sh"
