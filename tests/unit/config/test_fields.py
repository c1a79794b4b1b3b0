import os
import pwd
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, TypeAdapter

from autopyfactory.config import fields
from autopyfactory.config.models import FactoryOptions


class Everything(fields.Options):
    time: fields.Duration = 0.0
    optional: fields.Duration | None = None
    size: fields.Size = 0
    rate: fields.Rate = 0.0
    words: fields.Words = ()
    yes: fields.Boolean = False
    cores: fields.CoresByType = Field(default_factory=dict)
    number: fields.Number = Fraction(0)
    secret: fields.Secret = SecretStr("")
    url: str = ""
    odd: bytes = b""


def written(name: str, value: object) -> str:
    return fields.write(Everything.model_fields[name], value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1 w", 604800), ("0.5s", 0.5), (7, 7.0)],
)
def test_durations(text: object, seconds: float) -> None:
    assert fields.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 minutes", "10m x", "-5m", "m", "9" * 5000 + "s", "99999d", "1e9s", "٣s"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit|ten years"):
        fields.duration(text)


@pytest.mark.parametrize(("text", "size"), [("16GB", 16 * 10**9), ("2GiB", 2**31), ("500 MB", 5 * 10**8), (3, 3)])
def test_sizes(text: object, size: int) -> None:
    assert fields.size(text) == size


@pytest.mark.parametrize("text", ["16", "16G", "GB", "-1GB", "9" * 5000 + "GB"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        fields.size(text)


@pytest.mark.parametrize(("text", "rate"), [("20", 20), ("20/s", 20), ("120/m", 2), ("36 / h", 0.01), (1.5, 1.5)])
def test_rates(text: object, rate: float) -> None:
    assert fields.rate(text) == pytest.approx(rate)


def test_a_rate_per_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no rate"):
        fields.rate("5/d")


@pytest.mark.parametrize(("text", "number"), [("0.25", Fraction(1, 4)), ("1/3", Fraction(1, 3)), (2, 2), (0.5, 0.5)])
def test_numbers(text: object, number: Fraction) -> None:
    assert fields.fraction(text) == number


@pytest.mark.parametrize("text", ["", "1/0", "x", "nan", "inf", "1e999999999", "9" * 5000])
def test_numbers_that_would_cost_minutes_are_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        fields.fraction(text)


@pytest.mark.parametrize(("text", "value"), [("Yes", True), ("on", True), ("0", False), ("FALSE", False), (True, True)])
def test_booleans(text: object, value: bool) -> None:
    assert fields.boolean(text) is value


def test_a_doubtful_boolean_is_refused() -> None:
    with pytest.raises(ValueError, match="neither yes nor no"):
        fields.boolean("perhaps")


def test_cores_by_type() -> None:
    assert fields.cores("SCORE:1, MCORE : 8") == {"SCORE": 1, "MCORE": 8}
    assert fields.cores({"X": 1}) == {"X": 1}


@pytest.mark.parametrize("text", ["MCORE", "MCORE:", ":8", "MCORE:0", "MCORE:²", "MCORE:x"])
def test_wrong_cores_by_type(text: str) -> None:
    with pytest.raises(ValueError, match="TYPE:CORES"):
        fields.cores(text)


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/who/said/sudo")
    me = pwd.getpwuid(os.geteuid())
    assert fields.absolute("~/log") == Path(me.pw_dir, "log") == fields.absolute(f"~{me.pw_name}/log")
    assert fields.absolute("~") == Path(me.pw_dir)
    assert fields.absolute(Path("/x")) == Path("/x")
    for text in ("log", " ", "~nobody-of-this-name/x"):
        with pytest.raises(ValueError, match="begins with /"):
            fields.absolute(text)


def test_ids_and_command_lines() -> None:
    assert fields.identifier("BNL-gridui11") == "BNL-gridui11"
    assert fields.command_line("-a 'b c'") == "-a 'b c'"
    with pytest.raises(ValueError, match="no id"):
        fields.identifier("BNL.gridui")
    with pytest.raises(ValueError, match="quotation mark"):
        fields.command_line("-a 'b")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("time", 5400.0, "1h30m"),
        ("time", 0.0, "0s"),
        ("time", 0.1, "0.1s"),
        ("optional", 60.0, "1m"),
        ("optional", None, "none"),
        ("size", 16 * 10**9, "16GB"),
        ("size", 2**31, "2GiB"),
        ("size", 0, "0B"),
        ("rate", 20.0, "20/s"),
        ("rate", 100 / 60, "100/m"),
        ("rate", 1 / 7000, "0.000142857/s"),
        ("words", ("a", "http://u:pw@h"), "a, http://***@h"),
        ("yes", True, "yes"),
        ("yes", False, "no"),
        ("cores", {"SCORE": 1, "MCORE": 8}, "SCORE:1, MCORE:8"),
        ("number", Fraction(1, 3), "1/3"),
        ("secret", SecretStr("hush"), "********"),
        ("url", "http://user:pw@squid:3128/x", "http://***@squid:3128/x"),
        ("odd", b"x", "b'x'"),
    ],
)
def test_values_are_written_as_an_admin_would(name: str, value: object, text: str) -> None:
    assert written(name, value) == text


@given(st.integers(0, 3 * 365 * 86400), st.integers(0, 10**15), st.fractions(0, 100, max_denominator=1000))
def test_what_is_written_is_read_back(seconds: int, size: int, number: Fraction) -> None:
    assert fields.duration(written("time", float(seconds))) == seconds
    assert fields.size(written("size", size)) == size
    assert fields.fraction(written("number", number)) == number


def test_kinds() -> None:
    assert fields.kind(FactoryOptions.model_fields["max_per_factory"]).name == "whole number"
    assert fields.kind(FactoryOptions.model_fields["environment_script"]).name == "absolute path"
    assert fields.kind(Everything.model_fields["odd"]).name == "text"


def test_a_plain_secret_is_masked_too() -> None:
    class Plain(fields.Options):
        word: SecretStr | None = None

    assert fields.write(Plain.model_fields["word"], SecretStr("hush")) == "********"
    assert "hush" not in repr(TypeAdapter(fields.Secret).validate_python("hush"))
