"""HTTP with a deadline for the whole of each exchange, which another thread can abandon."""

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from autopyfactory import __version__

_LONGEST = 65536


class NoAnswer(Exception):
    """The exchange gave no whole answer; the message is one line that does not change with the attempt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the beginning of the text."""

    status: int
    text: str

    @property
    def ok(self) -> bool:
        """Return whether the server did what it was asked."""
        return 200 <= self.status < 300


class Http:
    """One server, asked by one thread at a time.

    `deadline` (seconds) holds from the request to the last byte of the answer: the connection is then
    broken, so that a server that drips bytes does not pass. Connecting may take as long for each address
    of a host with several. Every exchange has a connection of its own, as the classic's client had.
    """

    def __init__(self, *, deadline: float, http_proxy: str = "") -> None:
        self._deadline = deadline
        self._watch = _Watch()
        self._closed = False
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": f"AutoPyFactory/{__version__}", "Connection": "close"})
        if http_proxy:
            self._session.proxies = {"http": http_proxy, "https": http_proxy}
        adapter = _Adapter(self._opened)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def call(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a request and return the answer, whatever its status.

        Raises NoAnswer.
        """
        watch = self._watch = _Watch()
        if self._closed:
            raise NoAnswer("abandoned")
        timer = threading.Timer(self._deadline, watch.abandon)
        timer.daemon = True
        timer.start()
        try:
            answer = self._exchange(method, url, body, headers)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise NoAnswer(self._why(watch, error)) from error
        finally:
            timer.cancel()
            watch.over()
        if watch.abandoned:  # an answer without a length looks whole when its connection is broken
            raise NoAnswer(self._why(watch, None))
        return answer

    def close(self) -> None:
        """Abandon the exchange under way, from any thread; later ones fail at once."""
        self._closed = True
        self._watch.abandon()

    def _opened(self, line: socket.socket) -> None:
        self._watch.opened(line)

    def _exchange(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        with self._session.request(
            method, url, data=body, headers=headers, timeout=self._deadline, allow_redirects=False, stream=True
        ) as response:
            raw = response.raw.read(_LONGEST, decode_content=True)
            return Answer(response.status_code, raw.decode("utf-8", "replace"))

    def _why(self, watch: "_Watch", error: BaseException | None) -> str:
        if self._closed:
            return "abandoned"
        if watch.abandoned or isinstance(error, requests.Timeout):
            return f"no whole answer within {self._deadline:g} s"
        inner = error
        while inner is not None and (deeper := inner.__cause__ or inner.__context__) is not None:
            inner = deeper  # the libraries' own texts hold addresses of objects; the system's error is the reason
        return (getattr(inner, "strerror", None) or str(inner) or type(inner).__name__).splitlines()[0]


class _Watch:
    """The connection of one exchange, through a handle of its own that survives TLS and early closing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self.abandoned = False

    def opened(self, line: socket.socket) -> None:
        with self._lock:
            self._drop()
            self._line = line.dup()
            if self.abandoned:
                self._break()

    def abandon(self) -> None:
        with self._lock:
            self.abandoned = True
            self._break()

    def over(self) -> None:
        with self._lock:
            self._break()
            self._drop()

    def _break(self) -> None:
        if self._line is not None:
            with suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class _Adapter(HTTPAdapter):
    """Tell `opened` of every socket before anything is sent on it."""

    def __init__(self, opened: Callable[[socket.socket], None]) -> None:
        self._pools = {
            "http": _watched(HTTPConnectionPool, HTTPConnection, opened),
            "https": _watched(HTTPSConnectionPool, HTTPSConnection, opened),
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _watched(pool: type, connection: type[HTTPConnection], opened: Callable[[socket.socket], None]) -> type:
    def _new_conn(self: HTTPConnection) -> socket.socket:
        line = connection._new_conn(self)
        opened(line)
        return line

    return type(
        pool.__name__, (pool,), {"ConnectionCls": type(connection.__name__, (connection,), {"_new_conn": _new_conn})}
    )
