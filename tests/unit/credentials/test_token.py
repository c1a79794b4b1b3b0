"""Tokens as files."""

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autopyfactory.credentials import Validity
from autopyfactory.credentials.token import read
from autopyfactory.errors import CredentialError
from tests.testbed import papers
from tests.unit.world import START


@pytest.mark.parametrize(
    ("data", "validity"),
    [
        (papers.token(exp=int(START)), Validity(None, START)),
        (b"\n  " + papers.token(exp=START + 0.5, nbf=int(START)) + b" \n\n", Validity(START, START + 0.5)),
        (papers.token(), Validity()),
        (b"an-opaque-one\n", Validity()),
    ],
)
def test_how_long_it_is_good(data: bytes, validity: Validity) -> None:
    assert read(data) == validity


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b" \n", "is empty"),
        (b"Bearer abc", "more than one word"),
        (papers.token(exp=1)[:-60], "cannot be read"),
        (b"eyJhbGciOiJIUzI1NiJ9", "cannot be read"),
        (papers.token(exp="tomorrow"), "'exp' is no time"),
        (papers.token(nbf=True), "'nbf' is no time"),
        (papers.token(exp=float("nan")), "'exp' is no time"),
    ],
)
def test_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(CredentialError, match=said) as caught:
        read(data)
    assert "eyJ" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.binary(max_size=20).map(lambda noise: b"eyJ." + noise + b".x")))
@example(b"eyJ\xff.\x00.\xff")
def test_no_file_breaks_the_reader(data: bytes) -> None:
    with suppress(CredentialError):
        assert read(data) == Validity()
