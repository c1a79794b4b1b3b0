"""Stand-ins: a clock that moves when told, and a web that answers from a script."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autopyfactory.clock import Clock
from autopyfactory.http import Answer
from autopyfactory.wms.panda import Panda, PandaOptions

DATA = Path(__file__).parents[2] / "data" / "panda"

URL = "http://panda.example.org:25085"


class FakeClock(Clock):
    """A clock that stands still between two `advance`."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def sample(name: str) -> bytes:
    return (DATA / name).read_bytes()


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    """An answer; a body that is no text travels as JSON. `x_cache` stands for the header `X-Cache`."""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-").title(): value for name, value in headers.items()}, body)


def good(data: object, **headers: str) -> Answer:
    return answer({"success": True, "message": "", "data": data}, 200, **headers)


STATISTICS = answer(sample("v1_active_job_detailed_stats_by_site.json"))
SITES = good(
    {
        "LAB_UCORE": {"status": "online", "coreCount": 8, "maxtime": 345600},
        "LAB_UCORE/MCORE": {"status": "online", "coreCount": 8},
        "LAB_PROD": {"status": "BrokerOff", "coreCount": None},
        "LAB_IDLE": {"status": "test", "coreCount": 0},
    }
)


class FakeWeb:
    """Answers each GET by its method: an Answer, an exception, or a list of those, one per question."""

    def __init__(self, statistics: object = STATISTICS, sites: object = SITES) -> None:
        self.script = {"active_job_detailed_stats_by_site": statistics, "get_site_specs?type=all": sites}
        self.asked: list[tuple[str, Mapping[str, str], float]] = []

    def get(self, url: str, headers: Mapping[str, str], deadline: float) -> Answer:
        method = url.rpartition("/")[2]
        self.asked.append((method, dict(headers), deadline))
        reply = self.script[method]
        if isinstance(reply, list):
            reply = reply.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Answer)
        return reply

    def count(self, word: str) -> int:
        return sum(word in method for method, _, _ in self.asked)


def panda(web: FakeWeb, clock: Clock | None = None, **options: Any) -> Panda:
    return Panda("panda", PandaOptions(**{"url": URL} | options), clock or FakeClock(), get=web.get)
