"""One exchange has one deadline, whatever the server does, and can be abandoned."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from autopyfactory.monitor.http import Http, NoAnswer
from tests.testbed.apfmon import ApfmonServer


@pytest.fixture
def server() -> Iterator[ApfmonServer]:
    with ApfmonServer() as server:
        yield server


def call(http: Http, url: str) -> int:
    return http.call("GET", url, b"", {}).status


def test_any_status_is_an_answer(server: ApfmonServer) -> None:
    http = Http(deadline=5)
    assert call(http, f"{server.url}/factories") == 200
    assert call(http, f"{server.url}/factories/none") == 404
    server.http500 = True
    assert call(http, f"{server.url}/factories") == 500


def test_nobody_listens(server: ApfmonServer) -> None:
    server.stop()
    with pytest.raises(NoAnswer, match=r"^Connection refused$"):
        call(Http(deadline=5), server.url)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_deadline_holds_for_the_whole(server: ApfmonServer, fault: str) -> None:
    server.drip = fault == "drip"
    server.hang(fault == "hang")
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=r"^no whole answer within 0\.2 s$"):
        call(Http(deadline=0.2), f"{server.url}/factories")
    assert time.monotonic() - began < 2


def test_dripping_head_does_not_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def drip() -> None:
            line, _ = listener.accept()
            with line:
                line.sendall(b"HTTP/1.1 200 OK\r\n")
                try:
                    while not over.wait(0.02):
                        line.sendall(b"X-Drip: 1\r\n")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(NoAnswer, match="no whole answer"):
                call(Http(deadline=0.2), f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            over.set()
            thread.join()


def test_close_abandons_a_call_under_way(server: ApfmonServer) -> None:
    server.hang()
    http = Http(deadline=60)
    failures: list[str] = []

    def ask() -> None:
        try:
            call(http, server.url)
        except NoAnswer as error:
            failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    assert server.asked.wait(5)
    http.close()
    thread.join(5)
    assert failures == ["abandoned"]
    with pytest.raises(NoAnswer, match="abandoned"):
        call(http, server.url)


def test_body_has_a_length_and_no_environment_is_read(server: ApfmonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    answer = Http(deadline=5).call("PUT", f"{server.url}/factories/F", b'{"email":"","url":"","version":"3"}', {})
    assert answer.status == 201


def test_goes_through_a_proxy(server: ApfmonServer) -> None:
    proxy = server.url.removesuffix("/api")
    answer = Http(deadline=5, http_proxy=proxy).call("GET", "http://nowhere.invalid/api/factories", b"", {})
    assert answer.status == 404  # the stand-in is given the whole address, as a proxy is
    assert server.calls[-1][1] == "http://nowhere.invalid/api/factories"


def test_long_answers_are_cut(server: ApfmonServer) -> None:
    server.store.factories.clear()
    http = Http(deadline=5)
    body = b'{"email": "%s", "url": "", "version": "3"}' % (b"x" * 200_000)
    assert len(http.call("PUT", f"{server.url}/factories/F", body, {}).text) == 65536
