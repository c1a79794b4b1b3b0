"""Servers that misbehave on the wire: every exchange ends at its deadline, and its thread with it."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from autopyfactory.http import Http, NoAnswer, cache_age

OK = b"HTTP/1.1 200 OK\r\n"


def request(connection: socket.socket) -> bytes:
    """Read a request with its body, or a greeting of TLS."""
    whole = b""
    while b"\r\n\r\n" not in whole and not whole.startswith(b"\x16"):
        whole += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = whole.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that answers each connection by `talk`, which must end soon after the event is set."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                request(connection)
                talk(connection, over)
            except OSError:
                over.set()  # the client cut the connection

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(connection,)))
            threads[-1].start()

    main = threading.Thread(target=serve)
    main.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (main, *threads):
            thread.join(10)


def drip(connection: socket.socket, over: threading.Event, head: bytes, piece: bytes) -> None:
    connection.sendall(head)
    while not over.wait(0.01):
        connection.sendall(piece)


def gone() -> bool:
    """Wait for the threads of all exchanges to end."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if not any(thread.name.startswith("src ") for thread in threading.enumerate()):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (OK, b"X: y\r\n"),
        (OK + b"X: ", b"y"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_server_that_drips_is_cut_at_the_deadline(head: bytes, piece: bytes) -> None:
    with server(lambda connection, over: drip(connection, over, head, piece)) as url:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match=r"within 0\.3 s"):
            Http("src").get(url, {}, 0.3)
        assert time.monotonic() - began < 1.5
        assert gone()


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait(20)


def test_a_server_that_says_nothing() -> None:
    with server(silent) as url:
        with pytest.raises(NoAnswer, match=r"^no whole answer within 0\.2 s$"):
            Http("src").get(url, {}, 0.2)
        assert gone()


def test_a_name_lookup_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait(20)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
        Http("src").get("http://panda.example.org/x", {}, 0.2)
    assert time.monotonic() - began < 1
    over.set()
    assert gone()


def test_lookups_that_hang_do_not_pile_up_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        over.wait(20)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    http, before = Http("src"), threading.active_count()
    for _ in range(8):
        with pytest.raises(NoAnswer, match="no whole answer"):
            http.get("http://panda.example.org/x", {}, 0.01)
    for _ in range(5):
        with pytest.raises(NoAnswer, match=r"^still busy with 8 earlier questions$"):
            http.get("http://panda.example.org/x", {}, 10)
    assert threading.active_count() - before <= 8
    over.set()
    assert gone()
    with pytest.raises(NoAnswer, match="unknown host name"):
        http.get("http://panda.example.org/x", {}, 10)


def test_a_connection_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    over, lookup = threading.Event(), socket.getaddrinfo

    def late(*arguments: Any, **named: Any) -> Any:
        over.wait(20)
        return lookup(*arguments, **named)

    with server(silent) as url:
        monkeypatch.setattr(socket, "getaddrinfo", late)
        with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
            Http("src").get(url, {}, 0.2)
        over.set()
        assert gone()


@pytest.mark.parametrize("begin", [b"", OK, OK + b"\r\nthe answer without a length looks who"])
def test_close_cuts_what_is_under_way(begin: bytes) -> None:
    asked = threading.Event()

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(begin)
        asked.set()
        over.wait(20)

    http = Http("src")
    caught: list[NoAnswer] = []

    def ask(url: str) -> None:
        try:
            http.get(url, {}, 30)
        except NoAnswer as error:
            caught.append(error)

    with server(talk) as url:
        thread = threading.Thread(target=ask, args=(url,))
        thread.start()
        asked.wait(10)
        began = time.monotonic()
        http.close()
        thread.join(10)
        assert time.monotonic() - began < 1
        assert caught[0].stopped
        assert gone()
        with pytest.raises(NoAnswer, match="the factory stops"):
            http.get(url, {}, 1)


def replying(reply: bytes) -> Callable[[socket.socket, threading.Event], None]:
    return lambda connection, _: connection.sendall(reply)


def test_a_whole_answer() -> None:
    reply = OK + b"AGE: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    with server(replying(reply)) as url:
        answer = Http("src").get(url, {"Accept": "application/json"}, 5)
    assert (answer.status, answer.headers["age"], answer.body) == (200, "7", b"abc")


def sent(
    method: str, headers: Mapping[str, str], body: bytes | None = None, beyond_proxy: str = ""
) -> tuple[list[str], bytes]:
    """Return the lines of the header that a call sends, to its server or a proxy, and its body."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            seen.append(request(connection))
            connection.sendall(OK + b"Content-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        here = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = Http("src", proxy=here.replace("//", "//apf:secret@") if beyond_proxy else "")
        http.call(method, beyond_proxy or f"{here}/x", headers, 5, body)
    finally:
        thread.join(10)
        listener.close()
    head, _, content = seen[0].partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), content


def test_exactly_our_header() -> None:
    lines, _ = sent("GET", {"Accept": "application/json"})
    assert "Accept: application/json" in lines
    assert "Connection: close" in lines
    assert sum(line.lower().startswith("accept:") for line in lines) == 1


@pytest.mark.parametrize("body", [b"", b"a=1", b"x" * 200_000])
def test_a_body_has_a_length(body: bytes) -> None:
    lines, content = sent("PUT", {"Content-Type": "text/plain"}, body)
    assert lines[0] == "PUT /x HTTP/1.1"
    assert {"Content-Type: text/plain", f"Content-Length: {len(body)}"} <= set(lines)
    assert not any("chunked" in line for line in lines)
    assert content == body


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (OK + b"Content-Length: 10\r\n\r\nabc", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "broke off"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "broke off"),
        (b"garbage\r\n\r\n", "broke off"),
        (b"", "broke off"),
        (OK + b"\r\n" + b"x" * 300, "exceeds 200 bytes"),
    ],
)
def test_half_an_answer_is_none(reply: bytes, why: str) -> None:
    with server(replying(reply)) as url:
        with pytest.raises(NoAnswer, match=why) as caught:
            Http("src", max_bytes=200).get(url, {}, 5)
        assert "\n" not in str(caught.value)


def test_of_a_long_answer_the_beginning_serves_where_that_is_enough() -> None:
    with server(replying(OK + b"Content-Length: 300\r\n\r\n" + b"x" * 300)) as url:
        assert Http("src", max_bytes=200, cut=True).get(url, {}, 5).body == b"x" * 200
        assert Http("src", max_bytes=300).get(url, {}, 5).body == b"x" * 300


@pytest.mark.parametrize(("status", "ok"), [(200, True), (201, True), (304, False), (404, False), (500, False)])
def test_any_status_is_an_answer(status: int, ok: bool) -> None:
    with server(replying(b"HTTP/1.1 %d Word\r\nContent-Length: 4\r\n\r\n\xc3\xa9\xff!" % status)) as url:
        answer = Http("src").get(url, {}, 5)
    assert (answer.status, answer.ok) == (status, ok)
    assert answer.text == ("" if status == 304 else "\u00e9\ufffd!")


def test_redirections_are_handed_back() -> None:
    with server(replying(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n")) as url:
        assert Http("src").get(url, {}, 5).status == 302


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server(replying(OK + b"Content-Length: 2\r\n\r\nok")) as url:
        assert Http("src").get(url, {}, 5).body == b"ok"


def test_nobody_listens() -> None:
    with server(silent) as url:
        pass
    with pytest.raises(NoAnswer, match=r"^connection refused$"):
        Http("src").get(url, {}, 5)


def test_a_proxy_is_given_the_whole_address_and_its_password() -> None:
    lines, _ = sent("GET", {}, beyond_proxy="http://nowhere.invalid/x")
    assert lines[0] == "GET http://nowhere.invalid/x HTTP/1.1"
    assert {"Host: nowhere.invalid", "Proxy-Authorization: Basic YXBmOnNlY3JldA=="} <= set(lines)


def test_tls_where_there_is_none() -> None:
    with server(replying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url:
        with pytest.raises(NoAnswer, match="TLS failed"):
            Http("src").get(url.replace("http:", "https:"), {}, 5)
        assert gone()


def test_a_proxy_that_refuses_a_tunnel() -> None:
    with server(replying(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")) as url:
        proxy = url.replace("http://", "http://apf:secret@").removesuffix("/x")
        with pytest.raises(NoAnswer, match=r"no way through http_proxy .*407") as caught:
            Http("src", proxy=proxy).get("https://127.0.0.1:9/x", {}, 5)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "age"),
    [
        ({}, 0.0),
        ({"Age": "0"}, 0.0),
        ({"Age": "92", "Warning": '110 squid/5.7 "Response is stale", 111 squid/5.7 "Revalidation failed"'}, 92.0),
        ({"Warning": '199 squid "whatever 110"'}, 0.0),
    ],
)
def test_the_age_a_cache_admits(headers: dict[str, str], age: float) -> None:
    assert cache_age(headers) == age


@pytest.mark.parametrize(
    "headers",
    [
        {"Warning": '110 squid/5.7 "Response is stale"'},
        {"Warning": '199 x "y", 111 squid/5.7 "Revalidation failed"'},
        {"Age": "-1"},
        {"Age": "1, 2"},
        {"Age": "soon"},
        {"Age": ""},
    ],
)
def test_an_unknown_age_is_no_information(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="unknown age"):
        cache_age(headers)
