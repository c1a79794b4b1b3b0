"""Judge the sections of the queue files: each becomes a QueueConfig, or is out with its reasons."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from autopyfactory.batch.rows import plugin, written
from autopyfactory.config import by_type, checks
from autopyfactory.config.catalogue import Catalogue, source_options
from autopyfactory.config.fields import Options, boolean
from autopyfactory.config.ini import Block, Entry, expand, references
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.config.problems import Fault, Problem
from autopyfactory.config.sections import Main, kinds_of, located, unknown
from autopyfactory.config.sentences import build, declared
from autopyfactory.sched.options import RuleOptions

_WARNING = "warning: "
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@/+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a section: `queue` None when it is wrong."""

    queue: QueueConfig | None
    enabled: bool
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Texts:
    """The options of one section with those of [DEFAULT], interpolated and sorted by who declares them."""

    own: frozenset[str]
    common: dict[str, str] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)
    carried: dict[str, dict[str, str]] = field(default_factory=lambda: {"env.": {}, "submit.": {}})
    rest: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    helpers: frozenset[str] = frozenset()


class Judge:
    """Judge sections one by one against the main file and [DEFAULT]."""

    def __init__(self, main: Main, catalogue: Catalogue, defaults: Block | None) -> None:
        self._main = main
        self._catalogue = catalogue
        self._defaults = defaults or Block("DEFAULT", "", 0)

    def judge(self, block: Block, *, trusted: bool = True) -> Verdict:
        """Judge a section; where its inheritance is not `trusted`, what is missing is not held against it."""
        kind, _, name = block.name.partition(" ")
        if (name or kind == "factory") and kind in kinds_of(self._catalogue):
            stray = Fault("", "is a section of the main file, move it there")
            return Verdict(None, True, (self.located(block, stray, True),))
        texts = self._sort(block)
        options, types, faults = by_type.build(texts.common)
        backend: Options | None = None
        rules, more = build(RuleOptions, texts.rules)
        faults = [*self._name(block.name), *texts.faults, *faults, *more]
        for prefix, values in texts.carried.items():
            faults += checks.carried(prefix, values)
        if options is not None and rules is not None:
            options, more = checks.row(options, texts.own)
            faults += more
            rules = checks.without_wms(options, rules, texts.own)
            faults += checks.rules(options)
            faults += checks.parts(options)
            faults += checks.ages(options)
            faults += checks.shape(options, texts.own)
            faults += checks.rights(options, self._main, texts.own)
            faults += checks.release(options, texts.own)
            faults += checks.rule_values(options, rules, texts.own)
            faults += checks.split(types, rules, texts.own)
            faults += checks.demand(options, rules, self._main)
            faults += checks.named_things(options, self._main)
            faults += checks.backend(options, self._catalogue)
            backend, more = self._backend(options, texts)
            faults += more
        enabled = _enabled(texts.common)
        faults = [fault for fault in _plain(faults) if trusted or not fault.missing]
        sound = not any(not fault.warning for fault in faults)
        problems = tuple(self.located(block, fault, enabled) for fault in faults)
        if not sound or options is None or rules is None or backend is None:
            return Verdict(None, enabled, problems)
        carried = texts.carried
        queue = QueueConfig(block.name, options, backend, rules, carried["env."], carried["submit."], types)
        return Verdict(queue, enabled, problems)

    def entries(self, block: Block) -> dict[str, Entry]:
        """Return the options of a section with those it inherits."""
        return {**self._defaults.entries, **block.entries}

    def _sort(self, block: Block) -> _Texts:
        entries = self.entries(block)
        values, faults = expand(entries)
        texts = _Texts(frozenset(block.entries), faults=faults, helpers=references(entries))
        common, rules = declared(QueueOptions), declared(RuleOptions)
        for name in entries:
            prefix = next((prefix for prefix in texts.carried if name.startswith(prefix)), "")
            if name not in values:
                continue
            if prefix:
                texts.carried[prefix][name.removeprefix(prefix)] = values[name]
            else:
                place = texts.common if name in common else texts.rules if name in rules else texts.rest
                place[name] = values[name]
        return texts

    @staticmethod
    def _name(name: str) -> Iterator[Fault]:
        if not _NAME.fullmatch(name):
            yield Fault("", "is no name for a queue, use up to 128 letters, digits and _.@/+-, a letter or digit first")

    def _backend(self, options: QueueOptions, texts: _Texts) -> tuple[Options | None, list[Fault]]:
        kind = self._catalogue.kind_of(options)
        if kind is None:
            known = plugin(options.backend, options.type) in self._catalogue.backends
            return None, [] if known else list(self._strangers(options, texts, frozenset()))
        mine = declared(kind.QueueOptions)
        built, faults = build(kind.QueueOptions, {name: text for name, text in texts.rest.items() if name in mine})
        sound = built is not None and not faults
        faults += self._strangers(options, texts, frozenset(mine))
        faults += checks.source(options, kind.source_kind, self._main)
        if not options.source and "local" not in self._main.named(kind.source_kind):
            for fault in build(source_options(kind), {})[1]:
                head = f"[{kind.source_kind} NAME]"
                faults.append(
                    Fault("source", f"is missing, write a section {head} for it: {fault.option} {fault.text}")
                )
        if sound:
            faults += self._hook(kind, options, built, texts.own)
        submit = texts.carried["submit."]
        check = getattr(kind, "check_submit", lambda submit: ())
        faults += self._guarded("check of submit.X", lambda: check(submit))
        faults += self._guarded("word on credentials", lambda: checks.uncarried(options, kind, texts.own))
        if not getattr(kind, "reads_submit", True):
            faults += checks.unread(options, submit, texts.own)
        return built, faults

    def _strangers(self, options: QueueOptions, texts: _Texts, mine: frozenset[str]) -> Iterator[Fault]:
        """Judge options that neither all queues nor the rules nor this queue's backend declare."""
        for name in texts.rest:
            owner = self._catalogue.owners.get(name)
            if name in mine:
                continue
            if owner is None and (name in texts.own or self._catalogue.all_usable):
                if fault := unknown(name, self._catalogue.queue_names | mine, texts.helpers):
                    yield fault
            elif owner is not None and name in texts.own:
                mine_is = written(plugin(options.backend, options.type))
                said = f"is never read: it belongs to queues with {written(owner)}, this one has {mine_is}"
                yield Fault(name, said, warning=True)

    def _hook(self, kind: Any, options: QueueOptions, backend: Options | None, own: frozenset[str]) -> Iterator[Fault]:
        check = getattr(kind, "check", None)
        if check is None or self._main.factory is None:
            return
        try:
            texts = check(options, backend, self._main.factory, self._main.credentials)
        except Exception as error:
            # A bug in somebody else's plug-in costs the queues that use it.
            texts = [f"backend: the check of '{options.backend}' failed: {type(error).__name__}: {error}"]
        known = self._catalogue.queue_names
        for text in texts:
            warning = text.startswith(_WARNING)
            option, _, said = text.removeprefix(_WARNING).partition(": ")
            if option not in known:
                option, said = "", text.removeprefix(_WARNING)
            # What [DEFAULT] sets for other queues does no harm here.
            if not warning or not option or option in own:
                yield Fault(option, said, warning=warning)

    @staticmethod
    def _guarded(what: str, faults: Callable[[], Iterable[Fault]]) -> list[Fault]:
        try:
            return list(faults())
        except Exception as error:
            return [Fault("backend", f"its {what} failed: {type(error).__name__}: {error}")]

    def located(self, block: Block, fault: Fault, enabled: bool) -> Problem:
        """Say where a fault of a section is and what it takes out; in one that is disabled it is a warning."""
        inherited = fault.option not in block.entries and fault.option in self._defaults.entries
        found = located(self._defaults if inherited else block, fault)
        if not enabled:
            return replace(found, warning=True)
        return found if fault.warning else replace(found, queue=block.name)


def _enabled(common: dict[str, str]) -> bool:
    try:
        return boolean(common.get("enabled", "yes"))
    except ValueError:
        return True


def _plain(faults: list[Fault]) -> list[Fault]:
    """Drop what is said of an option as missing when the option is there and wrong."""
    wrong = {fault.option for fault in faults if not fault.missing}
    return [fault for fault in faults if not (fault.missing and fault.option in wrong)]
