"""The ways in which an HTTP answer goes wrong, on demand."""

import threading
from collections.abc import Iterator
from typing import Literal

from flask import Response

Fault = Literal["db_down", "repr", "html", "truncated", "hang", "http500", "drip"]

_LONG = 3600.0


def broken(body: str, fault: Fault, stopping: threading.Event) -> Response:
    """Return the answer as the fault leaves it; a server that hangs or drips does so until `stopping`."""
    if fault == "html":
        return Response("<html><body>Please log in</body></html>", content_type="text/html")
    if fault == "http500":
        return Response("ERROR : the server broke", status=500, content_type="text/plain")
    if fault == "truncated":
        half = Response(body[: len(body) // 2], content_type="text/plain")
        half.headers["Content-Length"] = str(len(body))
        return half
    if fault == "hang":
        stopping.wait(_LONG)
    if fault == "drip":
        return Response(_drip(body, stopping), content_type="text/plain")
    return Response(body, content_type="text/plain")


def _drip(body: str, stopping: threading.Event) -> Iterator[str]:
    for letter in body:
        yield letter
        if stopping.wait(0.2):
            return
