"""What the log says of pilots that did not end by themselves."""

import logging
import re
from collections.abc import Sequence

from autopyfactory.clock import Clock
from autopyfactory.model import EndedPilot

log = logging.getLogger(__name__)

REPEAT = 3600.0
"""Seconds in which the same fault of a queue's pilots is logged once; the monitors get each of them."""


class Faults:
    """Tell of the faults of one source's pilots, by queue and by what they say apart from their numbers."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, ended: Sequence[EndedPilot]) -> None:
        """Log each kind of fault in a line, unless it was logged within the last hour; a removal is no warning."""
        now = self._clock.now()
        self._told = {kind: at for kind, at in self._told.items() if now < at + REPEAT}
        kinds: dict[tuple[str, str], list[EndedPilot]] = {}
        for pilot in ended:
            if pilot.fault:
                kinds.setdefault((pilot.queue, re.sub(r"\d+", "#", pilot.fault)), []).append(pilot)
        for kind, pilots in kinds.items():
            if kind not in self._told:
                first, count = pilots[0], len(pilots)
                level = logging.INFO if first.removed else logging.WARNING
                who = f"pilot {first.cid}" if count == 1 else f"{count} pilots, the first is {first.cid}"
                log.log(level, "%s: %s: %s", self._name, who, first.fault, extra={"queue": first.queue})
                self._told[kind] = now
