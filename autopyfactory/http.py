"""HTTP exchanges, each with a deadline for the whole of it, a size limit, and nothing taken from the environment.

Socket timeouts bound only the wait for the next byte, and neither the lookup of the name nor a server
that drips its header. So each exchange runs in a thread of its own: the caller waits for it up to the
deadline, then cuts the connection, which ends the thread too.
"""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ProxyError, RequestException, SSLError
from urllib3.exceptions import HTTPError, NameResolutionError

from autopyfactory import __version__
from autopyfactory.logs import clean, mask

_PIECE = 65536
_THREADS = 8


class NoAnswer(Exception):
    """There is no whole answer.

    The message is one line without secrets that names no address and is the same for each attempt.
    `stopped` is true when `Http.close` abandoned the exchange.
    """

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of any status; the names of `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Return whether the server did what it was asked."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """Return the body as text, what is no UTF-8 in it replaced."""
        return self.body.decode("utf-8", "replace")


def cache_age(headers: Mapping[str, str]) -> float:
    """Return how old a cache says its answer is, in seconds; 0 when no cache took part.

    Raises ValueError when a cache calls it stale (`Warning` 110 to 112) and does not say how old it is.
    """
    age, warning = headers.get("Age"), headers.get("Warning", "")
    if age is not None:
        if not re.fullmatch(r"\d{1,9}", age.strip(), re.ASCII):
            raise ValueError(f"a cache's answer of unknown age ('Age: {clean(age, 40)}')")
        return float(age)
    if re.search(r"(?:^|,)\s*11[012]\b", warning):
        raise ValueError(f"a stale answer of unknown age from a cache ('Warning: {clean(warning, 80)}')")
    return 0.0


class Http:
    """Exchanges of `name`, from any thread, each on a connection of its own.

    `ca` is a file or folder of trusted certificates for https; without it the usual ones serve. `client` are
    the files of our own certificate and its key. An answer beyond `max_bytes` is refused, or with `cut` its
    beginning serves.
    """

    def __init__(
        self,
        name: str,
        *,
        proxy: str = "",
        ca: Path | None = None,
        client: tuple[Path, Path] | None = None,
        max_bytes: int = 64_000_000,
        cut: bool = False,
    ) -> None:
        self._name = name
        self._proxy = proxy
        self._ca = ca
        self._client = client
        self._max_bytes = max_bytes
        self._cut = cut
        self._lock = threading.Lock()
        self._open: set[_Exchange] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def get(self, url: str, headers: Mapping[str, str], deadline: float) -> Answer:
        """Return the answer to a GET; see `call`."""
        return self.call("GET", url, headers, deadline)

    def call(
        self, method: str, url: str, headers: Mapping[str, str], deadline: float, body: bytes | None = None
    ) -> Answer:
        """Return the answer, whatever its status, a redirection unfollowed; `deadline` in seconds.

        Raises NoAnswer when it is not there whole in time, is too large, or `close` was called.
        """
        exchange = _Exchange()
        work = partial(self._whole, exchange, requests.Request(method, url, headers, data=body), deadline)
        thread = threading.Thread(target=exchange.run, args=(work,), name=f"{self._name} {method}", daemon=True)
        self._start(exchange, thread)
        try:
            if not exchange.done.wait(deadline):
                raise NoAnswer(f"no whole answer within {deadline:.3g} s")
            return self._judged(exchange.outcome)
        finally:
            exchange.cut()
            with self._lock:
                self._open.discard(exchange)

    def close(self) -> None:
        """Cut every exchange under way, from any thread; those and later ones get NoAnswer (stopped)."""
        with self._lock:
            self._closed = True
            under_way = tuple(self._open)
        for exchange in under_way:
            exchange.cut()
            exchange.done.set()

    def _start(self, exchange: "_Exchange", thread: threading.Thread) -> None:
        with self._lock:
            if self._closed:
                raise _stopped()
            # Nothing ends a thread that waits for the resolver: those given up must not pile up.
            self._threads = {other for other in self._threads if other.is_alive()}
            if len(self._threads) >= _THREADS:
                raise NoAnswer(f"still busy with {len(self._threads)} earlier questions")
            thread.start()
            self._threads.add(thread)
            self._open.add(exchange)

    def _whole(self, exchange: "_Exchange", request: requests.Request, deadline: float) -> Answer:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update({"User-Agent": f"AutoPyFactory/{__version__}", "Accept-Encoding": "identity"})
            session.headers["Connection"] = "close"
            session.proxies = {"http": self._proxy, "https": self._proxy} if self._proxy else {}
            session.verify = str(self._ca) if self._ca else True
            session.cert = (str(self._client[0]), str(self._client[1])) if self._client else None
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(exchange.hold))
            # The caller's deadline comes first; this one ends a thread that waits for a connection.
            prepared = session.prepare_request(request)
            with session.send(prepared, stream=True, allow_redirects=False, timeout=deadline + 1) as response:
                body = bytearray()
                for piece in response.iter_content(_PIECE):
                    body += piece
                    if len(body) > self._max_bytes:
                        break
                if len(body) > self._max_bytes and not self._cut:
                    raise NoAnswer(f"the answer exceeds {self._max_bytes} bytes")
                return Answer(response.status_code, response.headers, bytes(body[: self._max_bytes]))

    def _judged(self, outcome: Answer | BaseException | None) -> Answer:
        # Once closed also an Answer is not believed: one without a length ends where its connection is cut.
        if self._closed or outcome is None:
            raise _stopped()
        if isinstance(outcome, Answer):
            return outcome
        if isinstance(outcome, RequestException | HTTPError | OSError):
            way = f"no way through http_proxy {mask(self._proxy)}: " if isinstance(outcome, ProxyError) else ""
            raise NoAnswer(way + _why(outcome)) from None
        raise outcome


def _stopped() -> NoAnswer:
    return NoAnswer("the factory stops", stopped=True)


class _Exchange:
    """One exchange under way: what came of it, and a grip on its connection for other threads."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome: Answer | BaseException | None = None
        self._lock = threading.Lock()
        self._grip: socket.socket | None = None
        self._over = False

    def run(self, work: Callable[[], Answer]) -> None:
        try:
            self.outcome = work()
        except BaseException as error:  # handed to the caller's thread, which knows what it means
            self.outcome = error
        finally:
            self.done.set()

    def hold(self, connection: socket.socket) -> None:
        """Keep a duplicate: it can be shut down while TLS owns the original."""
        with self._lock:
            if self._over:
                connection.close()
                raise OSError("given up")
            self._grip = connection.dup()

    def cut(self) -> None:
        """End the connection, whoever waits on it; harmless when the exchange is complete."""
        with self._lock:
            self._over = True
            if self._grip is not None:
                with contextlib.suppress(OSError):
                    self._grip.shutdown(socket.SHUT_RDWR)
                self._grip.close()
                self._grip = None


class _Adapter(HTTPAdapter):
    """Show every new connection to `hold` before a byte is exchanged on it."""

    def __init__(self, hold: Callable[[socket.socket], None]) -> None:
        super().__init__(max_retries=0)
        self._hold = hold

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind: Any = pool.ConnectionCls
        hold = self._hold

        class Held(kind):  # type: ignore[misc]  # http or https, as the pool needs it
            def _new_conn(self) -> socket.socket:
                connection: socket.socket = super()._new_conn()
                hold(connection)
                return connection

        pool.ConnectionCls = Held
        return pool


def _why(error: BaseException) -> str:
    """Return the reason at the bottom of a requests exception; its own text is long and may hold a password."""
    chain = list(_causes(error))
    if isinstance(error, SSLError):
        refusal = next((cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)), None)
        return f"{refusal.verify_message}, see the option ca" if refusal else "TLS failed, is it an https port?"
    if any(isinstance(cause, NameResolutionError | socket.gaierror) for cause in chain):
        return "unknown host name"
    tunnel = next((str(cause) for cause in chain if str(cause).startswith("Tunnel connection failed")), "")
    strerror = tunnel or next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), "")
    return strerror.lower() or f"the answer broke off ({type(chain[-1]).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk an exception and all it wraps, from the outside in, each once."""
    todo, seen = [error], set[int]()
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
        todo += [cause for cause in inner if isinstance(cause, BaseException)]
