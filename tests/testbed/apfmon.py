"""A stand-in for the monitor apfmon: its REST API with the state machine and the refusals of the real one.

In memory, on 127.0.0.1. `python -m tests.testbed.apfmon --port N --dump FILE` serves it as a process.
"""

import argparse
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.testbed.apfmon_store import Factory, Job, Label, Reply, Store


class ApfmonServer:
    """The stand-in over HTTP, with switches for what goes wrong.

    `http500`: every request fails; `failing`: those of these numbers do, counted from 0. `hang`: no answer
    until it is switched off. `drip`: an answer that never ends, a byte at a time. `stop` and `start` again:
    down, on the same port. `asked` is set by every request.
    """

    def __init__(self, port: int = 0, *, fault_from_anyone: bool = True) -> None:
        self.store = Store(fault_from_anyone)
        self.calls: list[tuple[str, str, str]] = []
        self.http500 = False
        self.failing: set[int] = set()
        self.drip = False
        self.asked = threading.Event()
        self._free = threading.Event()
        self._free.set()
        self._port = port
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self._port}/api"

    @property
    def factories(self) -> dict[str, Factory]:
        """The factories by name."""
        return self.store.factories

    @property
    def labels(self) -> dict[str, Label]:
        """The labels by `factory:label`."""
        return self.store.labels

    @property
    def jobs(self) -> dict[str, Job]:
        """The jobs by `factory:cid`."""
        return self.store.jobs

    def start(self) -> None:
        """Listen, after a stop on the same port again."""
        server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        server.daemon_threads = True
        server.block_on_close = False
        self._port = server.server_port
        self._server = server
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        self._free.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def hang(self, on: bool = True) -> None:
        """Answer nothing until it is switched off."""
        self._free.clear() if on else self._free.set()

    def forget(self) -> None:
        """Know nothing, like a server restarted with an empty database."""
        self.store = Store(self.store.fault_from_anyone)

    def answer(self, method: str, path: str, body: bytes, ip: str) -> Reply:
        """Answer one request as the switches say."""
        self.asked.set()
        self._free.wait()
        self.calls.append((method, path, body.decode()))
        if self.http500 or len(self.calls) - 1 in self.failing:
            return Reply(500, "<h1>Server Error (500)</h1>")
        if not path.startswith("/api/"):
            return Reply(404, "<h1>Not Found</h1>")
        try:
            return self.store.handle(method, path.removeprefix("/api"), body, ip)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return Reply(500, f"<h1>Server Error (500)</h1> {error!r}")


def _handler(server: ApfmonServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def reply(self) -> None:
            length = self.headers.get("Content-Length", "0" if self.command == "GET" else "")
            if not length.isdigit():
                self.send_error(400)
                return
            answer = server.answer(self.command, self.path, self.rfile.read(int(length)), self.client_address[0])
            text = answer.text.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/plain")
            if not server.drip:
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            while server.drip:
                self.wfile.write(b".")
                time.sleep(0.02)

        do_GET = do_PUT = do_POST = do_DELETE = reply

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the tests' output clean."""

    return Handler


def main() -> None:
    """Serve until SIGTERM or SIGINT, then write what is known to the dump."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dump", type=Path)
    options = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with ApfmonServer(options.port) as server:
        print(server.url, flush=True)
        over.wait()
        if options.dump:
            options.dump.write_text(server.store.dump())


if __name__ == "__main__":
    main()
