from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopyfactory.config.ini import Entry, IniFile, expand, read, references


def parse(tmp_path: Path, content: str | bytes) -> IniFile:
    path = tmp_path / "x.conf"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path)


def faults(file: IniFile) -> list[tuple[str, int, str]]:
    """Return section, line and text of every fault."""
    of_file = [("", fault.line, fault.text) for fault in file.faults]
    return of_file + [(block.name, fault.line, fault.text) for block in file.blocks for fault in block.faults]


def texts(file: IniFile) -> dict[str, dict[str, str]]:
    return {block.name: {name: entry.text for name, entry in block.entries.items()} for block in file.blocks}


def test_sections_options_and_their_lines(tmp_path: Path) -> None:
    file = parse(tmp_path, "# c\n\n[A]\nx = 1\n  ; c\nY=a = b\n[wms   panda] ; c\nurl = http://h/;x ; c\nempty =\n")
    assert texts(file) == {"A": {"x": "1", "Y": "a = b"}, "wms panda": {"url": "http://h/;x", "empty": ""}}
    assert [(block.name, block.line) for block in file.blocks] == [("A", 3), ("wms panda", 7)]
    assert [entry.line for block in file.blocks for entry in block.entries.values()] == [4, 6, 8, 9]
    assert file.blocks[0].place == f"{tmp_path}/x.conf:3"
    assert not faults(file)


def test_a_value_goes_on_in_indented_lines(tmp_path: Path) -> None:
    file = parse(tmp_path, "[A]\nx = a &&\n    b ; c\n    (c == d)\ny = 1\n")
    assert texts(file) == {"A": {"x": "a && b (c == d)", "y": "1"}}
    assert not faults(file)


def test_windows_and_a_byte_order_mark_are_no_problem(tmp_path: Path) -> None:
    file = parse(tmp_path, b"\xef\xbb\xbf[A]\r\nx = 1\r\n\r\n[B]\r\ny = 2")
    assert texts(file) == {"A": {"x": "1"}, "B": {"y": "2"}}
    assert not faults(file)


def test_an_indented_header_is_a_header(tmp_path: Path) -> None:
    assert texts(parse(tmp_path, "[A]\nx = 1\n   [B]\n   y = 2\n")) == {"A": {"x": "1"}, "B": {"y": "2"}}


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        ("x = 1\n[A]\n", ("", 1), "before the first section"),
        ("[A]\nno option\n", ("A", 2), "no 'option = value'"),
        ("[A]\nx: 1\n", ("A", 2), "no 'option = value'"),
        ("[A]\n= 1\n", ("A", 2), "no 'option = value'"),
        ("[A]\nx = 1\nx = 2\n", ("A", 3), "stands twice, first at"),
        ("[A]\nx = 1\n  max_pending = 2\n", ("A", 3), "is indented"),
        ("[A\nx = 1\n", ("A", 1), "not closed"),
        ("[]\nx = 1\n", ("", 1), "without a name"),
        ("[A] x\ny = 1\n", ("A", 1), "text after the section header"),
        ("[A]\nx = ANALY_X[NEXT_ONE]\ny = 1\n", ("A", 2), "[NEXT_ONE] is glued"),
        (b"[A]\nx = J\xfcrgen\n", ("A", 2), "UTF-8"),
        ("[A]\nx = a\x00b\n", ("A", 2), "control character"),
        ("[A]\nx = a\rb\n", ("A", 2), "control character"),
        ("[A\x1b[31m]\n", ("A?[31m", 1), "control character"),
    ],
)
def test_each_fault_is_found_at_its_line(
    tmp_path: Path, content: str | bytes, where: tuple[str, int], what: str
) -> None:
    [(section, line, text)] = faults(parse(tmp_path, content))
    assert (section, line) == where
    assert what in text


def test_a_broken_line_costs_no_more_than_its_section(tmp_path: Path) -> None:
    file = parse(tmp_path, "[A]\nx = 1\n[B\noops\n[C]\nz = 3\nq = V[D]\nw = 4\n[E]\nv = 5\n")
    assert texts(file) == {"A": {"x": "1"}, "B": {}, "C": {"z": "3", "q": "V"}, "D": {"w": "4"}, "E": {"v": "5"}}
    assert {section for section, _, _ in faults(file)} == {"B", "C"}


def test_brackets_in_values_are_left_alone(tmp_path: Path) -> None:
    content = "[A]\nsubmit.+x = list[Index]\narguments = -f a[bc]\nurl = http://[fe80::1]\ny = a [b]\nenv.X = a[bc]\n"
    file = parse(tmp_path, content)
    assert len(file.blocks) == 1
    assert not faults(file)


def test_comments_may_hold_anything(tmp_path: Path) -> None:
    file = parse(tmp_path, b"; J\xfcrgen\n[A]\n# \x00\nx = 1 ; J\xfcrgen?\n")
    assert texts(file) == {"A": {"x": "1"}}
    assert not faults(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "no such file" in faults(read(tmp_path / "none"))[0][2]
    assert "no regular file" in faults(read(tmp_path))[0][2]
    assert "cannot be read" in faults(read(tmp_path / ("x" * 5000)))[0][2]
    assert "UTF-16" in faults(parse(tmp_path, "[A]\nx = 1\n".encode("utf-16")))[0][2]


def entries(**options: str) -> dict[str, Entry]:
    return {name: Entry(text, "f", line) for line, (name, text) in enumerate(options.items(), 1)}


def test_interpolation() -> None:
    values, found = expand(entries(a="1", b="%(a)s%(a)s", c="x-%(b)s-100%%", B="other case"))
    assert values == {"a": "1", "b": "11", "c": "x-11-100%", "B": "other case"}
    assert not found
    assert references(entries(a="%(b)s and %(c)s", d="%%x")) == {"b", "c"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("%(wmsqeue)s", "not set, did you mean 'wmsqueue'?"),
        ("%(a)s", "circles"),
        ("100%", "write %%"),
        ("%(a", "write %%"),
        ("%d", "write %%"),
    ],
)
def test_interpolation_that_fails_leaves_the_option_out(text: str, what: str) -> None:
    values, [fault] = expand(entries(a=text, wmsqueue="Q"))
    assert values == {"wmsqueue": "Q"}
    assert fault.option == "a"
    assert what in fault.text


_LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["[A]", "[B", " [C] ", "[]", "x = 1", "  y = 2", "x = V[NEXT]", "= 3", "\t", "; c", "%(x)s"]),
    ),
    max_size=12,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_LINES, st.binary(max_size=40))
def test_whatever_a_file_holds_is_read(tmp_path: Path, lines: list[str], tail: bytes) -> None:
    content = "\n".join(lines).encode(errors="replace") + tail
    file = parse(tmp_path, content)
    assert isinstance(file, IniFile)
    for block in file.blocks:
        assert block.line <= content.count(b"\n") + 1
        assert set(expand(block.entries)[0]) <= set(block.entries)
        assert all(entry.line > block.line for entry in block.entries.values())


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_.+]{0,9}", fullmatch=True), st.from_regex(r"[\w/:=,]{0,12}", fullmatch=True)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_sound_options_are_read_as_written(tmp_path: Path, options: dict[str, str]) -> None:
    content = "[A]\n" + "".join(f"{name} = {text}\n" for name, text in options.items())
    file = parse(tmp_path, content)
    assert texts(file) == {"A": options}
    assert not faults(file)
