"""The factory: starts, reloads and stops the queue threads; what they work with is built by `build`."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Event

from autopyfactory import ledger, record
from autopyfactory.assess import Standstill
from autopyfactory.batch import remove
from autopyfactory.batch.held import table
from autopyfactory.batch.order import endpoints_of, make_order
from autopyfactory.board import Board
from autopyfactory.build import Parts, built_on, source_name
from autopyfactory.clock import Clock
from autopyfactory.config.compare import difference
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.credentials import carried
from autopyfactory.credentials.wallet import Wallet
from autopyfactory.cric.refresh import Refresher
from autopyfactory.cycle import Cycle
from autopyfactory.errors import SourceError
from autopyfactory.former import Former
from autopyfactory.ledger import Ledger, LedgerView
from autopyfactory.memory import Memory
from autopyfactory.model import EndedPilot, PilotState
from autopyfactory.monitor.reporter import Reporter
from autopyfactory.operate import Operator
from autopyfactory.outcomes import Outcomes
from autopyfactory.record.keeper import Keeper
from autopyfactory.report import Blocked, CycleReport
from autopyfactory.runner import Runner
from autopyfactory.space import FreeSpace

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds a stop waits for submissions under way; what lasts longer is left as ambiguous."""

WOKEN = 0.2
"""Seconds for those whose call the stop has broken off, to tell what they had submitted before."""

RELOAD_GRACE = 0.5
"""The same at a reload, during which no signal is heard."""

FIRST_DELAY = 10.0
"""Seconds over which the first cycles of all queues are spread, at most one interval."""

FRESH = 600.0
"""Seconds for which a queue's waiting pilots are believed to take jobs of its siblings, too."""


class Factory:
    """One running factory.

    `on_report` is told of every cycle, `on_ended` of pilots that ended; both from the queues' threads.
    `on_catalogue` is told, at each look, while a site catalogue has another document than the configuration was
    made from: that has to be read again. One that is `looking` may be made beside the daemon: it writes nothing and
    is never started, it has `look` only.
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
        self._ledger = (LedgerView if looking else Ledger)(config.factory.state_dir / ledger.FILE, clock)
        self._keeper = Keeper(config.factory.state_dir / record.FILE, clock, config.factory.record_keep)
        self._disk = FreeSpace(clock)
        self._outcomes = Outcomes(clock)
        self._wallet = Wallet(config.credentials, clock)
        self._board = Board(config.factory.max_per_factory, self._ledger.most_waiting, self._fresh)
        self._former = Former(self._ledger, clock)
        only = looking or dry_run
        self._parts = Parts(self._ledger, clock, self._former.idle, looking=only, on_ended=self._pilots_ended)
        self._runners: dict[str, Runner] = {}
        self._reporter: Reporter | None = None
        self._refresher = Refresher(clock, on_catalogue)

    def start(self) -> None:
        """Build sources and start one thread per queue; a source that is down does not stop a start."""
        self._reporter = Reporter({}, self._clock)
        self._connect(self.config)
        self._serve(self.config.queues.values())
        self._refresher.serve(self.config.catalogues, self.config.factory.state_dir, self.config.documents)
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

        What did not change goes on undisturbed: sources keep their snapshots, queues their threads. The queues that
        were ended for it are served again also when a step between fails, by a bug that is raised in the end.
        """
        changes = difference(self.config, config)
        restart = self._touched(config)
        gone = [self._runners.pop(name) for name in list(self._runners) if name in restart]
        late = self._end(gone, RELOAD_GRACE)
        memories = {runner.name: runner.cycle.memory for runner in gone}
        # What is left behind still notes there what comes of its call.
        memories |= {runner.name: runner.cycle.memory.copy() for runner in late}
        before, self.config = self.config, config
        with ExitStack() as then:  # the last one comes first, and none keeps the others from their turn
            then.callback(self._refresher.serve, config.catalogues, config.factory.state_dir, config.documents)
            unserved = (queue for name, queue in config.queues.items() if name not in self._runners)
            then.callback(self._serve, unserved, memories)
            then.callback(self._connect, config)
            then.callback(self._keeper.keep, config.factory.record_keep)
            if before.credentials != config.credentials:
                self._wallet = Wallet(config.credentials, self._clock)
            self._parts.close_changed(before, config)
        return str(changes)

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds and tell whether every queue has done its cycles."""
        deadline = time.monotonic() + timeout
        return all(runner.done.wait(max(0.0, deadline - time.monotonic())) for runner in self._runners.values())

    def stop(self) -> None:
        """Stop all queues, give up what is under way after the grace, and close everything."""
        self._refresher.stop()
        late = self._end(self._runners.values(), GRACE)
        self._former.stop()
        self._parts.close()
        _join(late, WOKEN)
        if self._reporter is not None:
            self._reporter.stop(0.5)
        self._keeper.stop(0.3)

    def halt(self, states: frozenset[PilotState]) -> None:
        """Stop, and remove the queues' pilots that are in one of the states."""
        self._end(self._runners.values(), GRACE)
        for name, queue in self.config.queues.items():
            source = self._parts.sources[source_name(queue)]
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
            if config.queues.get(name) != old.queues[name] or built_on(old, name) != built_on(config, name)
        }

    def _connect(self, config: Config) -> None:
        """Build what is missing, and tell all parts of the queues that are served now."""
        self._parts.build(config)
        self._adopt(config)
        if self._reporter is not None:
            named = {name: queue for queue in config.queues.values() for name in (*queue.options.formerly, queue.name)}
            self._reporter.update(self._parts.monitors, {name: queue.options.monitor for name, queue in named.items()})
        for source in () if self._looking else self._parts.all_sources():
            source.tender.configure(table(config.held), config.queues.values(), act=not self._dry_run)
        self._board.configure(config.queues, self._parts.all_sources(), config.factory.max_per_factory)
        self._outcomes.keep(config.queues)

    def _adopt(self, config: Config) -> None:
        """Give former queues' pilots to their heirs, and look after sources on record that no queue uses."""
        recorded, named = self._ledger.sources(), {f"{at.kind} {at.name}": key for key, at in config.sources.items()}
        self._parts.build_idle(config, (named[name] for name in recorded & named.keys()))
        for name in recorded - named.keys() - {source.name for source in list(self._former.idle.values())}:
            log.warning("%s has no section any more: pilots that may still be there are not counted", name)
            self._ledger.leave(name)
        self._ledger.adopt({old: name for name, queue in config.queues.items() for old in queue.options.formerly})
        for source in self._parts.all_sources():
            source.adopt({name: queue.options.formerly for name, queue in config.queues.items()})
        self._former.configure(config, self._parts.sources.values())

    def _serve(self, queues: Iterable[QueueConfig], memories: Mapping[str, Memory] | None = None) -> None:
        for queue in queues:
            cycle = self._cycle_or_reason(queue)
            if isinstance(cycle, CycleReport):
                self._tell(cycle, queue.options.monitor)
                continue
            cycle.memory = (memories or {}).get(queue.name, cycle.memory)
            spread = 0.0 if self._cycles else min(queue.options.interval, FIRST_DELAY)
            delay = random.uniform(0.0, spread)  # noqa: S311
            tell = partial(self._tell, to=queue.options.monitor)
            runner = Runner(cycle, self._clock, tell, delay=delay, cycles=self._cycles)
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
        source, monitors = self._parts.sources[source_name(queue)], self._parts.monitors
        urls = [monitors[name].pilot_url for name in queue.options.monitor if name in monitors]
        monitor_url = next((url for url in urls if url), "")
        endpoints = endpoints_of(queue, source.batch.endpoint)
        endpoint = ", ".join(endpoints) or source.batch.endpoint
        kinds = carried(source.batch, queue.options.type, queue.options.subtype)
        return Cycle(
            queue,
            source,
            self._parts.wms[queue.options.wms] if queue.options.wms else None,
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
        twins = [source.twin for source in self._parts.all_sources() if source.twin]
        if twins:
            return Standstill(f"{twins[0]}; stop one of the two factories, then restart the other", cause="twin")
        factory = self.config.factory
        full = self._disk.lacking((factory.state_dir, factory.pilot_log_dir), factory.min_free)
        return Standstill(full, cause="disk") if full else None

    def _tell(self, report: CycleReport, to: Sequence[str]) -> None:
        self._on_report(report)
        self._keeper.put(report)
        if self._reporter is not None:
            self._reporter.put(report, to)

    def _pilots_ended(self, ended: Sequence[EndedPilot]) -> None:
        self._outcomes.add(ended)
        self._on_ended(ended)
        if self._reporter is not None:
            self._reporter.ended(ended)

    @staticmethod
    def _end(runners: Iterable[Runner], grace: float) -> list[Runner]:
        """Stop runners, wait for all of them together as long as the grace lasts, and return those left behind."""
        ending = list(runners)
        for runner in ending:
            runner.stop()
        late = _join(ending, grace)
        if late:
            log.warning("left behind in a call that does not end: %s", ", ".join(runner.name for runner in late))
        return late


def _join(runners: Iterable[Runner], grace: float) -> list[Runner]:
    """Wait for all of these together, as long as the grace lasts, and return those that have not ended."""
    deadline = time.monotonic() + grace
    return [runner for runner in runners if not runner.join(deadline - time.monotonic())]
