"""What the pure readers of PanDA's answers take and refuse."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import JobCount, Site
from autopyfactory.wms import panda_v1
from autopyfactory.wms.panda_v1 import NotJson
from tests.unit.wms.fakes import sample

Q = {"SCORE": {"managed": {"activated": 1}}}


def read(body: bytes) -> panda_v1.Statistics:
    return panda_v1.statistics(panda_v1.entries(panda_v1.envelope(body)))


def test_a_genuine_answer() -> None:
    jobs = read(sample("v1_active_job_detailed_stats_by_site.json")).jobs
    assert set(jobs) == {"LAB_ANALY", "LAB_PROD", "LAB_UCORE", "LAB_TEST"}
    assert jobs["LAB_UCORE"] == (
        JobCount("SCORE", "managed", {"activated": 25, "running": 4, "assigned": 0}),
        JobCount("MCORE", "user", {"activated": 3, "running": 0, "assigned": 0}),
    )
    assert jobs["LAB_PROD"][0].by_status["transferring"] == 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("v1_db_down.json", "database is down"),
        ("v1_no_jobs.json", "no jobs at all"),
        ("v1_wrong_verb.json", "expecting GET, received POST"),
        ("v1_bad_param.json", "unexpected keyword argument"),
        ("v1_secure_on_http.json", "SSL secure connection is required"),
        ("v1_is_alive.json", "data is null"),
        ("v1_active_job_stats_by_site.json", "another shape, LAB_PROD: "),
        ("v1_get_site_specs.json", "another shape, LAB_UCORE: "),
        ("v1_update_job.json", "another shape"),
        ("v1_acquire_nojob.json", "No jobs in PanDA"),
        ("v1_active_job_stats_by_site.no-accept.txt", "no JSON but '{'success': True"),
        ("v1_nosuch.http", "no JSON but"),
    ],
)
def test_genuine_answers_that_are_no_statistics(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(sample(name))


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"<html></html>", b'{"success": true', b"\xff\xfe", b"[" * 100_000, b"{'success': True}", b"NaN"],
)
def test_no_json(body: bytes) -> None:
    with pytest.raises(NotJson):
        panda_v1.envelope(body)


@pytest.mark.parametrize("document", [[], 1, None, {}, {"success": 1}, {"success": "true", "data": {"Q": Q}}])
def test_json_without_the_frame(document: object) -> None:
    with pytest.raises(ValueError, match="another shape"):
        panda_v1.envelope(json.dumps(document).encode())


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        [],
        {},
        {"SCORE": {}},
        {"SCORE": {"managed": {}}},
        {"SCORE": {"managed": {"activated": -1}}},
        {"SCORE": {"managed": {"activated": "7"}}},
        {"SCORE": {"managed": {"activated": None}}},
        {"SCORE": {"managed": {"activated": True}}},
        {"SCORE": {"managed": {"activated": 1.5}}},
        {"SCORE": {"managed": {"activated": 10**12}}},
        {"SCORE": {"managed": 7}},
        {"activated": 7},
    ],
)
def test_one_bad_entry_takes_out_its_own_queue_only(entry: object) -> None:
    value = panda_v1.statistics({"BAD": entry, "GOOD": Q})
    assert set(value.bad) == {"BAD"}
    assert set(value.jobs) == {"GOOD"}


def test_unknown_status_words_are_named_and_not_counted() -> None:
    value = panda_v1.statistics({"Q": {"SCORE": {"managed": {"activated": 2, "levitating": 3}}}})
    assert value.strange == {"levitating"}
    assert value.jobs["Q"][0].by_status == {"activated": 2}


def test_the_site_table() -> None:
    table = panda_v1.site_table(
        panda_v1.entries(panda_v1.envelope(sample("v1_get_site_specs.json")))
        | {"A": {"status": " Test "}, "B": {"status": "online", "coreCount": 0}, "C": {"status": None}, "D/MCORE": {}}
    )
    assert table.sites == {"LAB_UCORE": Site("online", 8), "A": Site("test"), "B": Site("online")}
    assert set(table.bad) == {"C", "D/MCORE"}
    assert table.names == {"LAB_UCORE", "A", "B", "C", "D/MCORE"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (403, {"Content-Type": "text/plain"}, b"ERROR : method nosuch is forbidden\n", "check the option url"),
        (404, {}, b"<html>", "wrong url"),
        (403, {"X-Squid-Error": "ERR_ACCESS_DENIED 0"}, b"<html>", "the squid says ERR_ACCESS_DENIED 0"),
        (504, {"X-Squid-Error": "ERR_CONNECT_FAIL 111"}, b"<html>", "the squid says ERR_CONNECT_FAIL 111"),
        (302, {"Location": "http://elsewhere"}, b"", "not followed"),
        (407, {}, b"", "option http_proxy"),
        (500, {"Content-Type": "text/plain"}, b"division\nby \x1b[31mzero", "'division by ?[31mzero'"),
        (502, {"Content-Type": "text/html"}, b"<html>", "HTTP 502"),
    ],
)
def test_what_another_status_means(status: int, headers: dict[str, str], body: bytes, says: str) -> None:
    text = panda_v1.http_error(status, headers, body)
    assert says in text
    assert "\n" not in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=60) | JSON.map(lambda document: json.dumps(document).encode()))
def test_no_body_whatever_does_more_than_value_error(body: bytes) -> None:
    try:
        value = read(body)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert value.jobs


@given(st.dictionaries(st.text(max_size=4), JSON, min_size=1, max_size=4))
def test_every_entry_is_either_read_or_bad(data: dict[str, Any]) -> None:
    for reader in (panda_v1.statistics, panda_v1.site_table):
        try:
            value = reader(data)
        except ValueError:
            continue
        read_ones = value.jobs if isinstance(value, panda_v1.Statistics) else value.sites
        assert set(read_ones) | set(value.bad) == set(data)
        assert not set(read_ones) & set(value.bad)
        assert read_ones
