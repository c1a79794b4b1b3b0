"""A real squid on the loopback interface, started by hand and stopped by its own process id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.testbed.patience import patience
from tests.testbed.ports import free_port

SQUID = shutil.which("squid") or "/usr/sbin/squid"

_COMMON = """
visible_hostname localhost
unique_hostname squid-{port}
icp_port 0
snmp_port 0
pinger_enable off
acl lo src 127.0.0.0/8
acl to_lo dst 127.0.0.0/8 ::1
http_access deny !lo
http_access deny !to_lo
http_access allow lo
cache_mem 32 MB
pid_filename none
access_log stdio:{base}/access.log squid
cache_log {base}/cache.log
coredump_dir {base}
shutdown_lifetime 1 seconds
negative_ttl 0 seconds
client_db off
workers 1
"""
_FORWARD = "http_port 127.0.0.1:{port}\n"
_ACCELERATOR = """
http_port 127.0.0.1:{port} accel defaultsite=127.0.0.1 no-vhost
cache_peer 127.0.0.1 parent {origin} 0 no-query no-digest originserver connect-fail-limit=100000 name=origin
"""
_FORCED = "refresh_pattern /api/v[0-9]+/statistics/ 1 0% 1\n"
_STOCK = "refresh_pattern -i (/cgi-bin/|\\?) 0 0% 0\nrefresh_pattern . 0 20% 4320\n"


class Squid:
    """One squid; its cache lives in memory and is lost when it ends.

    With `origin` it is the accelerator before the server on that port of 127.0.0.1, else a forward proxy.
    `forced` makes it take statistics for fresh during a minute, as some sites configure it. `base` is
    created; started by root, squid runs as `user`, who must be able to reach it.
    """

    def __init__(self, base: Path, *, origin: int | None = None, forced: bool = False, user: str = "proxy") -> None:
        self.base = base
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        base.mkdir(parents=True, exist_ok=True)
        mode = (_FORWARD if origin is None else _ACCELERATOR).format(port=self.port, origin=origin)
        text = mode + _COMMON.format(base=base, port=self.port) + (_FORCED if forced else "") + _STOCK
        if os.geteuid() == 0:
            text += f"cache_effective_user {user}\n"
            shutil.chown(base, user)
        (base / "squid.conf").write_text(text)

    @property
    def url(self) -> str:
        """Its address: an `http_proxy`, or the server itself when it is an accelerator."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def access_log(self) -> list[str]:
        """The lines of its access log so far."""
        log = self.base / "access.log"
        return log.read_text().splitlines() if log.exists() else []

    def start(self) -> Self:
        """Start it and wait until it listens. Raises RuntimeError with its output when it does not."""
        output = (self.base / "output").open("wb")
        with output:
            self._process = subprocess.Popen(
                [SQUID, "-N", "-f", str(self.base / "squid.conf")], stdout=output, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + patience(20)
        while time.monotonic() < end and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"squid did not start: {(self.base / 'output').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again, on the same port and with an empty cache."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
