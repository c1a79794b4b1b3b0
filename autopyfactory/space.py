"""Whether there is room left in our folders."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autopyfactory.clock import Clock

FREE_SPACE_AGE = 10.0
"""Seconds for which one look at the free space of our directories serves all queues."""


class FreeSpace:
    """Tell which directory lacks free space; looks at most every few seconds.

    A folder that is missing is made when it is needed, so what counts is the space where that will be.
    """

    def __init__(self, clock: Clock, usage: Callable[[Any], Any] = shutil.disk_usage) -> None:
        self._clock = clock
        self._usage = usage
        self._looked = float("-inf")
        self._text = ""

    def lacking(self, folders: Iterable[Path], least: int) -> str:
        """Return a sentence for the first folder with less than `least` bytes, or ""."""
        if self._clock.now() < self._looked + FREE_SPACE_AGE:
            return self._text
        self._text = next((text for folder in folders if (text := self._judge(folder, least))), "")
        self._looked = self._clock.now()
        return self._text

    def _judge(self, folder: Path, least: int) -> str:
        try:
            free = self._free(folder)
        except OSError as error:
            return f"{folder}: cannot tell the free space: {error.strerror}"
        if free >= least:
            return ""
        return f"{folder} has {free / 1e6:.0f} MB free, min_free is {least / 1e6:.0f} MB: make room there"

    def _free(self, folder: Path) -> float:
        try:
            return float(self._usage(folder).free)
        except FileNotFoundError:
            if folder.parent == folder:
                raise
            return self._free(folder.parent)
