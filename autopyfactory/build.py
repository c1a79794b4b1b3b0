"""What a factory's queues work with: sources, WMS and monitors, each built from its section by a plug-in."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from autopyfactory import plugins
from autopyfactory.batch import Batch, Context
from autopyfactory.batch.source import PilotSource
from autopyfactory.batch.twin import Twin
from autopyfactory.clock import Clock
from autopyfactory.config.models import Config, QueueConfig, Section
from autopyfactory.ledger import Ledger
from autopyfactory.model import EndedPilot
from autopyfactory.monitor import Monitor
from autopyfactory.positions import Positions
from autopyfactory.wms import Wms
from autopyfactory.wms.parts import made_of, parts_of, with_parts

log = logging.getLogger(__name__)


class Parts:
    """The parts of a factory that are built, by section name; one that cannot be built is missing.

    `idle` are the sources that no queue uses and that have pilots: `Former` looks after them. Those of a factory
    that is `looking` write nothing. `on_ended` is told of pilots that ended, from the queues' threads.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        idle: dict[str, PilotSource],
        *,
        looking: bool,
        on_ended: Callable[[Sequence[EndedPilot]], None],
    ) -> None:
        self.sources: dict[str, PilotSource] = {}
        self.wms: dict[str, Wms] = {}
        self.monitors: dict[str, Monitor] = {}
        self.idle = idle
        self._ledger = ledger
        self._clock = clock
        self._looking = looking
        self._on_ended = on_ended
        self._started = clock.now()
        self._twins: dict[tuple[str, ...], Twin] = {}
        self._meeting = threading.Lock()
        self._doubled: set[frozenset[str]] = set()
        self._positions: Mapping[str, int] = {}

    def build(self, config: Config) -> None:
        """Build what is missing: monitors, sources and WMS that a queue uses."""
        self._positions = Positions(config.factory.state_dir, looking=self._looking).of(config.sources)
        used = [queue.options for queue in config.queues.values()]
        for name in {monitor for options in used for monitor in options.monitor}:
            _build(self.monitors, name, partial(self._monitor, config, name))
        for name in with_parts({options.wms: None for options in used if options.wms}, config.wms):
            _build(self.wms, name, partial(self._demand, config, name))
        for name in sources_in_use(config):
            _build(self.sources, name, partial(self._source, config, name))

    def build_idle(self, config: Config, names: Iterable[str]) -> None:
        """Build those of these sources that no queue uses."""
        for name in set(names) - sources_in_use(config):
            _build(self.idle, name, partial(self._source, config, name))

    def all_sources(self) -> list[PilotSource]:
        """Return the sources in use and the idle ones."""
        return [*self.sources.values(), *self.idle.values()]

    def close_changed(self, before: Config, now: Config) -> None:
        """Close what another configuration describes otherwise; a source that is out of use becomes idle."""
        whole, used = before.factory != now.factory, sources_in_use(now)
        for name in list(self.sources):
            if name not in used:
                self.idle[name] = self.sources.pop(name)
            elif whole or before.sources.get(name) != now.sources.get(name):
                _close(self.sources.pop(name))
        for name in used & self.idle.keys():
            # `Former` may close it at the same moment.
            if (idle := self.idle.pop(name, None)) is not None:
                _close(idle)
        for name in list(self.wms):
            if whole or made_of(before.wms, name) != made_of(now.wms, name):
                _close(self.wms.pop(name))
        for name in list(self.monitors):
            if whole or before.monitors.get(name) != now.monitors.get(name):
                del self.monitors[name]

    def close(self) -> None:
        """Close sources and WMS; monitors are the reporter's to close."""
        parts: list[PilotSource | Wms] = [*self.all_sources(), *self.wms.values()]
        for part in parts:
            _close(part)

    def _monitor(self, config: Config, name: str) -> Monitor:
        section = config.monitors[name]
        kind = plugins.load("autopyfactory.monitor", section.plugin)
        monitor: Monitor = kind(name, section.options, config.factory, self._clock)
        return monitor

    def _demand(self, config: Config, name: str) -> Wms:
        section = config.wms[name]
        kind = plugins.load("autopyfactory.wms", section.plugin)
        parts = parts_of(section)
        more = {"parts": {part: self.wms[part] for part in parts}} if parts else {}
        wms: Wms = kind(name, section.options, self._clock, **more)
        return wms

    def _source(self, config: Config, name: str) -> PilotSource:
        section = config.sources[name]
        options: Any = section.options
        kind = plugins.load("autopyfactory.batch", section.plugin)
        context = Context(config.factory, self._clock, self._positions[name], self._looking)
        batch: Batch = kind(section.name, options, context)
        return PilotSource(
            f"{section.kind} {section.name}",
            batch,
            self._ledger,
            self._clock,
            interval=options.interval,
            max_age=options.max_age,
            deadline=options.deadline,
            rate=getattr(options, "max_submit_rate", None),
            host=config.factory.host,
            twin=self._twins.setdefault(_place(name, section), Twin(self._ledger, self._clock, self._started)),
            meet=self._meet,
            on_ended=self._on_ended,
        )

    def _meet(self, source: PilotSource) -> None:
        """Look for other names of a source's batch system: its pilots must not count twice.

        An idle source is closed when another one shows all its pilots; what went through it counts as the other's.
        """
        for other in self.all_sources():
            if other.name != source.name and not (source.closed or other.closed) and source.is_same_as(other):
                self._join(source, other)

    def _join(self, one: PilotSource, other: PilotSource) -> None:
        with self._meeting:
            idle = next(((key, at) for key, at in list(self.idle.items()) if at in (one, other)), None)
            if idle is None:
                return self._tell_of(one, other) if {one, other} <= set(self.sources.values()) else None
            key, old = idle
            heir = other if old is one else one
            if not heir.covers(old):
                return None
            # In this order its pilots count twice for a moment, and never not at all.
            self._ledger.hand_over(old.name, heir.name)
            self.idle.pop(key, None)
        log.info("%s shows the pilots of %s too, which no queue uses and which is let go", heir.name, old.name)
        return _close(old)

    def _tell_of(self, one: PilotSource, other: PilotSource) -> None:
        names = frozenset({one.name, other.name})
        if names not in self._doubled:
            self._doubled.add(names)
            log.error(
                "%s show the same pilots, which count twice: let all queues use one of the two",
                " and ".join(sorted(names)),
            )


def _place(name: str, section: Section) -> tuple[str, ...]:
    """Return which batch system a section means, as far as its text tells."""
    options = section.options
    return (name, section.plugin, *(str(getattr(options, option)) for option in getattr(options, "place", ())))


def _build(built: dict[str, Any], name: str, make: Callable[[], Any]) -> None:
    """Add a part that is missing. One that cannot be built is left out, and the queues that need it with it."""
    if name in built:
        return
    try:
        built[name] = make()
    except Exception:
        log.exception("%s cannot be built", name)


def _close(part: PilotSource | Wms) -> None:
    try:
        part.close()
    except Exception:
        log.exception("%s could not be closed", getattr(part, "name", part))


def built_on(config: Config, name: str) -> tuple[object, ...]:
    """Return the sections that a queue is built on; where they change, it must begin again."""
    options = config.queues[name].options
    return (
        config.sources.get(source_name(config.queues[name])),
        made_of(config.wms, options.wms),
        tuple(config.monitors.get(monitor) for monitor in options.monitor),
    )


def source_name(queue: QueueConfig) -> str:
    """Return the name of the section that a queue submits through."""
    return queue.options.source or "local"


def sources_in_use(config: Config) -> set[str]:
    """Return the names of the sections that any queue submits through."""
    return {source_name(queue) for queue in config.queues.values()}
