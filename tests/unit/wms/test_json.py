"""A number from any document."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from autopyfactory.batch.commands_words import Answer as Said
from autopyfactory.clock import Clock
from autopyfactory.command import Silent
from autopyfactory.errors import SourceError
from autopyfactory.http import Answer, NoAnswer
from autopyfactory.model import Site
from autopyfactory.wms.json import Json, JsonOptions
from tests.unit.wms.fakes import FakeClock, answer

DOCUMENT = {"queues": {"A": {"idle": 12, "run": 3, "state": "Online"}, "B": {"idle": 2.0, "run": None, "state": 7}}}
PATH = "queues.{wmsqueue}.idle"


class Web:
    """Answers each GET from a script."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.urls: list[str] = []

    def __call__(self, url: str, headers: Mapping[str, str], deadline: float) -> Answer:
        self.urls.append(url)
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Answer) else answer(found)


def source(*answers: Any, **options: Any) -> tuple[Json, Web, FakeClock]:
    web, clock = Web(*answers), FakeClock()
    given = {"url": "http://x.example.org/d", "activated": PATH, **options}
    return Json("doc", JsonOptions(**given), clock, get=web), web, clock


def reason(one: Json, wmsqueue: str = "A") -> str:
    with pytest.raises(SourceError) as caught:
        one.jobs(wmsqueue)
    return caught.value.reason


def test_one_document_serves_all() -> None:
    one, web, clock = source(
        DOCUMENT, running="queues.{wmsqueue}.run", status_path="queues.{wmsqueue}.state", label="prod", lag="30s"
    )
    heard = one.jobs("A")
    assert [(cell.label, dict(cell.by_status)) for cell in heard.value] == [("prod", {"activated": 12, "running": 3})]
    assert heard.speaks_of == clock.now() - 30
    assert one.site("A").value == Site("online")
    with pytest.raises(SourceError, match="running leads to nothing for 'B', not to a number of jobs"):
        one.jobs("B")
    with pytest.raises(SourceError, match="status_path leads to '7' for 'B', not to a word"):
        one.site("B")
    assert len(web.urls) == 1


def test_a_document_of_each() -> None:
    one, web, _ = source(
        {"n": 4}, {"n": 5}, url="http://x.example.org/{wmsqueue}/idle", activated="n", status="brokeroff"
    )
    assert [one.jobs(name).value[0].activated for name in ("A/1", "B", "A/1")] == [4, 5, 4]
    assert web.urls == ["http://x.example.org/A%2F1/idle", "http://x.example.org/B/idle"]
    assert one.site("A/1").value == Site("brokeroff")


def test_what_shows_the_same() -> None:
    one, _, _ = source({}, url="http://x.example.org/{wmsqueue}", activated="n", http_proxy="http://squid:3128")
    assert one.shows("A/1") == ["curl -sS -i -x http://squid:3128 http://x.example.org/A%2F1"]
    other = Json("x", JsonOptions(command="count 'of {wmsqueue}'", activated="n", url=""), Clock())
    assert other.shows("A") == ["count 'of A'"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"n": None}, "nothing"),
        ({}, "nothing"),
        ({"n": True}, "'True'"),
        ({"n": -1}, "'-1'"),
        ({"n": 1.5}, "'1.5'"),
        ({"n": "12"}, "'12'"),
        ({"n": [3]}, "'[3]'"),
        ({"n": 10**10}, "'10000000000'"),
        ([], "nothing"),
    ],
)
def test_what_is_no_number_is_unknown(value: Any, told: str) -> None:
    one, _, _ = source(value, activated="n")
    wrong = f"activated leads to {told} for 'A', not to a number of jobs"
    assert reason(one) == f"{wrong}: is the wmsqueue right, and the path?"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer("<html>"), "no JSON but '<html>'"),
        (answer({"n": 1}, 503), "http://x.example.org/d answered HTTP 503"),
        (NoAnswer("no whole answer within 20 s"), "http://x.example.org/d: no whole answer within 20 s"),
    ],
)
def test_a_bad_answer(given: Any, said: str) -> None:
    one, _, _ = source(given)
    assert reason(one) == said


def test_a_name_that_breaks_the_path_and_a_cache() -> None:
    one, _, clock = source(answer(DOCUMENT, age="90"))
    assert reason(one, "a b").startswith(
        "activated cannot be used for 'a b': 'queues.a b.idle' is no JMESPath expression"
    )
    assert one.jobs("A").speaks_of == clock.now() - 90
    one.close()
    assert reason(one) == "the factory stops"


def test_a_command() -> None:
    said: list[Said | Exception] = [
        Said(0, json.dumps({"n": 3})),
        Silent("count: no answer within 20 s"),
        Said(2, "", "no such queue"),
    ]
    calls: list[list[str]] = []

    class Run:
        def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Said:
            calls.append(list(argv))
            found = said.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        def close(self) -> None:
            pass

    options = JsonOptions(command="count --of '{wmsqueue}' --all", activated="n")
    one = Json("doc", options, FakeClock(), run=Run())
    assert one.jobs("A; rm").value[0].activated == 3
    assert calls == [["count", "--of", "A; rm", "--all"]]
    assert reason(one, "B") == "count: no answer within 20 s"
    assert reason(one, "C") == "count ended with 2: no such queue"
    one.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activated": "n"}, "set either url or command"),
        ({"url": "http://x", "command": "y", "activated": "n"}, "set either url or command"),
        ({"url": "ftp://x", "activated": "n"}, "is no address that begins with http"),
        ({"url": "http://x", "activated": ""}, "activated is empty"),
        ({"url": "http://x", "activated": "a["}, "is no JMESPath expression"),
        ({"url": "http://x", "activated": "n", "lag": "5m"}, "max_age must be more than lag and interval"),
    ],
)
def test_options(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        JsonOptions(**options)
