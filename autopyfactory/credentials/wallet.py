"""The credentials of all queues: which file each takes now, and what is wrong with those before it."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autopyfactory.clock import Clock
from autopyfactory.config.models import Config, CredentialOptions, QueueConfig
from autopyfactory.config.problems import Problem
from autopyfactory.credentials import KINDS, Chosen, carried, span
from autopyfactory.credentials.files import Files

log = logging.getLogger(__name__)

MIN_LIFE: float = CredentialOptions.model_fields["min_life"].default
"""What is asked of a file that a queue names by its path."""


class Wallet:
    """Choose credentials for queues. Safe from many threads; a stat per file each time, no more while none changes."""

    def __init__(self, credentials: Mapping[str, CredentialOptions], clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._files = Files()
        self._said: dict[tuple[str, str], str] = {}

    def choose(self, queue: QueueConfig, kinds: Iterable[str] = KINDS) -> Chosen:
        """Return the first good credential of each kind that the queue names, or why there is none."""
        chosen: dict[str, Path] = {}
        lacking = []
        for kind in kinds:
            names: Sequence[str] = getattr(queue.options, kind)
            path, faults = self._first(kind, names)
            if path is not None:
                chosen[kind] = path
                self._remark(queue, kind, path, faults)
            elif names:
                lacking.append(f"no usable {kind}: {'; '.join(faults)}")
        return Chosen(chosen.get("proxy"), chosen.get("token"), "; ".join(lacking))

    def best(self, queue: QueueConfig) -> Chosen:
        """Return what `choose` does, and where none is good the first that is named."""
        chosen = self.choose(queue)
        first = {kind: next(map(self.path, getattr(queue.options, kind)), None) for kind in KINDS}
        return replace(chosen, proxy=chosen.proxy or first["proxy"], token=chosen.token or first["token"])

    def fault(self, kind: str, name: str) -> str:
        """Return what is wrong now with a credential that is named by its section or path, or ""."""
        path = self.path(name)
        finding = self._files.look(kind, path)
        options = self._credentials.get(name)
        fault = finding.fault or finding.validity.fault(self._clock.now(), options.min_life if options else MIN_LIFE)
        return f"{path} {fault}" if fault else ""

    def path(self, name: str) -> Path:
        """Return the file of a credential that is named by its section or path."""
        return self._credentials[name].file if name in self._credentials else Path(name)

    def _first(self, kind: str, names: Sequence[str]) -> tuple[Path | None, list[str]]:
        """Return the first good one and what is wrong with those before it."""
        faults: list[str] = []
        for name in names:
            fault = self.fault(kind, name)
            if not fault:
                return self.path(name), faults
            faults.append(fault)
        return None, faults

    def _remark(self, queue: QueueConfig, kind: str, path: Path, faults: Sequence[str]) -> None:
        """Log, on change, what is not as it should be with a credential that is good enough."""
        finding, walltime = self._files.look(kind, path), queue.options.walltime
        self._say("", str(path), f"{kind} {path} {finding.warning}" if finding.warning else "")
        remarks = [f"it takes the {kind} {path}, for {'; '.join(faults)}"] if faults else []
        until = finding.validity.until
        if kind == "proxy" and until is not None and walltime and until < (now := self._clock.now()) + walltime:
            life = f"{path} lives {span(until - now)} more, less than walltime = {span(walltime)}"
            remarks.append(f"{life}: a pilot that lasts loses it, unless the CE takes renewed ones")
        self._say(queue.name, kind, "; ".join(remarks))

    def _say(self, queue: str, topic: str, text: str) -> None:
        likeness = re.sub(r"\d+ (s|min|h|days) ", "", text)
        if self._said.get((queue, topic), "") != likeness:
            self._said[queue, topic] = likeness
            if text:
                log.warning("%s", text, extra={"queue": queue})


def doubtful(config: Config, clock: Clock, batches: Mapping[str, object]) -> Iterator[Problem]:
    """Return a warning for each credential that is not good now, at the line that names its file.

    `batches` are the plug-in classes of the queues' backends, by queue.
    """
    wallet = Wallet(config.credentials, clock)
    for name, options in config.credentials.items():
        yield from _warning(config, f"credential {name}", "file", wallet.fault(options.kind, name))
    for queue in config.queues.values():
        for kind in carried(batches[queue.name], queue.options.type, queue.options.subtype):
            for name in getattr(queue.options, kind):
                if name not in config.credentials:
                    yield from _warning(config, queue.name, kind, wallet.fault(kind, name))


def _warning(config: Config, section: str, option: str, fault: str) -> Iterator[Problem]:
    if fault:
        file, _, line = config.origins.get((section, option), f"{config.path}:0").rpartition(":")
        yield Problem(file, int(line), section, option, fault, warning=True)
