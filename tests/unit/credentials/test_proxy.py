"""X.509 proxies as files."""

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.credentials import Validity
from autopyfactory.credentials.proxy import read
from autopyfactory.errors import CredentialError
from tests.testbed import papers
from tests.unit.world import START

HOUR = 3600.0
GOOD = papers.proxy(START - HOUR, START + 12 * HOUR)
CERTIFICATE, KEY, SECRET = papers.certificate(START, START + 30 * HOUR)


def test_a_proxy_is_good_as_long_as_its_shortest_link() -> None:
    assert read(GOOD) == Validity(START - HOUR, START + 12 * HOUR)
    shorter = papers.proxy(START - HOUR, START + 12 * HOUR, person_until=START + 2 * HOUR)
    assert read(shorter).until == START + 2 * HOUR


@pytest.mark.parametrize(
    "data",
    [CERTIFICATE + KEY, KEY + CERTIFICATE, b"Bag Attributes\n" + CERTIFICATE + b"\n" + KEY],
    ids=["certificate first", "key first", "with attributes"],
)
def test_a_plain_certificate_with_its_key(data: bytes) -> None:
    assert read(data) == Validity(START, START + 30 * HOUR)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no certificate"),
        (KEY, "holds no certificate"),
        (CERTIFICATE, "holds no private key"),
        (CERTIFICATE + papers.certificate(START, START + HOUR)[1], "does not belong to its first certificate"),
        (
            CERTIFICATE + SECRET.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")),
            "encrypted private key",
        ),
        (CERTIFICATE + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
    ],
    # The keys are new each time, and workers of xdist compare the names of tests.
    ids=["empty", "key alone", "certificate alone", "another key", "encrypted key", "broken key"],
)
def test_what_is_wrong(data: bytes, said: str) -> None:
    with pytest.raises(CredentialError, match=said):
        read(data)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=4))
def test_a_damaged_file_is_wrong_or_says_no_more_than_the_whole_one(cut: int, noise: bytes) -> None:
    try:
        validity = read(GOOD[:cut] + noise)
    except CredentialError as error:
        assert not any(line and line.decode() in str(error) for line in GOOD.splitlines())
    else:
        assert validity.until == START + 12 * HOUR
