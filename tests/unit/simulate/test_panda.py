"""The simulated PanDA speaks as the real one: the recorded answers are the measure."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError
from autopyfactory.simulate.faults import Fault
from autopyfactory.simulate.panda import SimulatedPanda, demo_queues
from autopyfactory.wms.panda import Panda, PandaOptions
from tests.unit.wms.fakes import sample

JSON = {"Accept": "application/json"}
DETAILED = "/api/v1/statistics/active_job_detailed_stats_by_site"


@pytest.fixture
def server() -> Iterator[SimulatedPanda]:
    with SimulatedPanda(demo_queues(), lag=0) as panda:
        yield panda


def get(server: SimulatedPanda, path: str, **headers: str) -> requests.Response:
    return requests.get(server.url + path, headers=headers or JSON, timeout=10)


def post(server: SimulatedPanda, method: str, **fields: Any) -> Any:
    return requests.post(f"{server.url}/api/v1/pilot/{method}", json=fields, timeout=10).json()


def source(server: SimulatedPanda, **options: Any) -> Panda:
    return Panda("panda", PandaOptions(**{"url": server.url, "lag": "0s"} | options), Clock())


def activated(panda: Panda, wmsqueue: str) -> int:
    return sum(cell.activated for cell in panda.jobs(wmsqueue).value)


def shape(value: Any) -> Any:
    """The form of a document: keys below two levels of names do not matter."""
    return {key: type(inner).__name__ for key, inner in value.items()}


def test_the_source_reads_it(server: SimulatedPanda) -> None:
    panda = source(server)
    assert activated(panda, "DEMO_SCORE") == 30
    assert panda.jobs("DEMO_ANALY").value[0].label == "user"
    assert panda.site("DEMO_MCORE").value.cores == 8
    assert panda.site("DEMO_TEST").value.status == "test"


def test_it_answers_in_the_real_form(server: SimulatedPanda) -> None:
    for path, name in (
        (DETAILED, "v1_active_job_detailed_stats_by_site.json"),
        ("/api/v1/metaconfig/get_site_specs?type=all", "v1_get_site_specs.json"),
        ("/api/v1/system/is_alive", "v1_is_alive.json"),
    ):
        reply = get(server, path)
        assert reply.headers["Content-Type"] == "text/plain"
        assert reply.headers["Transfer-Encoding"] == "chunked"
        assert not {"Cache-Control", "Vary", "Content-Length"} & set(reply.headers)
        assert shape(reply.json()) == shape(json.loads(sample(name)))
    specs = get(server, "/api/v1/metaconfig/get_site_specs?type=all").json()["data"]["DEMO_SCORE"]
    assert set(specs) <= set(json.loads(sample("v1_get_site_specs.json"))["data"]["LAB_UCORE"])
    assert set(get(server, "/api/v1/metaconfig/get_site_specs").json()["data"]) == {"DEMO_ANALY"}
    plain = get(server, "/api/v1/statistics/active_job_stats_by_site").json()["data"]
    assert plain["DEMO_SCORE"] == {"activated": 30, "assigned": 0, "running": 0}


@pytest.mark.parametrize("accept", ["", "*/*", "application/json, text/plain"])
def test_the_wrong_accept_gets_a_repr(server: SimulatedPanda, accept: str) -> None:
    text = get(server, DETAILED, Accept=accept).text
    assert text.startswith("{'success': True, 'message': '', 'data': {'DEMO_")
    assert "'activated': Decimal('30'), 'assigned': 0" in text


def test_errors_as_the_real_one_words_them(server: SimulatedPanda) -> None:
    assert requests.post(server.url + DETAILED, headers=JSON, timeout=10).json() == json.loads(
        sample("v1_wrong_verb.json")
    )
    assert get(server, DETAILED + "?computingsite=X").json() == json.loads(sample("v1_bad_param.json"))
    assert (get(server, "/api/v1/statistics/nosuch").status_code, get(server, "/x").status_code) == (403, 404)
    assert get(server, "/api/v1/statistics/nosuch").content in sample("v1_nosuch.http")
    assert post(server, "acquire_jobs", site_name="NOSUCH") == json.loads(sample("v1_acquire_nojob.json"))
    assert not post(server, "update_job", job_id=1, job_status="running")["success"]
    assert not post(server, "update_job", job_id="x", job_status="running")["success"]
    assert not post(server, "update_job")["success"]


def test_an_idle_system_looks_like_a_lost_database() -> None:
    with SimulatedPanda(demo_queues()[:0]) as server:
        assert get(server, DETAILED).json() == json.loads(sample("v1_db_down.json"))


def test_a_pilot_runs_a_job(server: SimulatedPanda) -> None:
    reply = post(server, "acquire_jobs", site_name="DEMO_MCORE", prod_source_label="managed", node="n1")
    (job,) = reply["data"]["jobs"]
    assert set(job) <= set(json.loads(sample("v1_acquire_jobs.json"))["data"]["jobs"][0])
    assert (job["coreCount"], job["jobPars"]) == (8, "12")
    update = f"{server.url}/api/v1/pilot/update_job"
    form = {"job_id": job["PandaID"], "job_status": "finished", "attempt_nr": 1}
    assert requests.post(update, data=form, headers=JSON, timeout=10).json() == json.loads(sample("v1_update_job.json"))
    assert server.totals()["DEMO_MCORE"].finished == 1
    assert post(server, "update_job", job_id=job["PandaID"], job_status="running")["data"]["command"] == "tobekilled"


def test_labels_of_pilots_and_jobs(server: SimulatedPanda) -> None:
    def acquire(name: str, label: str) -> bool:
        return bool(post(server, "acquire_jobs", site_name=name, prod_source_label=label)["success"])

    assert not acquire("DEMO_ANALY", "managed")
    assert acquire("DEMO_ANALY", "user")
    assert acquire("DEMO_ANALY", "unified")
    assert acquire("DEMO_TEST", "managed")  # in test: turned into label test


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("db_down", "Database failure"),
        ("repr", "no JSON but '{'success'"),
        ("html", "no JSON but '<html>"),
        ("truncated", "broke off"),
        ("http500", "HTTP 500"),
        ("hang", "within 0.3 s"),
        ("drip", "within 0.3 s"),
    ],
)
def test_faults_are_no_information_and_pass(server: SimulatedPanda, fault: Fault, says: str) -> None:
    server.fault = fault
    with pytest.raises(SourceError, match=says):
        source(server, deadline=0.3).jobs("DEMO_SCORE")
    server.fault = None
    assert activated(source(server), "DEMO_SCORE") == 30


def test_a_hundred_threads_are_one_question(server: SimulatedPanda) -> None:
    panda = source(server)
    threads = [threading.Thread(target=panda.jobs, args=("DEMO_SCORE",)) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.requests == {"active_job_detailed_stats_by_site": 1}


def test_it_stops_at_once_even_while_it_hangs() -> None:
    with SimulatedPanda(demo_queues()) as server:
        server.fault = "hang"
        with pytest.raises(SourceError):
            source(server, deadline=0.2).jobs("DEMO_SCORE")
        began = time.monotonic()
    assert time.monotonic() - began < 1
    with pytest.raises(SourceError, match="connection refused"):
        source(server).jobs("DEMO_SCORE")


def test_it_runs_alone() -> None:
    command = [sys.executable, "-m", "autopyfactory.simulate.panda", "--queue", "Q1,backlog=7,rate=0.5,cores=2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            assert activated(Panda("p", PandaOptions(url=url), Clock()), "Q1") == 7
        finally:
            process.terminate()
        assert json.loads(process.stdout.readline())["Q1"]["activated"] == 7
        assert process.wait(10) == 0
    wrong = subprocess.run([*command[:4], "Q1,wings=2"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "wings" in wrong.stderr
