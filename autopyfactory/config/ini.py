"""Read INI files so that every option knows its line, and a broken line costs no more than its section.

A file is cut at its section headers first and each piece is given to `configparser` alone: what stands
below a header belongs to it whatever happened above. Nothing here knows what options mean.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from configparser import (
    BasicInterpolation,
    InterpolationDepthError,
    InterpolationMissingOptionError,
    InterpolationSyntaxError,
    ParsingError,
    RawConfigParser,
)
from dataclasses import dataclass, field
from pathlib import Path

from autopyfactory.config.problems import Fault, suggest

_COMMENT = re.compile(r"^\s*[#;].*$|\s;.*$")
_BYTES = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_HEADER = re.compile(r"\[([^\[\]]*)\](.*)")
_OPTION = re.compile(r"\s+([A-Za-z_+][\w.+-]*)\s*=(?!=)")
# In these a bracket is as likely part of the value: ClassAd lists, file name patterns.
_GLUED = re.compile(r"(\s*(?!submit\.|env\.|arguments\b)([\w.+-]+)\s*=.*[^\s\[/])\[([A-Za-z][\w.-]*)\]\s*")
_REFERENCE = re.compile(r"%\(([^)]+)\)s")


@dataclass(frozen=True, slots=True)
class Entry:
    """One option as it stands in a file, before interpolation."""

    text: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """Return `file:line`, of a generated one where it comes from."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Block:
    """One section of one file; a fault in it says that its options cannot all be believed."""

    name: str
    file: str
    line: int
    entries: Mapping[str, Entry] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @property
    def place(self) -> str:
        """Return `file:line` of the header."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class IniFile:
    """A file: its sections in order, and the faults that belong to none of them."""

    file: str
    blocks: tuple[Block, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True)
class _Piece:
    """The lines of one section before they are parsed, `start` being the line of its header."""

    name: str
    start: int
    lines: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class _Parser(RawConfigParser):
    """Parse the lines of one section and note the line of each option, in `found`."""

    def __init__(self) -> None:
        super().__init__(
            delimiters=("=",),
            inline_comment_prefixes=(";",),
            strict=False,
            empty_lines_in_values=False,
            interpolation=None,
            default_section="\n",
        )
        self.line = 0
        self.found: list[tuple[str, int]] = []

    def optionxform(self, optionstr: str) -> str:
        """Keep the case; called once for each option while a file is read."""
        self.found.append((optionstr, self.line))
        return optionstr

    def feed(self, lines: Iterable[str], start: int) -> list[int]:
        """Read the lines below the header on line `start`; return the lines that are nothing known."""
        try:
            self.read_file(self._count(lines, start))
        except ParsingError as error:
            return [start + number - 1 for number, _ in error.errors]
        return []

    def _count(self, lines: Iterable[str], start: int) -> Iterator[str]:
        yield "[section]\n"
        for self.line, text in enumerate(lines, start + 1):
            yield f"{text}\n"


NO_MAIN = "name yours by --conf FILE or $APF_CONF"
NO_QUEUES = "write it, or name your queue files in [factory] queues"


def read(path: Path, *, missing: str = "") -> IniFile:
    """Read a file. Whatever it holds, and also if it cannot be read, the result says so; nothing is raised.

    `missing` is what to do where there is no such file.
    """
    file = str(path)
    try:
        if path.exists() and not path.is_file():
            return IniFile(file, faults=(Fault("", "is no regular file"),))
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = f", {missing}" if missing and isinstance(error, FileNotFoundError) else ""
        return IniFile(file, faults=(Fault("", f"cannot be read: {reason.lower()}{remedy}"),))
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return IniFile(file, faults=(Fault("", "is UTF-16, save it as UTF-8"),))
    head, *pieces = _cut(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    return IniFile(file, tuple(_parse(piece, file) for piece in pieces), tuple(_before(head)))


def expand(entries: Mapping[str, Entry]) -> tuple[dict[str, str], list[Fault]]:
    """Put the values of options in place of `%(option)s`; options that fail are left out."""
    texts = {name: entry.text for name, entry in entries.items()}
    values: dict[str, str] = {}
    faults: list[Fault] = []
    parser, interpolation = _Parser(), BasicInterpolation()
    for name, text in texts.items():
        try:
            values[name] = interpolation.before_get(parser, "section", name, text, texts)
        except InterpolationMissingOptionError as error:
            hint = suggest(error.reference, texts)
            faults.append(Fault(name, f"%({error.reference})s names an option that is not set{hint}"))
        except InterpolationDepthError:
            faults.append(Fault(name, "its %(...)s go in circles"))
        except InterpolationSyntaxError:
            faults.append(Fault(name, "a lone % (here or in an option it names), write %% or %(option)s"))
    return values, faults


def references(entries: Mapping[str, Entry]) -> frozenset[str]:
    """Return the names of the options that others use as `%(name)s`."""
    return frozenset(name for entry in entries.values() for name in _REFERENCE.findall(entry.text))


def _cut(lines: list[bytes]) -> list[_Piece]:
    """Return the pieces of a file, the first one being what stands above all headers."""
    pieces = [_Piece("", 0)]
    for number, raw in enumerate(lines, 1):
        text, problem = _decode(raw)
        header = _header(text)
        glued = None if header or len(pieces) == 1 else _GLUED.fullmatch(_COMMENT.sub("", text))
        if header:
            pieces.append(_Piece(header[0], number))
            problem = problem or header[1]
        elif glued:
            pieces[-1].lines.append(glued[1])
            said = f"[{glued[3]}] is glued to the end of this value, put it on a line of its own"
            pieces[-1].faults.append(Fault(glued[2], said, line=number))
            pieces.append(_Piece(glued[3], number))
        else:
            pieces[-1].lines.append(text)
        if problem:
            pieces[-1].faults.append(Fault("", problem, line=number))
    return pieces


def _decode(raw: bytes) -> tuple[str, str]:
    """Return a line as text fit for a terminal, and what is wrong with it; comments may hold anything."""
    text = raw.removesuffix(b"\r").decode(errors="surrogateescape")
    kept, problem = _COMMENT.sub("", text), ""
    if _BYTES.search(kept):
        problem = "bytes that are not UTF-8 text, save the file as UTF-8"
    elif _CONTROL.search(kept):
        problem = "a control character, take it away"
    return _CONTROL.sub("?", _BYTES.sub("?", text)), problem


def _header(text: str) -> tuple[str, str] | None:
    """Return name and problem of a section header; None when the line is none.

    A line that begins with a bracket can only be meant as one: no option and no continuation does.
    """
    line = _COMMENT.sub("", text).rstrip()
    match = _HEADER.fullmatch(line.lstrip())
    if match and (not match[2].strip() or line.startswith("[")):
        name = " ".join(match[1].split())
        if not name:
            return name, "a section header without a name"
        return name, "text after the section header, put it on a line of its own" if match[2].strip() else ""
    if line.startswith("["):
        name = " ".join(line.strip("[] \t").split())
        return name, "a section header that is not closed, write [name]"
    return None


def _before(head: _Piece) -> list[Fault]:
    """Return one fault for all text above the first section, which no section can claim."""
    for number, text in enumerate(head.lines, 1):
        if _COMMENT.sub("", text).strip():
            return [Fault("", "text before the first section, put it below a [section]", line=number)]
    return []


def _parse(piece: _Piece, file: str) -> Block:
    parser = _Parser()
    nothing = parser.feed(piece.lines, piece.start)
    faults = [*piece.faults, *_twice(parser.found, file), *_indented(piece, {line for _, line in parser.found})]
    faults += [
        Fault("", "this line is no 'option = value', write one or begin the line with #", line=line) for line in nothing
    ]
    lines = dict(parser.found)
    entries = {
        name: Entry(" ".join(text.split("\n")), file, lines[name]) for name, text in parser.items("section") if name
    }
    return Block(piece.name, file, piece.start, entries, tuple(sorted(faults, key=lambda fault: fault.line)))


def _twice(found: list[tuple[str, int]], file: str) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for name, line in found:
        if name and first.setdefault(name, line) != line:
            yield Fault(name, f"stands twice, first at {file}:{first[name]}, take one away", line=line)


def _indented(piece: _Piece, options: set[int]) -> Iterator[Fault]:
    """Find lines that `configparser` added to the value above although they read like options."""
    for line, text in enumerate(piece.lines, piece.start + 1):
        match = _OPTION.match(text)
        if match and line not in options:
            said = "is indented and so part of the value above, begin it at the start of the line"
            yield Fault(match[1], said, line=line)
