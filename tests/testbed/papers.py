"""Credentials of our own making: a certificate, an RFC 3820 proxy of it, a token."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

_PROXY_CERT_INFO = x509.UnrecognizedExtension(
    # ProxyCertInfo of RFC 3820 with the policy "inherit all".
    ObjectIdentifier("1.3.6.1.5.5.7.1.14"),
    bytes.fromhex("300c300a06082b06010505071501"),
)


def certificate(
    begins: float, until: float, *, signer: ec.EllipticCurvePrivateKey | None = None, proxy: bool = False
) -> tuple[bytes, bytes, ec.EllipticCurvePrivateKey]:
    """Return a certificate and its key in PEM, and the key; unsigned by another it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    person = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "grid"), x509.NameAttribute(NameOID.COMMON_NAME, "Pilot")]
    issuer, extra = x509.Name(person), [x509.NameAttribute(NameOID.COMMON_NAME, "123")] if proxy else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*person, *extra]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(until, UTC))
    )
    if proxy:
        builder = builder.add_extension(_PROXY_CERT_INFO, critical=True)
    signed = builder.sign(signer or key, SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return signed.public_bytes(Encoding.PEM), pem, key


def proxy(begins: float, until: float, person_until: float | None = None) -> bytes:
    """Return a proxy file: the proxy, its key, and the certificate that signed it."""
    owner, _, key = certificate(begins, person_until or until + timedelta(days=300).total_seconds())
    acting, own_key, _ = certificate(begins, until, signer=key, proxy=True)
    return acting + own_key + owner


def token(**claims: object) -> bytes:
    """Return a JWT with these claims."""
    return jwt.encode({"sub": "pilot", **claims}, "k" * 32, algorithm="HS256").encode()


def write(path: Path, data: bytes) -> Path:
    """Write a credential as it should be: whole at once, and readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch(0o600)
    fresh.write_bytes(data)
    return fresh.replace(path)
