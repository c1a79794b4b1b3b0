"""Judge a queue's options against each other, the main file and the rules. Nothing is connected to."""

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autopyfactory.batch.pilot_options import release_of, releases_of
from autopyfactory.batch.rows import BY_TYPE, ROWS, plugin, written
from autopyfactory.config.catalogue import Catalogue, rule_of
from autopyfactory.config.compare import values as values_of
from autopyfactory.config.fields import write
from autopyfactory.config.models import QueueOptions
from autopyfactory.config.problems import Fault, suggest
from autopyfactory.config.sections import Main
from autopyfactory.config.sentences import declared
from autopyfactory.credentials import KINDS
from autopyfactory.credentials import carried as carried_by
from autopyfactory.sched import RULES, chain
from autopyfactory.sched.options import RuleOptions
from autopyfactory.sched.rule import Kind, Need

SPARE = 3600.0
"""Seconds that a pilot may at least run beyond its wall time before it is removed for its age."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBMIT_NAME = re.compile(r"\+?[A-Za-z_][A-Za-z0-9_.]*")


def carried(prefix: str, names: Iterable[str]) -> Iterator[Fault]:
    """Judge the names behind `env.` and `submit.`."""
    pattern = _ENV_NAME if prefix == "env." else _SUBMIT_NAME
    for name in names:
        if not pattern.fullmatch(name):
            yield Fault(f"{prefix}{name}", f"'{name}' is no name that could stand there, use letters, digits and _")


def unread(options: QueueOptions, submit: Iterable[str], own: frozenset[str]) -> Iterator[Fault]:
    """Say of what the section itself hands to a backend that takes no `submit.X` that it is lost."""
    for name in (f"submit.{name}" for name in submit):
        if name in own:
            said = f"is never read: {written(plugin(options.backend, options.type))} has no submit description"
            yield Fault(name, said, warning=True)


def uncarried(options: QueueOptions, kind: object, own: frozenset[str]) -> Iterator[Fault]:
    """Say of the section's own credentials which ones its pilots are not given."""
    for name in {*KINDS} - {*carried_by(kind, options.type, options.subtype)}:
        if name in own and getattr(options, name):
            row = written(plugin(options.backend, options.type))
            said = f"is never read: pilots of {row} {options.subtype}".rstrip()
            yield Fault(name, f"{said} are given no {name}", warning=True)


def row(options: QueueOptions, own: frozenset[str]) -> tuple[QueueOptions, list[Fault]]:
    """Judge type and subtype; those that [DEFAULT] set for other backends fall away."""
    rows = [row for row in ROWS if row.backend == options.backend]
    if not rows:
        return options, []
    types = sorted({row.type for row in rows})
    if types == [""] and "type" not in own and "subtype" not in own:
        options = options.model_copy(update={"type": "", "subtype": ""})
    if options.type not in types:
        return options, [_strange(options, "type", options.type, types)]
    subtypes = sorted({row.subtype for row in rows if row.type == options.type})
    if subtypes == [""] and "subtype" not in own:
        options = options.model_copy(update={"subtype": ""})
    if options.subtype not in subtypes:
        return options, [_strange(options, "subtype", options.subtype, subtypes)]
    return options, []


def _strange(options: QueueOptions, option: str, word: str, known: list[str]) -> Fault:
    what = f"the backend '{options.backend}'" + (f" with type '{options.type}'" if option == "subtype" else "")
    if known == [""]:
        return Fault(option, f"{what} has no {option}, take '{word}' away")
    choice = ", ".join(name or f"no {option}" for name in known)
    said = f"'{word}' is not known" if word else "is missing"
    return Fault(option, f"{said}, {what} has {choice}{suggest(word, known) if word else ''}", missing=not word)


def rules(options: QueueOptions) -> Iterator[Fault]:
    """Judge the names in `rules`."""
    if not options.rules:
        yield Fault("rules", "is empty, name at least one rule, for example ready")
    makers = [name for name, rule in RULES.items() if rule.kind is Kind.MAKER]
    for name in dict.fromkeys(options.rules):
        rule = RULES.get(name)
        if rule is None:
            yield Fault("rules", f"'{name}' is no rule{suggest(name, RULES)} (known: {', '.join(makers)})")
        elif rule.kind is not Kind.MAKER:
            text = f"'{name}' is a {rule.kind}, which acts whenever its option is set; its place here means nothing"
            yield Fault("rules", text, warning=True)
        elif options.rules.count(name) > 1:
            yield Fault("rules", f"'{name}' stands there twice, take one away")


def parts(options: QueueOptions) -> Iterator[Fault]:
    """Judge the queue's parts of a demand that others share."""
    for option, value in (("share", options.share), ("weight", options.weight)):
        if value == 0:
            yield Fault(option, "is 0, so the queue has no part of any demand; enabled = no is plainer", warning=True)


def shape(options: QueueOptions, own: frozenset[str]) -> Iterator[Fault]:
    """Judge what one pilot asks for."""
    if options.memory is not None and options.memory_per_core is not None and "memory_per_core" in own:
        yield Fault("memory_per_core", "is never read, for memory is set; write 'memory = none' here", warning=True)


def ages(options: QueueOptions) -> Iterator[Fault]:
    """Judge the ages at which pilots are removed."""
    age, walltime = options.max_running_age, options.walltime
    if age is not None and walltime is not None and age < walltime + SPARE:
        least = write(QueueOptions.model_fields["max_running_age"], walltime + SPARE)
        yield Fault("max_running_age", f"would end pilots that do as they asked, write {least} or more (walltime + 1h)")


def rights(options: QueueOptions, main: Main, own: frozenset[str]) -> Iterator[Fault]:
    """Say of what demand a queue's pilots ask for a part: PanDA tells no counts by country or group."""
    section = main.wms.get(options.wms)
    shares = getattr(section.options, "by", "") == "share" if section else False
    if options.global_shares and not shares and section is not None:
        yield Fault("global_shares", f"is never read: [wms {options.wms}] does not count by share, write 'by = share'")
    yield from (fault for fault in pledges(options) if fault.option in own)


def pledges(options: QueueOptions) -> Iterator[Fault]:
    """Say how much of the demand counts where the pilots ask for a country's or group's jobs alone."""
    for option in ("country", "group"):
        if getattr(options, option):
            how = f"limited to the shares {', '.join(options.global_shares)}" if options.global_shares else "whole"
            text = f"PanDA tells no counts by {option}: the demand is {how}, the pilots ask for {option} only"
            yield Fault(option, text, warning=True)


def release(options: QueueOptions, own: frozenset[str]) -> Iterator[Fault]:
    """Say which release the pilots run where the queue's labels, or its arguments, want another one, too."""
    wanted, runs = releases_of(options), release_of(options)
    if len(set(wanted.values())) > 1 and own & {"labels", "releases"}:
        each = ", ".join(f"{label}: {name or 'none'}" for label, name in wanted.items())
        how = f"of release {runs}" if runs else "of no release in particular"
        text = f"want pilots of different releases ({each}), those of this queue are {how}; make a queue of each"
        yield Fault("labels", text, warning=True)
    if runs and "-i" in shlex.split(options.arguments) and own & {"arguments", "labels", "releases"}:
        text = f"has -i, and releases adds '-i {runs}' behind it; take it away here, or write 'releases ='"
        yield Fault("arguments", text, warning=True)


def rule_values(options: QueueOptions, values: RuleOptions, own: frozenset[str]) -> Iterator[Fault]:
    """Judge the rules' options against `rules`: mandatory ones that are missing, and ones nobody reads."""
    found = values_of(values)
    for name, field in declared(RuleOptions).items():
        rule = rule_of(name)
        used = rule in options.rules
        extra = field.json_schema_extra
        if used and found[name] is None and isinstance(extra, dict) and extra.get("mandatory"):
            yield Fault(name, f"is missing, write '{name} = ...', which the rule '{rule}' needs", missing=True)
        if not used and name in own and found[name] != field.default and RULES[rule].kind is Kind.MAKER:
            yield Fault(name, f"is never read, for the rule '{rule}' is not in rules", warning=True)


def split(types: Mapping[str, object], values: RuleOptions, own: frozenset[str]) -> Iterator[Fault]:
    """Say what does nothing in a queue that counts each resource type alone."""
    if types and values.retire is not None and "retire" in own:
        text = "does nothing, for this queue counts each resource type alone; its pilots that wait for nothing stay"
        yield Fault("retire", text, warning=True)


def without_wms(options: QueueOptions, values: RuleOptions, own: frozenset[str]) -> RuleOptions:
    """Return the values of the rules; in a queue without a WMS the gates that [DEFAULT] set for others fall away."""
    if options.wms or options.wmsqueue:
        return values
    strange = [rule.option for rule in RULES.values() if rule.needs and rule.kind is not Kind.MAKER]
    return values.model_copy(update={option: None for option in strange if option not in own})


def demand(options: QueueOptions, values: RuleOptions, main: Main) -> Iterator[Fault]:
    """Judge where the demand comes from, if the rules need it."""
    if options.wms:
        yield from _named(main, "wms", "wms", options.wms)
    makers = tuple(name for name in options.rules if name in RULES and RULES[name].kind is Kind.MAKER)
    needing = [RULES[name] for name in makers if Need.DEMAND in RULES[name].needs]
    absent = "wmsqueue" if options.wms else "wms"
    if needing and not (options.wms and options.wmsqueue):
        text = f"is missing, the rule '{needing[0].name}' needs demand: set {absent}, or other rules such as fixed"
        yield Fault(absent, text, missing=True)
    elif not (options.wms and options.wmsqueue):
        for rule in chain(makers, values):
            if rule.needs:
                what = f"needs {'the status of a site' if Need.SITE in rule.needs else 'the figures of a WMS'}"
                remedy = f"or write '{rule.option} = none' here"
                if options.wms or options.wmsqueue:
                    yield Fault(absent, f"is missing, {rule.option} {what}: set {absent}, {remedy}", missing=True)
                else:
                    yield Fault(rule.option, f"{what}: set wms and wmsqueue, {remedy}")


def named_things(options: QueueOptions, main: Main) -> Iterator[Fault]:
    """Judge the names of monitors and credentials, and the wrapper's path."""
    for monitor in options.monitor:
        yield from _named(main, "monitor", "monitor", monitor)
    for option, names in (("proxy", options.proxy), ("token", options.token)):
        for name in names:
            if not name.startswith("/"):
                yield from _named(main, option, "credential", name, " or an absolute path")
                credential = main.credentials.get(name)
                if credential is not None and credential.kind != option:
                    yield Fault(option, f"[credential {name}] is of the kind '{credential.kind}', not '{option}'")
    if options.executable is not None:
        yield from _executable(options.executable)


def _executable(path: Path) -> Iterator[Fault]:
    try:
        if not path.is_file():
            yield Fault("executable", f"there is no file {path}, install it or correct the path")
        elif not os.access(path, os.X_OK):
            yield Fault("executable", f"{path} is not executable, chmod +x it")
    except OSError as error:
        yield Fault("executable", f"{path} cannot be looked at: {error.strerror}")


def _named(main: Main, option: str, kind: str, name: str, more: str = "") -> Iterator[Fault]:
    known = main.named(kind)
    if name not in known:
        there = f"there is {', '.join(known)}" if known else "there is none at all"
        yield Fault(
            option,
            f"no section [{kind} {name}] in the main file{more and f' (name one{more})'}, "
            f"{there}{suggest(name, known)}",
        )
    elif (kind, name) in main.broken:
        yield Fault(option, f"[{kind} {name}] at {main.heads[kind, name]} cannot be used: {main.broken[kind, name]}")


def source(options: QueueOptions, kind: str, main: Main) -> Iterator[Fault]:
    """Judge the name of the source section, which must be of the backend's kind."""
    known = main.named(kind)
    if options.source and options.source not in known:
        others = [head for head, name in main.heads if name == options.source]
        why = f", [{others[0]} {options.source}] serves another backend" if others else suggest(options.source, known)
        there = f"there is {', '.join(known)}" if known else "there is none at all"
        yield Fault("source", f"no section [{kind} {options.source}] in the main file, {there}{why}")
    elif not options.source and known and "local" not in known:
        text = f"is not set, so the queue uses the local {kind} with default options; write one of {', '.join(known)}"
        yield Fault("source", text, warning=True)


def backend(options: QueueOptions, catalogue: Catalogue) -> Iterator[Fault]:
    """Judge the backend's name."""
    types = {row.type for row in ROWS if row.backend == BY_TYPE}
    known = sorted({*catalogue.backends, *(row.backend for row in ROWS)} - types)
    name = plugin(options.backend, options.type)
    if options.backend in types:
        yield Fault("backend", f"'{options.backend}' is a type, write {written(options.backend)}")
    elif options.backend not in known:
        hint = suggest(options.backend, known)
        yield Fault("backend", f"'{options.backend}' is no backend{hint} (known: {', '.join(known)})")
    elif name in catalogue.backends and name not in catalogue.usable:
        yield Fault("backend", f"'{name}' cannot be imported, install what it needs: {catalogue.backends[name].reason}")
