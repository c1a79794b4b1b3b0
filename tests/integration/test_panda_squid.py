"""PanDA through a real squid: cached, stale, dead, mixed up and back."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError
from autopyfactory.simulate.jobs import SimulatedQueue
from autopyfactory.simulate.panda import SimulatedPanda
from autopyfactory.wms import panda_v1
from autopyfactory.wms.panda import Panda, PandaOptions
from tests.testbed.squid import Squid

pytestmark = pytest.mark.xdist_group("squid")

QUEUES = (SimulatedQueue("Q1", backlog=5), SimulatedQueue("IDLE"))
STATISTICS = "active_job_detailed_stats_by_site"

Made = Callable[..., Squid]


@pytest.fixture
def server() -> Iterator[SimulatedPanda]:
    with SimulatedPanda(QUEUES, lag=0) as panda:
        yield panda


@pytest.fixture
def made() -> Iterator[Made]:
    """Make squids that run, in a folder that squid's own user can reach."""
    base = Path(tempfile.mkdtemp(prefix="apf-squid-"))
    base.chmod(0o755)
    squids: list[Squid] = []

    def make(**options: Any) -> Squid:
        squids.append(Squid(base / str(len(squids)), **options).start())
        return squids[-1]

    yield make
    for squid in squids:
        squid.kill()
    shutil.rmtree(base)


def before(server: SimulatedPanda) -> int:
    return int(server.url.rpartition(":")[2])


def source(url: str, **options: Any) -> Panda:
    quick = {"lag": "0s", "interval": "0.1s", "max_age": "5m", "deadline": "5s"}
    return Panda("panda", PandaOptions(**{"url": url} | quick | options), Clock())


def activated(panda: Panda, wmsqueue: str = "Q1") -> int:
    return sum(cell.activated for cell in panda.jobs(wmsqueue).value)


def again(panda: Panda) -> int:
    """Ask anew: the interval of the source has passed."""
    time.sleep(0.15)
    return activated(panda)


def eventually(ask: Callable[[], int], within: float = 15.0) -> int:
    end = time.monotonic() + within
    while True:
        try:
            return ask()
        except SourceError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def hits(squid: Squid) -> int:
    return sum("TCP_MEM_HIT" in line for line in squid.access_log)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("accelerator", [False, True])
def test_hit_and_miss(server: SimulatedPanda, made: Made, *, forced: bool, accelerator: bool) -> None:
    if accelerator:
        squid = made(origin=before(server), forced=forced)
        panda = source(squid.url)
    else:
        squid = made(forced=forced)
        panda = source(server.url, http_proxy=squid.url)
    assert activated(panda) == 5
    assert panda.jobs("IDLE").value == ()
    server.jobs.add("Q1", 2)
    assert again(panda) == (5 if forced else 7)
    asked = server.requests[STATISTICS]
    assert asked == 1 if forced else asked >= 2
    assert bool(hits(squid)) == forced


def test_the_age_survives_a_second_squid(server: SimulatedPanda, made: Made) -> None:
    outer = made(origin=before(server), forced=True)
    inner = made()
    panda = source(outer.url, http_proxy=inner.url)
    assert activated(panda) == 5
    time.sleep(2.1)
    heard = panda.jobs("Q1")
    assert heard.began - heard.speaks_of >= 1
    assert server.requests[STATISTICS] == 1
    # The inner one asks whether its copy still holds, and the outer one answers that from its cache.
    assert sum("TCP_IMS_HIT/304" in line for line in outer.access_log) == 1


def test_old_counts_of_a_dead_server_are_old(server: SimulatedPanda, made: Made) -> None:
    squid = made(origin=before(server), forced=True)
    panda = source(squid.url, max_age="3s")
    heard = panda.jobs("Q1")
    server.stop()
    time.sleep(1.6)
    cached = panda.jobs("Q1")
    assert cached.began > heard.began + 1.5
    assert cached.began - cached.speaks_of >= 1
    time.sleep(3)
    with pytest.raises(SourceError, match=r"from a cache, too old \(last good answer speaks of [3-6] s ago\)"):
        panda.jobs("Q1")
    assert hits(squid) >= 2


def test_stale_counts_that_squid_warns_of(server: SimulatedPanda, made: Made) -> None:
    squid = made(origin=before(server))
    panda = source(squid.url, max_age="4s")
    server.extra_headers = {"Cache-Control": "max-age=1"}
    assert activated(panda) == 5
    server.stop()
    time.sleep(2.2)
    stale = requests.get(squid.url + panda_v1.STATISTICS, headers={"Accept": "application/json"}, timeout=5)
    assert "110 squid/" in stale.headers["Warning"]
    assert int(stale.headers["Age"]) >= 2
    heard = panda.jobs("Q1")
    assert heard.began - heard.speaks_of >= 2
    time.sleep(3)
    with pytest.raises(SourceError, match="too old"):
        panda.jobs("Q1")


def test_a_dead_server_behind_an_empty_squid(server: SimulatedPanda, made: Made) -> None:
    port = before(server)
    squid = made(origin=port)
    server.stop()
    panda = source(squid.url)
    with pytest.raises(SourceError, match=r"HTTP 50[34], the squid says ERR_CONNECT_FAIL 111"):
        panda.jobs("Q1")
    with SimulatedPanda(QUEUES, lag=0, port=port):
        assert eventually(lambda: activated(panda)) == 5


def test_squid_killed_and_back(server: SimulatedPanda, made: Made) -> None:
    squid = made(origin=before(server))
    panda = source(squid.url, max_age="2s")
    assert activated(panda) == 5
    squid.kill()
    assert again(panda) == 5  # the last good answer serves while it is young
    time.sleep(2.2)
    with pytest.raises(SourceError, match="connection refused"):
        panda.jobs("Q1")
    squid.start()
    server.jobs.add("Q1", 1)
    assert eventually(lambda: activated(panda)) == 6


def test_the_site_squid_killed_and_back(server: SimulatedPanda, made: Made) -> None:
    squid = made()
    squid.kill()
    panda = source(server.url, http_proxy=squid.url)
    with pytest.raises(SourceError, match="no way through http_proxy"):
        panda.jobs("Q1")
    squid.start()
    assert eventually(lambda: activated(panda)) == 5


def test_a_mixed_up_cache_is_mended(server: SimulatedPanda, made: Made) -> None:
    squid = made(origin=before(server), forced=True)
    careless = requests.get(squid.url + panda_v1.STATISTICS, timeout=5)
    assert careless.text.startswith("{'success': True")
    accept = {"Accept": "application/json"}
    assert requests.get(squid.url + panda_v1.STATISTICS, headers=accept, timeout=5).text == careless.text
    assert activated(source(squid.url)) == 5
    assert requests.get(squid.url + panda_v1.STATISTICS, headers=accept, timeout=5).json()["success"]
    assert server.requests[STATISTICS] == 2


@pytest.mark.parametrize("fault", ["db_down", "html", "truncated", "http500", "hang", "drip"])
def test_what_a_squid_passes_on_is_no_information(server: SimulatedPanda, made: Made, fault: Any) -> None:
    panda = source(made(origin=before(server)).url, deadline="1s")
    server.fault = fault
    began = time.monotonic()
    with pytest.raises(SourceError):
        panda.jobs("Q1")
    with pytest.raises(SourceError):
        panda.jobs("IDLE")
    assert time.monotonic() - began < 3
    server.fault = None
    assert eventually(lambda: activated(panda)) == 5


def test_a_failure_that_squid_keeps_is_no_information(server: SimulatedPanda, made: Made) -> None:
    panda = source(made(origin=before(server), forced=True).url)
    server.fault = "db_down"
    with pytest.raises(SourceError, match="success false"):
        panda.jobs("Q1")
    server.fault = None
    time.sleep(1.5)
    with pytest.raises(SourceError, match="success false"):
        panda.jobs("Q1")
    assert server.requests[STATISTICS] == 1


def test_one_question_per_interval_for_a_hundred_threads(server: SimulatedPanda, made: Made) -> None:
    panda = source(made(origin=before(server)).url, interval="1s")
    began = time.monotonic()
    asked = [0] * 100

    def ask(number: int) -> None:
        while time.monotonic() - began < 3.5:
            assert activated(panda) == 5
            assert panda.site("Q1").value.status == "online"
            asked[number] += 1
            time.sleep(0.1)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(asked) > 1000
    assert server.requests[STATISTICS] == 4
    assert server.requests["get_site_specs"] == 1
