"""Keep which CEs are silent in a file of `state_dir`: nothing else tells after a restart since when nothing moves.

A schedd's jobs do not: a pilot that the CE takes keeps its times, and one that ends is gone with them.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import TypeAdapter

from autopyfactory.batch.condor_troubles import Silence
from autopyfactory.errors import OperateError
from autopyfactory.statefile import StateFile

_FORM = TypeAdapter(dict[str, Silence])


class Silences:
    """The silent endpoints of one schedd, read at once and written when they change. Used by one thread at a time."""

    def __init__(self, state_dir: Path, schedd: str) -> None:
        self._file = StateFile(state_dir / f"silent-{quote(schedd, safe='')}.json")
        self.known: Mapping[str, Silence] = {}
        self.trouble = ""
        """Why they could not be read or written, "" for nothing."""
        try:
            self.known = _FORM.validate_json(self._file.read() or b"{}")
        except OperateError as error:
            self.trouble = f"{error}, silent CEs are noticed anew"
        except ValueError:
            self.trouble = f"{self._file.path} holds no silent CEs, they are noticed anew"

    def keep(self, silences: Mapping[str, Silence]) -> None:
        """Write them down when they are others than before; what fails is tried again the next time."""
        if silences == self.known:
            return
        try:
            self._file.path.parent.mkdir(parents=True, exist_ok=True)
            self._file.write(_FORM.dump_json(dict(silences)))
        except (OperateError, OSError) as error:
            self.trouble = f"{error} (it keeps silent CEs in mind for a restart)"
            return
        self.known, self.trouble = dict(silences), ""
