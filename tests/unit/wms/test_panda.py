"""What PanDA's answers become: counts, a known zero, or an error; and how often it is asked."""

import json
import logging
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.http import Answer, NoAnswer
from autopyfactory.model import Site
from autopyfactory.wms import panda_v1
from autopyfactory.wms.panda import Panda, PandaOptions
from tests.unit.wms.fakes import STATISTICS, URL, FakeClock, FakeWeb, answer, good, panda, sample
from tests.unit.wms.test_panda_v1 import JSON

DB_DOWN = answer(sample("v1_db_down.json"))
REPR = answer(sample("v1_active_job_stats_by_site.no-accept.txt"))


def activated(source: Panda, wmsqueue: str) -> int:
    return sum(cell.activated for cell in source.jobs(wmsqueue).value)


def test_counts_come_with_the_time_they_speak_of() -> None:
    clock = FakeClock(1000.0)
    snapshot = panda(FakeWeb(), clock).jobs("LAB_UCORE")
    assert sum(cell.activated for cell in snapshot.value) == 28
    assert (snapshot.began, snapshot.speaks_of) == (1000.0, 880.0)


def test_a_cache_makes_them_older() -> None:
    web = FakeWeb(good({"Q": {"S": {"m": {"activated": 1}}}}, age="50", warning='110 x "stale"'), good({}, age="7"))
    assert panda(web, FakeClock(1000.0)).jobs("Q").speaks_of == 830.0


def test_the_site_table_is_aged_by_caches_and_not_by_the_lag() -> None:
    web = FakeWeb(sites=good({"Q": {"status": "online"}}, age="7"))
    assert panda(web, FakeClock(1000.0)).site("Q").speaks_of == 993.0


def test_what_is_asked_and_how() -> None:
    web = FakeWeb()
    source = panda(web)
    source.jobs("LAB_PROD")
    assert web.asked == [("active_job_detailed_stats_by_site", {"Accept": "application/json"}, 15.0)]


@pytest.mark.parametrize(("by", "path"), [("label", panda_v1.STATISTICS), ("share", panda_v1.SHARES)])
def test_what_shows_the_same_is_what_is_asked(by: str, path: str) -> None:
    asked = []

    def get(url: str, *_: object) -> Answer:
        asked.append(url)
        raise NoAnswer("down")

    source = Panda("panda", PandaOptions(url=URL, by=by), FakeClock(), get=get)
    with pytest.raises(SourceError):
        source.jobs("LAB_PROD")
    assert asked[0].endswith(path)
    assert asked[0] in source.shows("LAB_PROD")[0]


def test_a_name_with_jobs_needs_no_site_table() -> None:
    web = FakeWeb(sites=NoAnswer("down"))
    assert activated(panda(web), "LAB_PROD") == 7
    assert web.count("site_specs") == 0


def test_absent_and_in_the_site_table_is_a_known_zero() -> None:
    source = panda(FakeWeb())
    assert source.jobs("LAB_IDLE").value == ()
    assert source.jobs("LAB_IDLE").speaks_of == source.jobs("LAB_PROD").speaks_of


def test_absent_from_both_is_a_typo() -> None:
    source = panda(FakeWeb())
    with pytest.raises(UnknownWmsqueue, match="'LAB_IDEL', did you mean 'LAB_IDLE'"):
        source.jobs("LAB_IDEL")
    with pytest.raises(UnknownWmsqueue, match="did you mean 'LAB_ANALY'"):
        source.jobs("lab_analy")
    with pytest.raises(UnknownWmsqueue, match="check the option wmsqueue"):
        source.jobs("completely different")
    with pytest.raises(UnknownWmsqueue):
        source.site("LAB_ANALY")


def test_absent_without_a_site_table_is_unknown() -> None:
    source = panda(FakeWeb(sites=DB_DOWN))
    with pytest.raises(SourceError, match=r"not yet zero jobs: .* success false"):
        source.jobs("LAB_IDLE")


def test_status_and_cores() -> None:
    source = panda(FakeWeb())
    assert source.site("LAB_UCORE").value == Site("online", 8)
    assert source.site("LAB_UCORE/MCORE").value == Site("online", 8)
    assert source.site("LAB_PROD").value == Site("brokeroff", None)
    assert source.site("LAB_IDLE").value == Site("test", None)


@pytest.mark.parametrize(
    "reply",
    [
        DB_DOWN,
        answer(sample("v1_wrong_verb.json")),
        answer(sample("v1_active_job_stats_by_site.json")),
        answer("<html>please log in</html>"),
        answer(sample("v1_active_job_detailed_stats_by_site.json")[:200]),
        answer("<html>", status=504, x_squid_error="ERR_CONNECT_FAIL 111"),
        answer(sample("v1_active_job_detailed_stats_by_site.json"), status=500),
        answer(sample("v1_active_job_detailed_stats_by_site.json"), status=203),
        good({}),
        good(None),
        good({"LAB_IDLE": {}}),
        good({"Q": {"S": {"m": {"activated": 1}}}}, warning='110 x "stale"'),
        good({"Q": {"S": {"m": {"activated": 1}}}}, age="9999"),
        NoAnswer("down"),
        REPR,
    ],
)
def test_no_information_is_never_zero(reply: object) -> None:
    source = panda(FakeWeb(reply))
    for wmsqueue in ("LAB_PROD", "LAB_IDLE", "LAB_NONE"):
        with pytest.raises(SourceError) as caught:
            source.jobs(wmsqueue)
        assert "\n" not in str(caught.value)


def test_a_bad_entry_is_unknown_and_the_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    statistics = {"LAB_IDLE": {"S": {"m": {"activated": -1}}}, "LAB_PROD": {"S": {"m": {"activated": 4}}}}
    clock = FakeClock()
    source = panda(FakeWeb(good(statistics), good({"LAB_IDLE": {"status": 3}, "LAB_PROD": {"status": "x"}})), clock)
    for _ in range(3):
        clock.advance(700)
        assert activated(source, "LAB_PROD") == 4
        assert source.site("LAB_PROD").value.status == "x"
        with pytest.raises(SourceError, match=r"statistics of LAB_IDLE are unreadable, S\.m\.activated: "):
            source.jobs("LAB_IDLE")
        with pytest.raises(SourceError, match="entry of LAB_IDLE is unreadable, status: "):
            source.site("LAB_IDLE")
    assert sum("unreadable entries" in record.message for record in caplog.records) == 2


@pytest.mark.parametrize("cores", ["8", "", 8.0, -1, True, [8], {"of": 8}])
def test_an_odd_number_of_cores_leaves_the_status(caplog: pytest.LogCaptureFixture, cores: object) -> None:
    sites = {"LAB_PROD": {"status": "online", "coreCount": cores}, "LAB_IDLE": {"status": "test", "coreCount": 8}}
    clock = FakeClock()
    source = panda(FakeWeb(sites=good(sites)), clock)
    for _ in range(3):
        clock.advance(700)
        assert source.site("LAB_PROD").value == Site("online")
        assert source.site("LAB_IDLE").value == Site("test", 8)
    said = [record.message for record in caplog.records if "cores" in record.message]
    assert len(said) == 1
    assert "the cores of 1 entries in the site table are unreadable and taken for not told, as of LAB_PROD" in said[0]


def test_a_bad_site_entry_is_still_a_known_name() -> None:
    source = panda(FakeWeb(sites=good({"LAB_IDLE": {"status": 3}, "LAB_PROD": {"status": "x"}})))
    assert source.jobs("LAB_IDLE").value == ()


def test_unknown_status_words_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    source = panda(FakeWeb(good({"Q": {"S": {"m": {"activated": 1, "levitating": 2}}}})), clock)
    for _ in range(3):
        clock.advance(60)
        assert activated(source, "Q") == 1
    assert sum("'levitating'" in record.message for record in caplog.records) == 1


def test_the_repr_is_mended_once_past_the_caches() -> None:
    web = FakeWeb([REPR, STATISTICS])
    assert activated(panda(web), "LAB_PROD") == 7
    assert [headers.get("Cache-Control") for _, headers, _ in web.asked] == [None, "no-cache"]
    assert {headers["Accept"] for _, headers, _ in web.asked} == {"application/json"}


def test_both_questions_share_one_deadline() -> None:
    clock = FakeClock()
    web = FakeWeb([REPR, STATISTICS])

    def slow(*args: Any) -> Any:
        clock.advance(11)
        return web.get(*args)

    source = Panda("panda", PandaOptions(url="http://h"), clock, get=slow)
    began = clock.now()
    assert source.jobs("LAB_PROD").began == began + 11
    assert [deadline for _, _, deadline in web.asked] == [15.0, 4.0]


def test_no_second_question_without_time() -> None:
    clock = FakeClock()

    def slow(*_: object) -> Any:
        clock.advance(15)
        return REPR

    with pytest.raises(SourceError, match="no time to ask again"):
        Panda("panda", PandaOptions(url="http://h"), clock, get=slow).jobs("Q")


def test_one_question_per_interval_serves_every_queue() -> None:
    clock, web = FakeClock(), FakeWeb()
    source = panda(web, clock)
    for _ in range(20):
        for wmsqueue in ("LAB_PROD", "LAB_IDLE", "LAB_UCORE"):
            source.jobs(wmsqueue)
            if wmsqueue != "LAB_IDLE":
                source.site(wmsqueue)
        clock.advance(30)
    assert web.count("detailed") == 10
    assert web.count("site_specs") == 1


def test_the_last_good_answer_serves_until_it_is_too_old() -> None:
    clock = FakeClock()
    source = panda(FakeWeb([STATISTICS, *[DB_DOWN] * 10]), clock)
    source.jobs("LAB_PROD")
    clock.advance(239)
    assert activated(source, "LAB_PROD") == 7
    clock.advance(2)
    with pytest.raises(SourceError, match="last good answer speaks of 361 s ago"):
        source.jobs("LAB_PROD")


def test_an_old_answer_of_a_cache_does_not_replace_a_younger_one() -> None:
    clock = FakeClock()
    source = panda(FakeWeb([STATISTICS, good({"LAB_PROD": {"S": {"m": {"activated": 1}}}}, age="300")]), clock)
    source.jobs("LAB_PROD")
    clock.advance(60)
    assert activated(source, "LAB_PROD") == 7


def test_an_operator_may_say_that_the_empty_answer_is_zero() -> None:
    for reply in (DB_DOWN, good({})):
        source = panda(FakeWeb(reply), empty_is_zero="yes")
        assert source.jobs("LAB_IDLE").value == ()
        with pytest.raises(UnknownWmsqueue):
            source.jobs("LAB_NONE")
    for reply in (answer(sample("v1_wrong_verb.json")), good(None), answer("<html>")):
        with pytest.raises(SourceError):
            panda(FakeWeb(reply), empty_is_zero="yes").jobs("LAB_IDLE")


def test_close_stops_every_question() -> None:
    source = panda(FakeWeb())
    source.close()
    for ask in (source.jobs, source.site):
        with pytest.raises(SourceError) as caught:
            ask("LAB_PROD")
        assert caught.value.stopped


def test_close_wakes_all_who_wait() -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(*_: object) -> Any:
        asked.set()
        release.wait(10)
        raise NoAnswer("late")

    source = Panda("panda", PandaOptions(url="http://h"), FakeClock(), get=hang)
    outcomes: list[bool] = []

    def ask() -> None:
        try:
            source.jobs("Q")
        except SourceError as error:
            outcomes.append(error.stopped)

    first = threading.Thread(target=ask)
    first.start()
    asked.wait(10)
    others = [threading.Thread(target=ask) for _ in range(20)]
    for thread in others:
        thread.start()
    source.close()
    for thread in others:
        thread.join(10)
    assert outcomes == [True] * 20
    release.set()
    first.join(10)


def test_no_password_in_log_or_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = PandaOptions(url="http://me:hush@127.0.0.1:9", http_proxy="http://apf:secret@127.0.0.1:9", deadline=5.0)
    with pytest.raises(
        SourceError, match=r"no way through http_proxy http://\*\*\*@127\.0\.0\.1:9: connection refused"
    ):
        Panda("panda", options, FakeClock()).jobs("Q")
    assert "127.0.0.1:9" in caplog.text
    assert "secret" not in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h.example.org", "http://h.example.org:25085"),
        ("http://h.example.org/", "http://h.example.org:25085"),
        ("http://h.example.org:25080", "http://h.example.org:25080"),
        ("https://h.example.org", "https://h.example.org:25443"),
        ("http://[::1]", "http://[::1]:25085"),
    ],
)
def test_the_port_of_the_url(text: str, url: str) -> None:
    assert PandaOptions(url=text).url == url


def test_the_port_of_the_proxy() -> None:
    assert PandaOptions(url="http://h", http_proxy="http://u:p@squid").http_proxy == "http://u:p@squid:3128"
    assert PandaOptions(url="http://h", http_proxy="").http_proxy == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "h.example.org:25085"}, "write for example http://host.example.org:25085"),
        ({"url": "h.example.org"}, "is no address"),
        ({"url": "ftp://h"}, "is no address"),
        ({"url": "http://h:99999"}, "is no address"),
        ({"url": "http://[h"}, "is no address"),
        ({"url": "http://"}, "must be scheme, host and port alone"),
        ({"url": "http://h/server/panda"}, "must be scheme, host and port alone"),
        ({"url": "http://h?x=1"}, "must be scheme, host and port alone"),
        ({"url": "http://h", "http_proxy": "squid:3128"}, "write for example http://host.example.org:3128"),
        ({"url": "http://h", "http_proxy": "u:pass@squid"}, "this is no address"),
        ({"url": "http://h", "http_proxy": "http://u:pass/q@r@squid:1"}, "this is no address"),
        ({"url": "http://h", "max_age": "3m"}, "max_age must be more than lag and interval together"),
        ({"url": "http://h", "site_max_age": "10m"}, "site_max_age must be more than site_interval"),
        ({"url": "http://h", "deadline": "0s"}, "greater than 0"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PandaOptions(**options)
    messages = [error["msg"] for error in caught.value.errors()]
    assert any(says in message for message in messages)
    assert not any("pass" in message for message in messages)


@given(JSON | st.fixed_dictionaries({"success": st.booleans(), "data": JSON}), JSON)
def test_arbitrary_json_is_no_zero_and_no_crash(statistics: Any, sites: Any) -> None:
    source = panda(FakeWeb(answer(json.dumps(statistics)), answer(json.dumps(sites))))
    for ask in (source.jobs, source.site):
        try:
            ask("Q")
        except (SourceError, UnknownWmsqueue):
            continue
        assert ask == source.site or (statistics["success"] is True and statistics["data"])


@given(JSON)
def test_arbitrary_data_for_a_known_queue(data: Any) -> None:
    source = panda(FakeWeb(good(data)))
    try:
        cells = source.jobs("LAB_IDLE").value
    except SourceError:
        return
    assert isinstance(data, dict)
    assert data
    assert ("LAB_IDLE" in data) == bool(cells)


def test_counts_by_global_share() -> None:
    web = FakeWeb()
    web.script[panda_v1.SHARES.rpartition("/")[2]] = answer(sample("v1_job_stats_by_site_share_and_resource_type.json"))
    cells = panda(web, by="share").jobs("LAB_UCORE").value
    assert {(cell.share, cell.resource_type, cell.label, cell.activated) for cell in cells} == {
        ("unknown", "SCORE", "", 25),
        ("unknown", "MCORE", "", 3),
    }
    assert not web.count("active_job")
