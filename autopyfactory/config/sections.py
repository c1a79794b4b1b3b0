"""The main file: `[factory]`, and one section per source, WMS, monitor and credential."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autopyfactory.config.catalogue import BATCH, CLASSIC, MONITOR, WMS, Broken, Catalogue, source_options
from autopyfactory.config.fields import Options, words
from autopyfactory.config.ini import Block, IniFile, expand, references
from autopyfactory.config.models import CredentialOptions, FactoryOptions, HeldOptions, Section
from autopyfactory.config.problems import Fault, Problem, suggest
from autopyfactory.config.sentences import build, declared
from autopyfactory.cric.options import CricOptions
from autopyfactory.wms.parts import strange_parts

_PLUGIN_GROUPS = {"wms": WMS, "monitor": MONITOR}

_NAMED: dict[str, tuple[type[Options], str]] = {
    "credential": (CredentialOptions, "credentials"),
    "held": (HeldOptions, "held"),
    "cric": (CricOptions, "catalogues"),
}
"""Sections that are no plug-in's: their options, and the field of `Main` that keeps them."""


@dataclass(slots=True)
class Main:
    """What the main file says. `broken` tells why a section of a plug-in that cannot be imported is missing.

    `heads` are the places of all sections, sound or not, by kind and name: a reference to a wrong
    section is not wrong itself. `wrong` is true when the factory cannot start with this file.
    """

    factory: FactoryOptions | None = None
    sources: dict[str, Section] = field(default_factory=dict)
    wms: dict[str, Section] = field(default_factory=dict)
    monitors: dict[str, Section] = field(default_factory=dict)
    credentials: dict[str, CredentialOptions] = field(default_factory=dict)
    catalogues: dict[str, CricOptions] = field(default_factory=dict)
    held: dict[str, HeldOptions] = field(default_factory=dict)
    heads: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    queue_files: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    wrong: bool = False

    def named(self, kind: str) -> list[str]:
        """Return the names of all sections of a kind."""
        return [name for found, name in self.heads if found == kind]

    def add_source(self, section: Section) -> None:
        """Keep a source under its name, or kind and name where another kind has that name."""
        key = f"{section.kind} {section.name}" if section.name in self.sources else section.name
        self.sources[key] = section

    def source(self, kind: str, name: str) -> str:
        """Return the key in `sources` of a source section, "" when there is none."""
        return next((key for key, at in self.sources.items() if (at.kind, at.name) == (kind, name)), "")


def read_main(file: IniFile, catalogue: Catalogue) -> Main:
    """Judge the main file whole; what is wrong stands in `problems`."""
    reader = _Reader(file, catalogue)
    for fault in file.faults:
        reader.blame(None, fault)
    for block in file.blocks:
        reader.section(block)
    blocks = {block.name: block for block in file.blocks}
    for name, text in strange_parts(reader.main.wms, reader.main.named("wms")).items():
        reader.blame(blocks.get(f"wms {name}"), Fault("of", text))
    for name, text in _doubled(reader.main).items():
        reader.blame(blocks.get(name), Fault("", text, warning=True))
    if ("factory", "") not in reader.main.heads and not file.faults:
        reader.blame(None, Fault("", "has no [factory] section, write one with at least 'id = ...'"))
    return reader.main


def _doubled(main: Main) -> dict[str, str]:
    """Return the source sections that mean the batch system of an earlier one, as far as their options tell."""
    found: dict[str, str] = {}
    first: dict[tuple[object, ...], Section] = {}
    for section in main.sources.values():
        place: tuple[str, ...] = getattr(type(section.options), "place", ())
        before = first.setdefault((section.kind, *(getattr(section.options, name) for name in place)), section)
        if place and before is not section:
            head = f"[{before.kind} {before.name}] at {main.heads[before.kind, before.name]}"
            text = f"is the same {section.kind} as {head}, whose pilots count twice while queues use both; keep one"
            found[f"{section.kind} {section.name}"] = text
    return found


def kinds_of(catalogue: Catalogue) -> list[str]:
    """Return the first words of the sections that the main file may have."""
    return ["factory", *_NAMED, *_PLUGIN_GROUPS, *catalogue.source_kinds]


def located(block: Block, fault: Fault, *, queue: str = "") -> Problem:
    """Say where a fault of a section is: at its own line, that of the option, or the head."""
    entry = block.entries.get(fault.option)
    line = fault.line or (entry.line if entry else block.line)
    file = entry.file if entry and not fault.line else block.file
    return Problem(file, line, block.name, fault.option, fault.text, fault.warning, queue)


def unknown(option: str, known: Mapping[str, object] | frozenset[str], helpers: frozenset[str]) -> Fault | None:
    """Judge an option that no model declares; one that others use as `%(name)s` is their helper."""
    if option in helpers:
        return None
    if option.startswith("+"):
        return Fault(option, f"an attribute is written 'submit.{option} = ...'")
    if option in CLASSIC:
        return Fault(option, f"is the name of AutoPyFactory 2, write '{CLASSIC[option]}'")
    hint = suggest(option, known) or ", autopyfactory reference prints all there are"
    return Fault(option, f"unknown option{hint}")


class _Reader:
    def __init__(self, file: IniFile, catalogue: Catalogue) -> None:
        self._file = file
        self._catalogue = catalogue
        self.main = Main()

    def blame(self, block: Block | None, fault: Fault, *, fatal: bool = True) -> None:
        """Note a fault of a section, or of the file."""
        place = block or Block("", self._file.file, 0)
        self.main.problems.append(located(place, fault))
        self.main.wrong |= fatal and not fault.warning

    def section(self, block: Block) -> None:
        """Judge one section and keep what is sound of it."""
        for fault in block.faults:
            self.blame(block, fault)
        kind, _, name = block.name.partition(" ")
        first = self.main.heads.setdefault((kind, name), block.place)
        if first != block.place:
            self.blame(block, Fault("", f"stands twice, first at {first}, make one of the two"))
        elif kind == "factory" and not name:
            self.main.factory = self._build(FactoryOptions, block)
            if "queues" in block.entries:
                self.main.queue_files = words(block.entries["queues"].text)
        elif kind in _NAMED and name:
            model, place = _NAMED[kind]
            if options := self._build(model, block):
                getattr(self.main, place)[name] = options
        elif kind in _PLUGIN_GROUPS and name:
            self._plugin(block, kind, name)
        elif kind in self._catalogue.source_kinds and name:
            self._source(block, kind, name)
        else:
            self._strange(block, kind, name)

    def _source(self, block: Block, kind: str, name: str) -> None:
        backend = self._catalogue.source_kinds[kind]
        options = self._build(source_options(self._catalogue.find(BATCH, backend)), block)
        if options is not None:
            self.main.add_source(Section(kind, name, options, backend))

    def _plugin(self, block: Block, kind: str, name: str) -> None:
        group = _PLUGIN_GROUPS[kind]
        known = self._catalogue.names(group)
        entry = block.entries.get("plugin")
        plugin = entry.text if entry else name
        if plugin not in known:
            said = f"is no plug-in{suggest(plugin, known)}" if entry else "is missing, write 'plugin = ...'"
            text = f"'{plugin}' {said}" if entry else said
            return self.blame(block, Fault("plugin", f"{text} (known: {', '.join(known)})"))
        found = self._catalogue.find(group, plugin)
        if isinstance(found, Broken):
            self.main.broken[kind, name] = found.reason
            text = f"the plug-in '{plugin}' cannot be imported, install what it needs: {found.reason}"
            return self.blame(block, Fault("plugin", text), fatal=False)
        rest = {option: at for option, at in block.entries.items() if option != "plugin"}
        options = self._build(found.Options, replace(block, entries=rest))
        if entry:
            self.main.origins[block.name, "plugin"] = entry.place
        if options is not None:
            target = self.main.wms if kind == "wms" else self.main.monitors
            target[name] = Section(kind, name, options, plugin)
        return None

    def _strange(self, block: Block, kind: str, name: str) -> None:
        kinds = kinds_of(self._catalogue)
        broken = [f"{word}: {at.reason}" for word, at in self._catalogue.backends.items() if isinstance(at, Broken)]
        maybe = bool(broken and name and kind not in kinds)
        if kind == "factory":
            text = "takes no name, write [factory]"
        elif kind in kinds:
            text = f"has no name, write [{kind} NAME]"
        elif block.name == "DEFAULT":
            text = "serves queues only, write it in queues.conf"
        elif maybe:
            text = f"unknown section, or one of a backend that cannot be imported ({'; '.join(broken)})"
        else:
            text = f"unknown section{suggest(kind, kinds)} (known: {', '.join(kinds)}; queues stand in queues.conf)"
        self.blame(block, Fault("", text), fatal=not maybe)

    def _build(self, model: type[Any], block: Block) -> Any:
        values, faults = expand(block.entries)
        fields = declared(model)
        if model.model_config.get("extra") != "allow":
            helpers = references(block.entries)
            strange = [name for name in block.entries if name not in fields]
            faults += [
                Fault(name, "unknown option here, it is one of queues: write it in queues.conf")
                if name in self._catalogue.queue_names
                else fault
                for name in strange
                if (fault := unknown(name, fields, helpers))
            ]
            values = {name: text for name, text in values.items() if name in fields}
        failed = {fault.option for fault in faults}
        options, more = build(model, values)
        faults += [fault for fault in more if not (fault.missing and fault.option in failed)]
        for fault in faults:
            self.blame(block, fault)
        self.main.origins |= {
            (block.name, name): entry.place for name, entry in block.entries.items() if name in fields
        }
        return options if not faults else None
