"""GRAM by globusrun: a contact is all there is, and DONE alone means nothing."""

import base64
import gzip
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.batch import ALL_STATES, remove
from autopyfactory.batch.globus import REMOVED, RETRY, Globus
from autopyfactory.batch.globus_rsl import GlobusQueueOptions
from autopyfactory.batch.globus_slips import KEEP
from autopyfactory.batch.globus_words import FAILED
from autopyfactory.config.models import FactoryOptions, QueueOptions
from autopyfactory.errors import Ambiguous, Refused, SourceError
from autopyfactory.model import EndedPilot, PilotState
from tests.unit.batch.gram_stand_in import Bed

FAR = "gk2:2119/jobmanager-lsf"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def script(rsl: str) -> str:
    packed = re.search(r"\(APF_SCRIPT \"?([A-Za-z0-9+/=]+)", rsl)
    assert packed is not None
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def test_pilots_from_pending_to_their_end(bed: Bed) -> None:
    cids = bed.batch.submit(bed.order(2)).cids
    assert len(set(cids)) == 2
    assert bed.counts() == {"pending": 2}
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 2}
    bed.gram.set("DONE")
    assert bed.counts() == {"running": 2}, "the gatekeeper still knows them"
    report = bed.poll()
    assert report.ended == tuple(EndedPilot(cid, "Q", "s1") for cid in cids)
    assert report.groups == ()
    assert bed.poll().ended == ()
    assert bed.batch.ended(frozenset({"s1", "s2"})) == {"s1"}
    assert bed.slips == []


def test_exit_codes_where_the_batch_system_tells_them(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.gram.set("DONE\nexit code: 7")
    assert [end.exit_code for end in bed.poll().ended] == [7]


def test_what_a_call_is_like(bed: Bed) -> None:
    backend = GlobusQueueOptions(extra_arguments="-full-proxy")
    [cid] = bed.batch.submit(bed.order(backend=backend)).cids
    [words] = bed.gram.calls
    assert words[:5] == ["-F", "-q", "-full-proxy", "-r", "gk1/jobmanager-pbs"]
    assert bed.gram.proxies == {f"X509_USER_PROXY={bed.proxy}": 1}
    text = script(bed.gram.jobs["1"].rsl)
    assert f"export APFCID={cid}\n" in text
    assert "export APF_SUBMISSION=s1\n" in text
    assert "X509_USER_PROXY" not in text, "GRAM delegates one and names it"
    assert "GTAG" not in text, "no output comes back"
    assert not any(cid in word for word in words[:-1])
    bed.batch.submit(bed.order(backend=GlobusQueueOptions(output_url="https://here:1")))
    assert "GTAG=http://logs/x/" in script(bed.gram.jobs["2"].rsl)


def test_a_dead_job_manager_ends_no_pilot(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 2}
    bed.gram.new_managers()
    for _ in range(3):
        assert bed.counts() == {"running": 2}
    bed.restart(looking=True)
    assert bed.counts() == {"running": 2}
    assert remove(bed.batch, "Q", frozenset({PilotState.UNKNOWN})).total() == 0
    bed.restart()
    assert bed.counts() == {"running": 2}
    assert len(bed.gram.of("-F")) == 2 + 2, "taken up again once"
    (bed.home / "state/globus/local/contacts.json").write_text("[")
    bed.restart()
    assert bed.counts() == {"running": 2}
    bed.gram.set("DONE")
    bed.poll()
    assert len(bed.poll().ended) == 2


def test_a_job_manager_that_keeps_an_ended_job_for_ever_is_believed_in_the_end(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 1}
    bed.gram.set("STUCK")
    assert bed.counts() == bed.counts() == {"running": 1}
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 1}
    bed.gram.set("STUCK")
    assert bed.counts() == bed.counts() == {"running": 1}
    assert len(bed.poll().ended) == 1


@pytest.mark.parametrize("wrong", ["CONNECTION-REFUSED", "UNMAPPED", "hung", "UNKNOWN-SERVICE"])
def test_a_ce_that_does_not_answer_ends_no_pilot_and_harms_no_other(
    bed: Bed, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    bed.batch.submit(bed.order(2))
    bed.batch.submit(bed.order(3, name="s2", endpoint=FAR))
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 5}
    bed.gram.down["gk2"] = wrong
    bed.gram.new_managers()
    for _ in range(2):
        report = bed.poll()
        assert sum(group.count for group in report.groups if group.state is PilotState.RUNNING) == 5
        dead = {FAR: "unreachable"} if wrong in {"CONNECTION-REFUSED", "hung"} else {}
        assert {name: trouble.word for name, trouble in report.troubles.items()} == dead
        assert report.speaks_of is not None
        assert bed.clock.time - report.speaks_of < 60
    assert len([record for record in caplog.records if "does not answer for its pilots" in record.message]) == 1
    bed.gram.set("DONE", host="gk1")
    bed.poll()
    report = bed.poll(later=700)
    assert len(report.ended) == 2
    assert [(group.state, group.count) for group in report.groups] == [(PilotState.UNKNOWN, 3)], "older than max_age"
    bed.gram.down.clear()
    assert bed.counts() == {"running": 3}
    assert bed.poll().troubles == {}


def test_a_hung_ce_costs_one_round_of_calls(tmp_path: Path) -> None:
    bed = Bed(tmp_path, at_once=2)
    bed.batch.submit(bed.order(20, name="s2", endpoint=FAR))
    bed.batch.submit(bed.order(3))
    bed.gram.down["gk2"] = "hung"
    began = bed.clock.time
    bed.poll(0)
    assert bed.clock.time - began < 45
    bed.gram.calls.clear()
    bed.gram.set("ACTIVE")
    assert bed.counts() == {"running": 3, "pending": 20}
    assert "gk1" in bed.gram.calls[0][1]


def test_more_pilots_than_a_poll_can_ask_for_take_turns(tmp_path: Path) -> None:
    bed = Bed(tmp_path, at_once=1, deadline=9, max_age=100)
    bed.batch.submit(bed.order(10))
    bed.gram.set("ACTIVE")
    bed.gram.takes = 2.0
    assert bed.counts() == {"running": 4, "pending": 6}
    report = bed.poll()
    assert report.speaks_of is not None
    assert bed.clock.time - report.speaks_of > 120, "the states of two pilots are as old as the submission"
    assert bed.counts() == {"running": 10}
    bed.restart()
    for waiting in (6, 2):
        with pytest.raises(SourceError, match=f"{waiting} of 10 pilots wait for their turn"):
            bed.poll()
    assert bed.counts() == {"running": 10}


def test_a_submission_without_an_answer(bed: Bed) -> None:
    bed.gram.fail = ["", "hang"]
    with pytest.raises(Ambiguous, match="globus local: globusrun: no answer within 45 s"):
        bed.batch.submit(bed.order(3))
    assert bed.poll(0).troubles.keys() == {"gk1/jobmanager-pbs"}
    assert bed.counts() == {"pending": 1}
    bed.poll(KEEP)
    assert bed.slips == []


def test_a_contact_that_came_is_not_lost(bed: Bed) -> None:
    bed.gram.fail = ["but hang"]
    assert len(bed.batch.submit(bed.order()).cids) == 1
    assert bed.counts() == {"pending": 1}


def test_a_contact_that_came_when_nobody_waited_any_more(bed: Bed) -> None:
    bed.gram.fail = ["but the disk is full"]
    with pytest.raises(Ambiguous, match="commit"):
        bed.batch.submit(bed.order())
    assert bed.counts() == {}
    bed.restart()
    paper = next(path for path in bed.slips if path.suffix == ".json")
    paper.with_suffix(".out").write_text(f"{bed.gram.jobs['1'].contact}\n")
    assert bed.counts() == {"pending": 1}
    assert bed.slips == []
    bed.restart()
    assert bed.counts() == {"pending": 1}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("UNMAPPED", "has to map this subject in the grid-mapfile"),
        ("CONNECTION-REFUSED", "the gatekeeper is down"),
        ("UNKNOWN-SERVICE", "endpoint"),
        ("UNKNOWN-ATTRIBUTE", "globusrsl"),
        ("TOO-LONG", "data transfer to the server failed"),
    ],
)
def test_half_accepted(bed: Bed, fault: str, said: str) -> None:
    bed.gram.fail = ["", "", fault]
    with pytest.raises(Refused, match=said) as caught:
        bed.batch.submit(bed.order(4))
    assert len(caught.value.cids) == 2
    assert bed.counts() == {"pending": 2}
    assert bed.slips == []
    assert bed.poll(RETRY).troubles == {}


def test_what_cannot_be_submitted_is_refused_before_any_call(bed: Bed) -> None:
    with pytest.raises(Refused, match="there is no proxy"):
        bed.batch.submit(bed.order(proxy=bed.home / "nosuch"))
    bed.wrapper.write_bytes(b"\x7fELF\0")
    with pytest.raises(Refused, match="is no script"):
        bed.batch.submit(bed.order())
    bed.wrapper.write_text("#!/bin/sh\n")
    (bed.home / "state").write_text("")
    with pytest.raises(Refused, match="cannot write down"):
        bed.batch.submit(bed.order())
    assert bed.gram.calls == []
    with pytest.raises(SourceError, match="cannot keep the record"):
        bed.poll()


def test_strange_states_and_failures(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.batch.submit(bed.order(2))
    bed.gram.set("UNKNOWN JOB STATE 512")
    for _ in range(3):
        assert bed.counts() == {"unknown": 2}
    assert len(caplog.records) == 1
    bed.gram.set("FAILED")
    assert [end.fault for end in bed.poll().ended] == [FAILED] * 2


def test_removal(bed: Bed) -> None:
    bed.batch.submit(bed.order(2))
    bed.batch.submit(bed.order(1, name="s2", queue="R"))
    bed.gram.jobs["1"].state = "ACTIVE"
    bed.poll()
    assert remove(bed.batch, "Q", frozenset({PilotState.RUNNING})) == {PilotState.RUNNING: 1}
    assert [end.fault for end in bed.poll().ended] == [REMOVED]
    bed.restart()
    assert remove(bed.batch, "Q", ALL_STATES).total() == 1
    assert remove(bed.batch, "nosuch", ALL_STATES).total() == 0
    assert bed.counts() == {"pending": 1}
    [last] = bed.batch.pilots()
    assert (last.queue, last.state, last.submission) == ("R", PilotState.PENDING, "s2")
    assert bed.batch.release_pilots([last]) == 0
    bed.gram.down["gk1"] = "UNMAPPED"
    bed.gram.new_managers()
    with pytest.raises(SourceError, match="cancel"):
        bed.batch.remove_pilots([last])


def test_the_factory_stops(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.batch.close()
    for call in (bed.poll, bed.batch.pilots):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.stopped
    with pytest.raises(Refused, match="closed, nothing was submitted") as refused:
        bed.batch.submit(bed.order())
    assert refused.value.stopped


def test_who_looks_on_changes_nothing(bed: Bed) -> None:
    bed.batch.submit(bed.order(3))
    bed.gram.fail = ["but the disk is full"]
    with suppress(Ambiguous):
        bed.batch.submit(bed.order())
    bed.slips[0].with_suffix(".out").write_text(f"{bed.gram.jobs['4'].contact}\n")
    bed.gram.set("DONE")
    bed.gram.jobs["1"].state = "ACTIVE"
    home = {path: path.read_bytes() for path in bed.home.rglob("*") if path.is_file()}
    bed.gram.calls.clear()
    bed.restart(looking=True)
    assert bed.counts() == {"running": 1, "unknown": 3}
    assert {words[0] for words in bed.gram.calls} == {"-status"}
    assert {path: path.read_bytes() for path in bed.home.rglob("*") if path.is_file()} == home


def test_describe_submits_nothing(bed: Bed) -> None:
    text = bed.batch.describe(bed.order())
    assert "-r gk1/jobmanager-pbs -f " in text
    assert "(two_phase=300)" in text
    assert "export APF_QUEUE=Q\n" in text
    assert bed.gram.calls == []
    assert not (bed.home / "logs").exists()


@pytest.mark.parametrize(
    ("options", "backend", "said"),
    [
        ({}, {}, ["endpoint: is missing", "proxy: is missing"]),
        ({"endpoint": "https://gk/x", "proxy": ("p",)}, {}, ["endpoint: 'https://gk/x' is no gatekeeper"]),
        (
            {"endpoint": "gk, gk:2119/jobmanager-x, gk:/y:/O=x/CN=y z", "proxy": ("p",), "submit_user": "u"},
            {},
            ["submit_"],
        ),
        ({"endpoint": "gk", "proxy": ("p",)}, {"extra_arguments": "-full-proxy -b"}, ["extra_arguments: -b"]),
        ({"endpoint": "gk", "proxy": ("p",)}, {"globusrsl": "(count=2)"}, ["globusrsl: the attribute count"]),
        ({"endpoint": "gk", "proxy": ("p",)}, {"globusrsl_add": "(project=x)"}, []),
    ],
)
def test_what_check_says(options: dict[str, object], backend: dict[str, str], said: list[str]) -> None:
    queue = QueueOptions.model_validate({"backend": "globus", "type": "gt2", **options})
    found = Globus.check(queue, GlobusQueueOptions(**backend), FactoryOptions(id="F"), {})
    assert len(found) == len(said)
    assert all(text.startswith(begin) for text, begin in zip(found, said, strict=True))


def test_what_this_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nosuch")
    assert Globus.lacking("gt2", "") == "no globusrun on the PATH; no stdbuf on the PATH"


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["hang", "but hang", "UNMAPPED"]), st.integers(0, 2)),
        st.tuples(st.just("run"), st.integers(1, 9)),
        st.tuples(st.just("end"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["restart", "job managers die", "forget"]), st.just(0)),
        st.tuples(st.just("down"), st.sampled_from(["hung", "CONNECTION-REFUSED"])),
    ),
    max_size=15,
)


@settings(deadline=None, max_examples=40)
@given(EVENTS)
def test_whatever_happens_no_living_pilot_is_missed(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int | str]]
) -> None:
    bed = Bed(tmp_path_factory.mktemp("bed"))
    told: list[str] = []
    for number, (event, value) in enumerate(events):
        living = [job for job in bed.gram.jobs.values() if job.state in {"PENDING", "ACTIVE"}]
        if event in {"submit", "hang", "but hang", "UNMAPPED"}:
            bed.gram.fail = [] if event == "submit" else [*["", "", ""][: int(value)], event]
            with suppress(Refused, Ambiguous):
                bed.batch.submit(bed.order(3, name=f"s{number}"))
        elif event in {"run", "end"}:
            for job in living[: int(value)]:
                job.state = "ACTIVE" if event == "run" else "DONE"
        elif event == "restart":
            bed.restart()
        elif event == "job managers die":
            bed.gram.new_managers()
        elif event == "forget":
            bed.gram.forget()
        bed.gram.down = {"gk1": str(value)} if event == "down" else {}
        living = [job for job in bed.gram.jobs.values() if job.state in {"PENDING", "ACTIVE"}]
        report = bed.poll()
        told += [end.cid for end in report.ended]
        assert sum(group.count for group in report.groups) >= len(living)
    bed.gram.down = {}
    bed.gram.set("DONE")
    for _ in range(3):
        report = bed.poll()
        told += [end.cid for end in report.ended]
    assert report.groups == ()
    assert len(told) == len(set(told)) == len(bed.gram.jobs)
