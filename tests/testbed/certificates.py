"""An authority for one test: certificates of hosts and users, the folder of trust, proxies."""

import os
import pwd
import subprocess
from pathlib import Path

_SUBJECT = "/O=TestGrid"
_AUTHORITY = f"{_SUBJECT}/CN=Test CA"

_POLICY = f"""\
access_id_CA X509 '{_AUTHORITY}'
pos_rights globus CA:sign
cond_subjects globus '"{_SUBJECT}/*"'
"""

_EXTENSIONS = """\
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
[host]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
subjectAltName = DNS:localhost
[user]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
[proxy]
proxyCertInfo = critical,language:id-ppl-inheritAll
keyUsage = critical,digitalSignature,keyEncipherment
[req]
distinguished_name = dn
prompt = no
[dn]
O = unused
"""


class Authority:
    """Below `folder`, which is made: `trust` is the folder of trusted certificates. Needs openssl."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.trust = folder / "certificates"
        self.trust.mkdir()
        self._config = folder / "openssl.cnf"
        self._config.write_text(_EXTENSIONS)
        self._serial = 1
        self._make("ca", _AUTHORITY, ["-x509", "-days", "2", "-extensions", "ca"], "ca.pem")
        for option in ("-subject_hash", "-subject_hash_old"):
            name = self._openssl("x509", "-in", folder / "ca.pem", "-noout", option).strip()
            (self.trust / f"{name}.0").write_bytes((folder / "ca.pem").read_bytes())
            (self.trust / f"{name}.signing_policy").write_text(_POLICY)

    def certify(self, kind: str, name: str) -> tuple[Path, str]:
        """Return certificate and subject of a `host` or `user`."""
        subject = f"{_SUBJECT}/CN={name}"
        word = name.replace(" ", "-")
        self._make(word, subject, [], f"{word}.csr")
        self._sign(word, kind, "ca", "-days", "2")
        return self._folder / f"{word}.pem", subject

    def proxy(self, certificate: Path, subject: str, path: Path, *, owner: str, days: int = 1) -> None:
        """Write an RFC 3820 proxy of a user into a file that belongs to an account; `days` below 0: it has expired."""
        self._serial += 1
        number = str(1000 + self._serial)
        word = f"proxy-{number}"
        self._make(word, f"{subject}/CN={number}", [], f"{word}.csr")
        self._sign(word, "proxy", certificate.stem, "-days", str(days))
        text = "".join(file.read_text() for file in (self._folder / f"{word}.pem", self._folder / f"{word}.key"))
        path.write_text(text + certificate.read_text())
        account = pwd.getpwnam(owner)
        os.chown(path, account.pw_uid, account.pw_gid)
        path.chmod(0o600)

    def _make(self, word: str, subject: str, more: list[str], output: str) -> None:
        key = self._folder / f"{word}.key"
        request = ("req", "-new", "-newkey", "rsa:2048", "-nodes", "-config", self._config, "-subj", subject)
        self._openssl(*request, "-keyout", key, "-out", self._folder / output, *more)
        key.chmod(0o600)

    def _sign(self, word: str, extensions: str, signer: str, *lifetime: str) -> None:
        self._serial += 1
        by = ("-CA", self._folder / f"{signer}.pem", "-CAkey", self._folder / f"{signer}.key")
        made = ("-req", "-in", self._folder / f"{word}.csr", "-out", self._folder / f"{word}.pem")
        use = ("-set_serial", str(self._serial), "-extfile", self._config, "-extensions", extensions)
        self._openssl("x509", *made, *by, *use, *lifetime)

    def _openssl(self, *words: str | Path) -> str:
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"openssl {' '.join(map(str, words))}: {done.stderr}"
        return done.stdout
