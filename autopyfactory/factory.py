"""The factory: builds everything from the configuration; starts, reloads and stops the queue threads."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

from autopyfactory import plugins
from autopyfactory.assess import Standstill
from autopyfactory.batch import Batch, Context, remove
from autopyfactory.batch.held import table
from autopyfactory.batch.order import endpoints_of, make_order
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.clock import Clock
from autopyfactory.config import difference
from autopyfactory.config.models import Config, QueueConfig, Section
from autopyfactory.credentials import carried
from autopyfactory.credentials.wallet import Wallet
from autopyfactory.cric.refresh import Refresher
from autopyfactory.cycle import Cycle
from autopyfactory.errors import SourceError
from autopyfactory.former import Former
from autopyfactory.ledger import Ledger, LedgerView
from autopyfactory.model import Blocked, CycleReport, EndedPilot, PilotState
from autopyfactory.monitor import Monitor
from autopyfactory.monitor.reporter import Reporter
from autopyfactory.operate import Operator
from autopyfactory.outcomes import Outcomes
from autopyfactory.record import FILE
from autopyfactory.record.keeper import Keeper
from autopyfactory.runner import Runner
from autopyfactory.space import FreeSpace
from autopyfactory.wms import Wms
from autopyfactory.wms.parts import made_of, parts_of, with_parts

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds a stop waits for submissions under way; what lasts longer is left as ambiguous."""

RELOAD_GRACE = 0.5
"""The same at a reload, during which no signal is heard."""

FIRST_DELAY = 10.0
"""Seconds over which the first cycles of all queues are spread, at most one interval."""

FRESH = 600.0
"""Seconds for which a queue's waiting pilots are believed to take jobs of its siblings, too."""


class Factory:
    """One running factory.

    `on_report` is told of every cycle, `on_ended` of pilots that ended; both from the queues' threads.
    `on_catalogue` is told when a site catalogue has a new document: the configuration has to be read again. One
    that is `looking` may be made beside the daemon: it writes nothing and is never started, it has `look` only.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        operator: Operator,
        dry_run: bool = False,
        looking: bool = False,
        cycles: int | None = None,
        on_report: Callable[[CycleReport], None] = lambda report: None,
        on_ended: Callable[[Sequence[EndedPilot]], None] = lambda ended: None,
        on_catalogue: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self._clock = clock
        self._operator = operator
        self._dry_run = dry_run
        self._cycles = cycles
        self._on_report = on_report
        self._on_ended = on_ended
        self._looking = looking
        self._ledger = (LedgerView if looking else Ledger)(config.factory.state_dir / "submissions.jsonl", clock)
        self._keeper = Keeper(config.factory.state_dir / FILE, clock, config.factory.record_keep)
        self._disk = FreeSpace(clock)
        self._outcomes = Outcomes(clock)
        self._wallet = Wallet(config.credentials, clock)
        self._board = Board(config.factory.max_per_factory, self._ledger.most_waiting, self._fresh)
        self._former = Former(self._ledger, clock)
        self._sources: dict[str, PilotSource] = {}
        self._wms: dict[str, Wms] = {}
        self._monitors: dict[str, Monitor] = {}
        self._runners: dict[str, Runner] = {}
        self._reporter: Reporter | None = None
        self._refresher = Refresher(clock, on_catalogue)

    def start(self) -> None:
        """Build sources and start one thread per queue; a source that is down does not stop a start."""
        self._reporter = Reporter({}, self._clock)
        self._connect(self.config)
        self._serve(self.config.queues.values())
        self._refresher.serve(self.config.catalogues, self.config.factory.state_dir)
        self._former.start()
        count = len(self._runners)
        log.info("%s serves %d queue%s", self.config.factory.id, count, "" if count == 1 else "s")

    def look(self, queues: Iterable[str]) -> list[CycleReport]:
        """Return what one cycle of each of these queues would do; for a factory that is `looking`.

        Their siblings, and with `max_per_factory` all queues, have a cycle first, for what is theirs counts.
        """
        names = list(queues)
        self._connect(self.config)
        self._former.look()
        first = self._involved(names)
        with ThreadPoolExecutor(min(16, len(first) or 1)) as pool:
            list(pool.map(self._one_cycle, first))
        return [self._one_cycle(name) for name in names]

    def _involved(self, names: Iterable[str]) -> list[str]:
        served = self.config.queues
        if self.config.factory.max_per_factory is not None:
            return list(served)
        wanted = self._board.related(names)
        return [name for name in served if name in wanted]

    def _one_cycle(self, name: str) -> CycleReport:
        cycle = self._cycle_or_reason(self.config.queues[name])
        return cycle.run(Event()) if isinstance(cycle, Cycle) else cycle

    def reload(self, config: Config) -> str:
        """Go over to another configuration and return the difference, one line per change.

        What did not change goes on undisturbed: sources keep their snapshots, queues their threads.
        """
        changes = difference(self.config, config)
        restart = self._touched(config)
        gone = [self._runners.pop(name) for name in list(self._runners) if name in restart]
        self._end(gone, RELOAD_GRACE)
        memories = {runner.name: runner.cycle.memory for runner in gone}
        self._close_changed(config)
        if self.config.credentials != config.credentials:
            self._wallet = Wallet(config.credentials, self._clock)
        self.config = config
        self._keeper.keep(config.factory.record_keep)
        self._connect(config)
        self._serve((queue for name, queue in config.queues.items() if name not in self._runners), memories)
        self._refresher.serve(config.catalogues, config.factory.state_dir)
        return str(changes)

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds and tell whether every queue has done its cycles."""
        deadline = time.monotonic() + timeout
        return all(runner.done.wait(max(0.0, deadline - time.monotonic())) for runner in self._runners.values())

    def stop(self) -> None:
        """Stop all queues, give up what is under way after the grace, and close everything."""
        self._refresher.stop()
        self._end(self._runners.values(), GRACE)
        self._former.stop()
        parts: list[PilotSource | Wms] = [*self._sources.values(), *self._former.idle.values(), *self._wms.values()]
        for part in parts:
            _close(part)
        if self._reporter is not None:
            self._reporter.stop(0.5)
        self._keeper.stop(0.3)

    def halt(self, states: frozenset[PilotState]) -> None:
        """Stop, and remove the queues' pilots that are in one of the states."""
        self._end(self._runners.values(), GRACE)
        for name, queue in self.config.queues.items():
            source = self._sources[source_name(queue)]
            try:
                for one in source.names(name):
                    remove(source.batch, one, states)
            except SourceError as error:
                log.warning("the pilots of %s stay: %s", name, error)
        self.stop()

    def _touched(self, config: Config) -> set[str]:
        """Return the running queues that must end: gone, changed, or built on something that changed."""
        old = self.config
        if old.factory != config.factory or old.credentials != config.credentials:
            return set(self._runners)
        return {
            name
            for name in self._runners
            if config.queues.get(name) != old.queues[name] or self._parts(old, name) != self._parts(config, name)
        }

    @staticmethod
    def _parts(config: Config, name: str) -> tuple[object, ...]:
        options = config.queues[name].options
        return (
            _placed(config, source_name(config.queues[name])),
            made_of(config.wms, options.wms),
            tuple(config.monitors.get(monitor) for monitor in options.monitor),
        )

    def _close_changed(self, config: Config) -> None:
        whole = self.config.factory != config.factory
        used = {source_name(queue) for queue in config.queues.values()}
        for name in list(self._sources):
            if name not in used:
                self._former.idle[name] = self._sources.pop(name)
            elif whole or _placed(self.config, name) != _placed(config, name):
                _close(self._sources.pop(name))
        for name in used & self._former.idle.keys():
            _close(self._former.idle.pop(name))
        pairs: tuple[tuple[dict[str, Any], Mapping[str, Section], Mapping[str, Section]], ...] = (
            (self._wms, self.config.wms, config.wms),
            (self._monitors, self.config.monitors, config.monitors),
        )
        for built, before, now in pairs:
            for name in list(built):
                if whole or made_of(before, name) != made_of(now, name):
                    part = built.pop(name)
                    if built is not self._monitors:
                        _close(part)

    def _connect(self, config: Config) -> None:
        """Build what is missing: monitors, sources and WMS that a queue uses."""
        used = [queue.options for queue in config.queues.values()]
        for name in {monitor for options in used for monitor in options.monitor}:
            _build(self._monitors, name, partial(self._monitor, config, name))
        for name in with_parts({options.wms: None for options in used if options.wms}, config.wms):
            _build(self._wms, name, partial(self._demand, config, name))
        for name in {source_name(queue) for queue in config.queues.values()}:
            _build(self._sources, name, partial(self._source, config, name))
        self._adopt(config)
        if self._reporter is not None:
            named = {name: queue for queue in config.queues.values() for name in (*queue.options.formerly, queue.name)}
            self._reporter.update(self._monitors, {name: queue.options.monitor for name, queue in named.items()})
        for source in () if self._looking else self._all_sources():
            source.tender.configure(table(config.held), config.queues.values(), act=not self._dry_run)
        self._board.configure(config.queues, self._all_sources(), config.factory.max_per_factory)
        self._outcomes.keep(config.queues)

    def _all_sources(self) -> list[PilotSource]:
        return [*self._sources.values(), *self._former.idle.values()]

    def _adopt(self, config: Config) -> None:
        """Give former queues' pilots to their heirs, and look after sources on record that no queue uses."""
        used = {source_name(queue) for queue in config.queues.values()}
        recorded, named = self._ledger.sources(), {f"{at.kind} {at.name}": key for key, at in config.sources.items()}
        for name in recorded & named.keys():
            if named[name] not in used:
                _build(self._former.idle, named[name], partial(self._source, config, named[name]))
        for name in recorded - named.keys() - {source.name for source in self._former.idle.values()}:
            log.warning("%s has no section any more: pilots that may still be there are not counted", name)
            self._ledger.leave(name)
        self._ledger.adopt({old: name for name, queue in config.queues.items() for old in queue.options.formerly})
        for source in self._all_sources():
            source.adopt({name: queue.options.formerly for name, queue in config.queues.items()})
        self._former.configure(config, self._sources.values())

    def _monitor(self, config: Config, name: str) -> Monitor:
        section = config.monitors[name]
        kind = plugins.load("autopyfactory.monitor", section.plugin)
        monitor: Monitor = kind(name, section.options, config.factory, self._clock)
        return monitor

    def _demand(self, config: Config, name: str) -> Wms:
        section = config.wms[name]
        kind = plugins.load("autopyfactory.wms", section.plugin)
        parts = parts_of(section)
        more = {"parts": {part: self._wms[part] for part in parts}} if parts else {}
        wms: Wms = kind(name, section.options, self._clock, **more)
        return wms

    def _source(self, config: Config, name: str) -> PilotSource:
        section = config.sources[name]
        options: Any = section.options
        position = list(config.sources).index(name)
        kind = plugins.load("autopyfactory.batch", section.plugin)
        batch: Batch = kind(section.name, options, Context(config.factory, self._clock, position, self._looking))
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
            on_ended=self._pilots_ended,
        )

    def _serve(self, queues: Iterable[QueueConfig], memories: Mapping[str, Any] | None = None) -> None:
        for queue in queues:
            cycle = self._cycle_or_reason(queue)
            if isinstance(cycle, CycleReport):
                self._tell(cycle)
                continue
            cycle.memory = (memories or {}).get(queue.name, cycle.memory)
            spread = 0.0 if self._cycles else min(queue.options.interval, FIRST_DELAY)
            delay = random.uniform(0.0, spread)  # noqa: S311
            runner = Runner(cycle, self._clock, self._tell, delay=delay, cycles=self._cycles)
            self._runners[queue.name] = runner
            runner.start()

    def _cycle_or_reason(self, queue: QueueConfig) -> Cycle | CycleReport:
        try:
            return self._cycle(queue)
        except Exception as error:
            log.exception("queue %s is out", queue.name, extra={"queue": queue.name})
            with self._board.turn:
                for part in queue.parts:
                    self._board.blocked(part.claim)
            reason = f"out until a reload, something it needs cannot be built: {error!r}"
            return CycleReport(queue.name, self._clock.now(), blocked=Blocked(reason, cause="part"))

    def _cycle(self, queue: QueueConfig) -> Cycle:
        source = self._sources[source_name(queue)]
        urls = [self._monitors[name].pilot_url for name in queue.options.monitor if name in self._monitors]
        monitor_url = next((url for url in urls if url), "")
        endpoints = endpoints_of(queue, source.batch.endpoint)
        endpoint = ", ".join(endpoints) or source.batch.endpoint
        kinds = carried(source.batch, queue.options.type, queue.options.subtype)
        return Cycle(
            queue,
            source,
            self._wms[queue.options.wms] if queue.options.wms else None,
            self._board,
            self._ledger,
            self._clock,
            make_order=partial(make_order, self.config, endpoint=endpoint, monitor_url=monitor_url),
            standstill=self._standstill,
            credentials=partial(self._wallet.choose, queue, tuple(kinds)),
            dry_run=self._dry_run,
            endpoint=endpoint,
            endpoints=endpoints,
            downtimes=partial(self._operator.downtimes.of, queue.name),
            endings=lambda place: self._outcomes.endings(queue.name, place, queue.rules),
        )

    def _fresh(self, queue: str, resource_type: str) -> int:
        return self._ledger.submitted_since(queue, self._clock.now() - FRESH, resource_type)

    def _standstill(self, queue: str) -> Standstill | None:
        state = self._operator.state(queue, self._clock.now())
        if state is not None:
            return Standstill(str(state), draining=state.action == "drain", wanted=True, cause=state.action)
        if damage := self._operator.downtimes.damage():
            return Standstill(damage, cause="downtime")
        twins = [source.twin for source in self._all_sources() if source.twin]
        if twins:
            return Standstill(f"{twins[0]}; stop one of the two factories, then restart the other", cause="twin")
        factory = self.config.factory
        full = self._disk.lacking((factory.state_dir, factory.pilot_log_dir), factory.min_free)
        return Standstill(full, cause="disk") if full else None

    def _tell(self, report: CycleReport) -> None:
        self._on_report(report)
        self._keeper.put(report)
        queue = self.config.queues.get(report.queue)
        if queue is not None and self._reporter is not None:
            self._reporter.put(report, queue.options.monitor)

    def _pilots_ended(self, ended: Sequence[EndedPilot]) -> None:
        self._outcomes.add(ended)
        self._on_ended(ended)
        if self._reporter is not None:
            self._reporter.ended(ended)

    @staticmethod
    def _end(runners: Iterable[Runner], grace: float) -> None:
        """Stop runners and wait for all of them together, as long as the grace lasts."""
        ending = list(runners)
        for runner in ending:
            runner.stop()
        deadline = time.monotonic() + grace
        late = [runner.name for runner in ending if not runner.join(deadline - time.monotonic())]
        if late:
            log.warning("left behind in a call that does not end: %s", ", ".join(late))


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


def _placed(config: Config, name: str) -> tuple[int, Section] | None:
    """Return a source's section with its place, which goes into the cid of its pilots."""
    return next(((k, section) for k, (key, section) in enumerate(config.sources.items()) if key == name), None)


def source_name(queue: QueueConfig) -> str:
    """Return the name of the section that a queue submits through."""
    return queue.options.source or "local"
