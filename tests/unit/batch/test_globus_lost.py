"""Pilots of GRAM that nobody can ask for any more: a lost proxy, a CE that is gone for ever."""

from pathlib import Path

import pytest

from autopyfactory.batch import ALL_STATES, remove
from autopyfactory.batch.globus import Globus
from autopyfactory.batch.globus_lost import WRITTEN_OFF
from autopyfactory.model import PilotState
from tests.unit.batch.gram_stand_in import Bed

DAY = 86400.0


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def gone(bed: Bed) -> None:
    """Have two running pilots on a CE that answers no more, and that the factory calls unknown."""
    bed.batch.submit(bed.order(2))
    bed.gram.set("ACTIVE")
    bed.poll()
    bed.gram.down["gk1"] = "CONNECTION-REFUSED"
    bed.gram.new_managers()
    assert bed.counts(700) == {"unknown": 2}


def gone_and_looked_for(bed: Bed) -> tuple[Globus, Globus]:
    """Return the factory's side of these pilots, and that of a command beside it a minute later."""
    gone(bed)
    factory = bed.batch
    bed.clock.time += 60
    return factory, bed.restart(looking=True)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lost_proxy_is_replaced_by_the_queues_present_one(bed: Bed, restarted: bool) -> None:
    bed.batch.submit(bed.order())
    other = bed.home / "other"
    other.touch()
    bed.batch.submit(bed.order(name="r1", queue="R", proxy=other))
    bed.proxy.unlink()
    bed.gram.proxies.clear()
    bed.poll()
    assert f"X509_USER_PROXY={bed.proxy}" in bed.gram.proxies, "another queue's proxy is none of its own"
    present = bed.home / "present"
    present.touch()
    bed.clock.time += 1
    bed.batch.submit(bed.order(name="s2", proxy=present))
    if restarted:
        bed.restart()
    bed.gram.proxies.clear()
    bed.poll()
    assert bed.gram.proxies == {f"X509_USER_PROXY={present}": 2, f"X509_USER_PROXY={other}": 1}
    assert remove(bed.batch, "Q", ALL_STATES).total() == 2
    assert f"X509_USER_PROXY={bed.proxy}" not in bed.gram.proxies


def test_a_ce_that_is_gone_for_ever_is_given_up(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    gone(bed)
    assert bed.counts(3 * DAY) == {"unknown": 2}
    bed.restart()
    assert bed.counts() == {"unknown": 2}
    bed.restart(looking=True)
    assert bed.counts(DAY) == {"unknown": 2}, "who looks on writes nothing off"
    bed.restart()
    report = bed.poll()
    assert report.groups == ()
    assert [end.fault for end in report.ended] == [WRITTEN_OFF] * 2
    assert "wrote off 2 pilots: no answer of their CE for 96 h" in caplog.text
    assert bed.batch.ended(frozenset({"s1"})) == {"s1"}
    bed.restart()
    assert bed.counts() == {}


def test_an_answer_begins_the_time_anew(bed: Bed) -> None:
    gone(bed)
    bed.counts(3 * DAY)
    bed.gram.down.clear()
    assert bed.counts() == {"running": 2}
    bed.gram.down["gk1"] = "CONNECTION-REFUSED"
    bed.gram.new_managers()
    assert bed.counts(700) == {"unknown": 2}
    assert bed.counts(2 * DAY) == {"unknown": 2}


def test_a_strange_state_is_an_answer(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.gram.set("UNKNOWN JOB STATE 512")
    bed.poll()
    assert bed.counts(9 * DAY) == {"unknown": 1}
    assert bed.restart(looking=True).lost("Q") == []


def test_an_admin_writes_off_what_the_factory_calls_unknown(bed: Bed) -> None:
    factory, beside = gone_and_looked_for(bed)
    lost = beside.lost("Q")
    assert len(lost) == 2
    assert beside.lost("R") == []
    beside.write_off(lost[:1])
    assert len(beside.pilots("Q", frozenset({PilotState.UNKNOWN}))) == 1
    bed.batch = factory
    report = bed.poll()
    assert [group.count for group in report.groups] == [1]
    assert [end.fault for end in report.ended] == [WRITTEN_OFF]
    beside.write_off(lost[1:])
    bed.restart()
    assert bed.counts() == {}, "without a running factory it is the next one that reads the note"
    assert list((bed.home / "state/globus/local/written-off").iterdir()) == []


def test_a_ce_that_failed_just_now_is_not_gone(bed: Bed) -> None:
    bed.batch.submit(bed.order())
    bed.gram.set("ACTIVE")
    bed.poll()
    bed.gram.down["gk1"] = "CONNECTION-REFUSED"
    bed.gram.new_managers()
    beside = bed.restart(looking=True)
    assert bed.counts() == {"unknown": 1}
    assert beside.lost("Q") == []


def test_a_pilot_that_is_back_is_not_written_off(bed: Bed) -> None:
    factory, beside = gone_and_looked_for(bed)
    lost = beside.lost("Q")
    bed.gram.down.clear()
    bed.batch = factory
    assert bed.counts() == {"running": 2}
    beside.write_off(lost)
    assert bed.counts() == {"running": 2}
