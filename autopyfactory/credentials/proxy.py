"""X.509 proxies: a file in PEM with a certificate, its key, and the certificates that signed it.

An RFC 3820 proxy, one of the older kinds and a plain certificate with its key all read alike: the first
certificate is the one that acts, and the chain is good for as long as each of its links.
"""

import re

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from autopyfactory.credentials import Validity
from autopyfactory.errors import CredentialError

_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.S)
_OTHER = re.compile(rb"-----BEGIN (?!CERTIFICATE-----).*?-----END [A-Z ]*-----", re.S)


def read(data: bytes) -> Validity:
    """Return how long all certificates of a proxy file are valid. Raises CredentialError."""
    try:
        chain = x509.load_pem_x509_certificates(_OTHER.sub(b"", data))
    except ValueError:
        raise CredentialError("holds no certificate that can be read, make it anew") from None
    _match_key(data, chain[0])
    begins = max(certificate.not_valid_before_utc for certificate in chain)
    until = min(certificate.not_valid_after_utc for certificate in chain)
    return Validity(begins.timestamp(), until.timestamp())


def _match_key(data: bytes, certificate: x509.Certificate) -> None:
    found = _KEY.search(data)
    if not found:
        raise CredentialError("holds no private key, put that of its first certificate into it")
    try:
        key = load_pem_private_key(found[0], password=None).public_key()
    except TypeError:
        raise CredentialError("has an encrypted private key, which nobody opens at night: make a proxy of it") from None
    except Exception:
        raise CredentialError("has a private key that cannot be read, make it anew") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise CredentialError("has a private key that does not belong to its first certificate, make it anew")
