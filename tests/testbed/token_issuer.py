"""An issuer of tokens for one test: signs them, and tells by https with which key."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.testbed.ports import free_port

_DISCOVERY = "/.well-known/openid-configuration"
_KEY = "test"

Json = dict[str, object]


class TokenIssuer:
    """Serves on localhost with the certificate of this host, whose key signs the tokens too."""

    def __init__(self, certificate: Path, key: Path) -> None:
        port = free_port()
        self.url = f"https://localhost:{port}"
        self._key = key
        papers: dict[str, Json] = {
            _DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"},
            "/jwks": {"keys": [self._public()]},
        }

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # ARC asks as one asks a proxy, with the whole URL, and dies of an answer without a document.
                path = self.path.removeprefix(f"https://localhost:{port}")
                body = json.dumps(papers.get(path, papers[_DISCOVERY])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, subject: str, scope: str, *, seconds: int = 3600) -> str:
        """Return a token of the WLCG profile."""
        now = int(time.time())
        claims: Json = {
            "wlcg.ver": "1.0",
            "iss": self.url,
            "sub": subject,
            "aud": "https://wlcg.cern.ch/jwt/v1/any",
            "iat": now,
            "nbf": now - 60,
            "exp": now + seconds,
            "jti": str(uuid.uuid4()),
            "scope": scope,
        }
        head: Json = {"alg": "RS256", "kid": _KEY, "typ": "JWT"}
        text = f"{_url64(json.dumps(head).encode())}.{_url64(json.dumps(claims).encode())}"
        return f"{text}.{_url64(self._openssl(text, 'dgst', '-sha256', '-sign', self._key))}"

    def _public(self) -> Json:
        """Return the public key as JWK; its exponent is openssl's default, 65537."""
        modulus = self._openssl("", "rsa", "-noout", "-modulus", "-in", self._key).decode().strip().partition("=")[2]
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": _KEY,
            "n": _url64(bytes.fromhex(modulus)),
            "e": "AQAB",
        }

    @staticmethod
    def _openssl(text: str, *words: str | Path) -> bytes:
        command = ["openssl", *map(str, words)]
        return subprocess.run(command, input=text.encode(), capture_output=True, timeout=30, check=True).stdout


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
