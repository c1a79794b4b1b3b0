"""The apfmon client against a stand-in that refuses what the real monitor refuses."""

import json
import logging
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from autopyfactory import __version__
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions
from autopyfactory.errors import MonitorError
from autopyfactory.model import EndedPilot
from autopyfactory.monitor import Monitor
from autopyfactory.monitor.apfmon import Apfmon, ApfmonOptions
from autopyfactory.report import Blocked
from tests.testbed.apfmon import ApfmonServer
from tests.testbed.apfmon_store import Reply
from tests.unit.monitor.kit import FACTORY, Hands, connect, report


@pytest.fixture
def server() -> Iterator[ApfmonServer]:
    with ApfmonServer() as server:
        yield server


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def monitor(server: ApfmonServer, clock: Hands) -> Apfmon:
    return connect(server, clock)


def paths(server: ApfmonServer) -> list[str]:
    return [f"{method} {path.removeprefix('/api')}" for method, path, _ in server.calls]


def states(server: ApfmonServer) -> dict[str, tuple[str, int]]:
    return {job.cid: (job.state, job.result) for job in server.jobs.values()}


def test_contract(monitor: Apfmon, server: ApfmonServer) -> None:
    told: Monitor = monitor
    assert told.pilot_url == server.url


def test_factory_labels_jobs_status_in_this_order(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report("A", cids=["1.0", "1.1"]), report("B/x.1")], [])
    assert paths(server) == [
        "PUT /factories/BNL-1",
        "PUT /labels",
        "PUT /jobs",
        "POST /labels/BNL-1:A",
        "POST /labels/BNL-1:B/x.1",
    ]
    factory = server.factories["BNL-1"]
    assert (factory.email, factory.url) == ("apf@example.org", "http://f.example.org:25880/logs")
    assert (factory.version, factory.type) == (__version__, "AutoPyFactory")
    label = server.labels["BNL-1:A"]
    assert (label.batchqueue, label.resource, label.localqueue) == ("ANALY_CAM", "ce1:9619", "atlas")
    assert label.msg.endswith(",ret=2")
    assert states(server) == {"1.0": ("created", -1), "1.1": ("created", -1)}


def test_nothing_is_told_twice(monitor: Apfmon, server: ApfmonServer) -> None:
    for _ in range(2):
        monitor.send([report(cids=["1.0"])], [EndedPilot("1.0", "Q", "s", 0)])
    told = paths(server)
    assert len(set(told)) == len(told) - 3  # one pilot: done, running, exiting, done
    assert server.factories["BNL-1"].startups == 1


def test_shards(server: ApfmonServer, clock: Clock) -> None:
    monitor = connect(server, clock, batch=50)
    reports = [report(f"Q{n}", cids=[f"{n}.0"]) for n in range(120)]
    monitor.send(reports, [])
    sizes = [len(json.loads(body)) for method, path, body in server.calls if path in {"/api/labels", "/api/jobs"}]
    assert sizes == [50, 50, 20] * 2
    assert (len(server.labels), len(server.jobs)) == (120, 120)


def test_only_the_latest_status_of_a_queue_is_told(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report(at=1, cids=["1.0"]), report(at=2, blocked=Blocked("a; b"), decision=None)], [])
    assert [body for _, path, body in server.calls if path.endswith(":Q")] == [
        "status=ready%3D1%2Cactivated%3Dunknown%2Cblocked%3Da%2C%20b%2Cret%3D0"
    ]
    assert "1.0" in states(server)


@pytest.mark.parametrize(
    ("pilot", "wrapper", "end"),
    [
        (EndedPilot("1.0", "Q", "s", 0), ["running", "exiting&rc=7"], ("done", 7)),
        (EndedPilot("1.0", "Q", "s", 3), ["running"], ("done", 3)),
        (EndedPilot("1.0", "Q", "s", 3), [], ("done", 3)),
        (EndedPilot("1.0", "Q", "s"), [], ("done", -1)),
        (EndedPilot("1.0", "Q", "s", -9), [], ("done", 137)),
        (EndedPilot("1.0", "Q", "s", 2**31), [], ("done", 32767)),
        (EndedPilot("1.0", "Q", "s", fault="removed"), [], ("fault", -1)),
        (EndedPilot("1.0", "Q", "s", 1, fault="lost"), ["running"], ("fault", -1)),
        (EndedPilot("1.0", "Q", "s", 0), ["fault"], ("fault", -1)),
    ],
)
def test_end_of_a_pilot(
    monitor: Apfmon,
    server: ApfmonServer,
    pilot: EndedPilot,
    wrapper: list[str],
    end: tuple[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor.send([report(cids=["1.0"])], [])
    for state in wrapper:
        server.store.handle("POST", "/jobs/BNL-1:1.0", f"state={state}".encode(), "192.0.2.1")
    monitor.send([], [pilot])
    assert states(server) == {"1.0": end}
    assert not caplog.records


def test_done_refused_from_our_address_is_left_to_the_monitor(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report(cids=["1.0"])], [])
    server.factories["BNL-1"].ip = "192.0.2.1"
    monitor.send([], [EndedPilot("1.0", "Q", "s", 0)])
    assert states(server) == {"1.0": ("exiting", 0)}
    calls = len(server.calls)
    monitor.send([], [])
    assert len(server.calls) == calls


def test_end_that_overtakes_the_submission(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([], [EndedPilot("1.0", "Q", "s", 0)])
    monitor.send([report(cids=["1.0"])], [])
    assert states(server) == {"1.0": ("done", 0)}
    assert server.labels["BNL-1:Q"].batchqueue == "ANALY_CAM"


def test_monitor_restarted_empty_gets_everything_again(
    monitor: Apfmon, server: ApfmonServer, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.send([report("A", cids=["1.0", "1.1"]), report("B", cids=["2.0"])], [])
    monitor.send([], [EndedPilot("1.0", "A", "s", 0)])
    server.forget()
    monitor.send([report("A", 1060)], [])
    assert set(server.labels) == {"BNL-1:A", "BNL-1:B"}
    assert states(server) == {"1.1": ("created", -1), "2.0": ("created", -1)}
    assert server.labels["BNL-1:A"].msg.endswith("ret=0")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("first", ["status", "jobs", "labels", "end"])
def test_whatever_call_finds_the_monitor_empty(monitor: Apfmon, server: ApfmonServer, first: str) -> None:
    monitor.send([report("A", cids=["1.0"])], [])
    server.forget()
    again = {
        "status": ([report("A", 1060)], []),
        "jobs": ([report("A", 1060, cids=["1.1"])], []),
        "labels": ([report("B", 1060)], []),
        "end": ([], [EndedPilot("1.0", "A", "s", 0)]),
    }
    monitor.send(*again[first])
    assert "BNL-1" in server.factories
    assert "BNL-1:A" in server.labels
    assert "1.0" in states(server)


def test_lost_label_and_lost_job_come_back_alone(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report("A", cids=["1.0", "1.1"])], [])
    del server.labels["BNL-1:A"]
    monitor.send([report("A", 1060, cids=["1.2"])], [])
    del server.jobs["BNL-1:1.1"]
    monitor.send([], [EndedPilot("1.1", "A", "s", 0)])
    assert states(server) == {"1.0": ("created", -1), "1.1": ("done", 0), "1.2": ("created", -1)}
    assert server.factories["BNL-1"].startups == 1


def test_monitor_that_keeps_nothing_costs_one_warning(
    monitor: Apfmon, server: ApfmonServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.store, "put_labels", lambda body: Reply(200, "Created 0/1 label, 0 updated"))
    for at in (1000, 1060):
        monitor.send([report("A", at, cids=[f"{at}.0"])], [EndedPilot(f"{at}.0", "A", "s", 0)])
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(set(warnings)) == 4
    assert warnings[0] == f"monitor apfmon: PUT /labels at {server.url} answered 200: Created 0/1 label, 0 updated"
    assert len(server.calls) < 60


def test_down_monitor_gets_all_when_it_is_back(monitor: Apfmon, server: ApfmonServer) -> None:
    server.stop()
    told = ([report("A", cids=["1.0"])], [EndedPilot("1.0", "A", "s", 0)])
    for _ in range(2):
        with pytest.raises(
            MonitorError, match=r"^monitor apfmon: PUT /factories at http://\S+/api: connection refused$"
        ):
            monitor.send(*told)
    server.start()
    monitor.send(*told)
    assert states(server) == {"1.0": ("done", 0)}


@pytest.mark.parametrize("fault", ["http500", "hang"])
def test_failing_monitor_is_a_monitor_error(server: ApfmonServer, clock: Clock, fault: str) -> None:
    monitor = connect(server, clock, deadline="0.2s")
    server.http500 = fault == "http500"
    server.hang(fault == "hang")
    with pytest.raises(MonitorError, match=r"answered 500|no whole answer within 0\.2 s"):
        monitor.send([report()], [])


def test_address_without_the_api_is_said(server: ApfmonServer, clock: Clock) -> None:
    monitor = connect(server, clock, url=server.url.removesuffix("/api"))
    with pytest.raises(MonitorError, match=r"PUT /factories at .* answered 404"):
        monitor.send([report()], [])


def test_names_the_monitor_chokes_on_are_never_sent(
    monitor: Apfmon, server: ApfmonServer, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["a:b", "a b", "x" * 65, "a/../b", "/a", "a/", "a;b", "é", "a%b", "a?b"]
    for _ in range(2):
        monitor.send([report(name, cids=["9.9"]) for name in bad], [EndedPilot("9.9", name, "s") for name in bad])
    assert paths(server) == ["PUT /factories/BNL-1"]
    assert len(caplog.records) == len(bad)
    caplog.clear()
    monitor.send([report("Q", cids=["https://arc:443/jobs/1", "1234567890.123456", "1.0"])], [])
    assert states(server) == {"1.0": ("created", -1)}
    assert len(caplog.records) == 1


def test_factory_and_cid_fit_one_column_together(server: ApfmonServer, clock: Clock) -> None:
    monitor = connect(server, clock, FactoryOptions(id="f" * 64))
    monitor.send([report(cids=["123456789.123456", "12345678.123456"])], [])
    assert set(states(server)) == {"12345678.123456"}


def test_dry_run_registers_no_pilots(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report(cids=["1.0"], dry_run=True)], [])
    assert not server.jobs
    assert "dry run" in server.labels["BNL-1:Q"].msg


def test_quiet_factory_is_registered_again(monitor: Apfmon, server: ApfmonServer, clock: Hands) -> None:
    monitor.send([], [])
    clock.at += 800
    monitor.send([report(cids=["1.0"])], [])
    clock.at += 800
    monitor.send([], [])
    assert server.factories["BNL-1"].startups == 1
    clock.at += 101
    monitor.send([], [])
    assert server.factories["BNL-1"].startups == 2


def test_queue_that_changes_is_told(monitor: Apfmon, server: ApfmonServer) -> None:
    monitor.send([report()], [])
    monitor.send([report(at=1060, wmsqueue="OTHER")], [])
    assert server.labels["BNL-1:Q"].batchqueue == "OTHER"


def test_memory_is_bounded(server: ApfmonServer, clock: Clock) -> None:
    monitor = Apfmon("apfmon", ApfmonOptions(url=server.url), FACTORY, clock, memory=3)
    monitor.send([report(cids=[f"1.{n}" for n in range(10)])], [])
    server.forget()
    monitor.send([report(at=1060)], [])
    assert set(states(server)) == {"1.7", "1.8", "1.9"}


def test_memory_is_bounded_during_an_outage(server: ApfmonServer, clock: Clock) -> None:
    monitor = Apfmon("apfmon", ApfmonOptions(url=server.url), FACTORY, clock, memory=3)
    server.http500 = True
    for turn in range(5):
        with pytest.raises(MonitorError):
            monitor.send([report(at=turn, cids=[f"{turn}.0", f"{turn}.1"])], [])
    server.http500 = False
    monitor.send([report(at=9, cids=[f"9.{n}" for n in range(5)])], [])
    assert set(states(server)) == {"3.1", "4.0", "4.1", *(f"9.{n}" for n in range(5))}


def test_closed_monitor_fails_at_once(monitor: Apfmon) -> None:
    monitor.close()
    with pytest.raises(MonitorError, match="the factory stops"):
        monitor.send([], [])


@pytest.mark.parametrize(
    "url", ["apfmon.example.org/api", "ftp://h/api", "http://", "http://u:p@h/api", "http://h/api?x"]
)
def test_wrong_address_says_how_to_write_it(url: str) -> None:
    with pytest.raises(ValidationError, match=r"write for example http://apfmon\.example\.org/api"):
        ApfmonOptions.model_validate({"url": url})


def test_trailing_slash_is_taken_off() -> None:
    assert ApfmonOptions.model_validate({"url": "http://h/api/"}).url == "http://h/api"


def test_wrong_proxy_says_how_to_write_it() -> None:
    with pytest.raises(ValidationError, match=r"write for example http://squid\.example\.org:3128"):
        ApfmonOptions.model_validate({"url": "http://h/api", "http_proxy": "squid:3128"})
