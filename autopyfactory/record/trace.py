"""A trace: the demand of many wmsqueues over time, as JSON lines.

One line says what holds for one wmsqueue from a time on, until its next line:

    {"at": 1790000000, "wms": "panda", "wmsqueue": "BNL_PROD", "cells": [{"resource_type": "MCORE", "label": "managed",
     "activated": 40, "running": 310}]}

`at` are seconds since the epoch (a made-up trace may begin at 0), never less than in the line before. `wms` is the
section that tells of the wmsqueue; left out, as before there was such a word, it stands for each that has one of this
name. A cell is one resource type and label of the WMS's statistics, and `cores` of a job and global `share` where
the WMS tells them; what else it holds are numbers of jobs by their status, of which `activated` always stands there.
`cells` is empty when there are no jobs, and null when nobody knows. Each wmsqueue's last line is the end of what is
known of it.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from autopyfactory.errors import FactoryError
from autopyfactory.model import JobCount

STATUSES = ("activated", "starting", "running", "transferring")
"""What a trace keeps of the job statistics: what rules read."""


class TraceError(FactoryError):
    """A trace cannot be read; the message names file, line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one wmsqueue's jobs are from a time on. `cells` None: unknown."""

    at: float
    wmsqueue: str
    cells: tuple[JobCount, ...] | None
    wms: str = ""


class _Cell(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, NonNegativeInt]

    resource_type: str = ""
    label: str = ""
    cores: NonNegativeInt = 0
    share: str = ""
    activated: NonNegativeInt


class _Line(BaseModel):
    at: float = Field(allow_inf_nan=False)
    wmsqueue: str = Field(min_length=1)
    wms: str = ""
    cells: list[_Cell] | None


def line_of(demand: Demand) -> str:
    """Return the line, with its end."""
    cells = None if demand.cells is None else [_paper(cell) for cell in demand.cells]
    wms = {"wms": demand.wms} if demand.wms else {}
    return json.dumps({"at": round(demand.at, 1), **wms, "wmsqueue": demand.wmsqueue, "cells": cells}) + "\n"


def read(path: Path) -> Iterator[Demand]:
    """Return the lines in their order; empty ones and those that begin with `#` are left out. Raises TraceError."""
    last = float("-inf")
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip() or text.startswith("#"):
                    continue
                demand = _demand(text, f"{path}:{number}")
                if demand.at < last:
                    raise TraceError(f"{path}:{number}: at {demand.at:.0f} comes after a later line, sort them by time")
                last = demand.at
                yield demand
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise TraceError(f"{path}: cannot read the trace: {reason}") from None


def merged(traces: Iterable[Iterable[Demand]]) -> Iterator[Demand]:
    """Return several traces, each sorted by time, as one."""
    return heapq.merge(*traces, key=lambda demand: demand.at)


def _demand(text: str, where: str) -> Demand:
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise TraceError(f"{where}: is no line of a trace, 'autopyfactory record' writes them") from None
        place = ".".join(map(str, first["loc"]))
        raise TraceError(f"{where}: {f'{place}: ' if place else ''}{first['msg'].lower()}") from None
    return Demand(line.at, line.wmsqueue, None if line.cells is None else tuple(map(_cell, line.cells)), line.wms)


def _cell(cell: _Cell) -> JobCount:
    extra = cell.__pydantic_extra__
    counts = {"activated": cell.activated, **extra}
    return JobCount(cell.resource_type, cell.label, counts, cores=cell.cores, share=cell.share)


def _paper(cell: JobCount) -> dict[str, Any]:
    counts = {status: cell.by_status.get(status, 0) for status in STATUSES}
    kept = {status: count for status, count in counts.items() if count or status == "activated"}
    more = {name: value for name, value in (("cores", cell.cores), ("share", cell.share)) if value}
    return {"resource_type": cell.resource_type, "label": cell.label, **more, **kept}
