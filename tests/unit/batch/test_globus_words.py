"""What globusrun says, in the forms that GRAM 5 was seen to answer with."""

import pytest

from autopyfactory.batch.commands_words import Answer, End, Unbelievable
from autopyfactory.batch.globus_words import (
    FAILED,
    Perhaps,
    accepted,
    address,
    cancelled,
    complaint,
    contact_of,
    gatekeeper,
    restarted,
    state,
    unreachable,
)
from autopyfactory.model import PilotState
from tests.unit.batch.gram_stand_in import STUCK
from tests.unit.batch.transcripts import answers

SAID = answers("gram-globusrun.txt")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (SAID["globusrun -status ACTIVE"], PilotState.RUNNING),
        (SAID["globusrun -status FAILED"], End(fault=FAILED)),
        (SAID["globusrun -status DONE"], Perhaps()),
        (SAID["globusrun -status CONNECTION-REFUSED"], Perhaps()),
        (Answer(0, "DONE\nexit code: 3\n"), End(3)),
        (Answer(94, "", STUCK), Perhaps()),
        (Answer(0, "PENDING\n"), PilotState.PENDING),
        (Answer(0, "UNSUBMITTED\n"), PilotState.PENDING),
        (Answer(0, "STAGE_IN\n"), PilotState.PENDING),
        (Answer(0, "SUSPENDED\n"), PilotState.SUSPENDED),
        (Answer(0, "STAGE_OUT\n"), PilotState.FINISHING),
        (Answer(0, "UNKNOWN JOB STATE 4096\n"), PilotState.UNKNOWN),
    ],
)
def test_states(answer: Answer, found: object) -> None:
    assert state(answer)[0] == found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SAID["globusrun -status EXPIRED-PROXY"], "expired 1440 minutes ago. (renew the proxy"),
        (SAID["globusrun -status SOMEBODY-ELSE"], "an authorization operation failed (the CE's admin"),
        (Answer(0), "without a word"),
        (Answer(0, "DONE-ISH\n"), "DONE-ISH"),
        (Answer(1, "DONE\n"), "DONE"),
        (Answer(-9, "ACTIVE\n"), "ACTIVE"),
        (Answer(127, "", "env: 'globusrun': No such file or directory\n"), "No such file"),
    ],
)
def test_what_says_nothing_of_a_pilot(answer: Answer, said: str) -> None:
    with pytest.raises(Unbelievable) as caught:
        state(answer)
    assert said in caught.value.reason
    assert "\n" not in caught.value.reason


def test_only_a_gatekeeper_that_has_forgotten_a_job_says_that_it_has_ended() -> None:
    assert restarted(SAID["globusrun -F -q RESTART GONE"]) == ""
    assert restarted(SAID["globusrun -F -q RESTART LIVING"]).startswith("https://localhost:38063/1737")
    for name in ("CONNECTION-REFUSED", "UNMAPPED", "UNKNOWN-SERVICE", "TOO-LONG"):
        with pytest.raises(Unbelievable):
            restarted(SAID[f"globusrun -F -q RSL {name}"])
    for answer in (SAID["globusrun -status EXPIRED-PROXY"], Answer(0), Answer(121), Answer(-9)):
        with pytest.raises(Unbelievable):
            restarted(answer)


def test_a_contact_is_an_acceptance_whatever_follows() -> None:
    for name in ("RSL", "TWO-PHASE"):
        assert contact_of(SAID[f"globusrun -F -q -r localhost:2119/jobmanager-fork {name}"].stdout)
    for name in ("UNMAPPED", "UNKNOWN-SERVICE", "CONNECTION-REFUSED", "TOO-LONG", "UNKNOWN-ATTRIBUTE", "SYNTAX"):
        assert accepted(SAID[f"globusrun -F -q RSL {name}"]) is False
    for answer in (Answer(0), Answer(110), Answer(-9)):
        assert accepted(answer) is None
    assert contact_of("https://gk.exa") == contact_of("ERROR https://gk:1/2/3/") == ""


@pytest.mark.parametrize(
    ("name", "remedy", "silent"),
    [
        ("UNMAPPED", "grid-mapfile", False),
        ("UNKNOWN-SERVICE", "endpoint", False),
        ("CONNECTION-REFUSED", "gatekeeper is down", True),
        ("UNKNOWN-ATTRIBUTE", "globusrsl", False),
        ("SYNTAX", "cannot parse RSL", False),
    ],
)
def test_a_refusal_says_what_to_change(name: str, remedy: str, silent: bool) -> None:
    answer = SAID[f"globusrun -F -q RSL {name}"]
    assert remedy in complaint(answer)
    assert "\n" not in complaint(answer)
    assert unreachable(answer) is silent


def test_a_job_is_asked_for_at_the_host_that_took_it() -> None:
    contact = "https://gk02.example.org:41109/1/2/"
    assert address(contact) == "gk02.example.org:41109"
    assert gatekeeper("gk.example.org", contact) == "gk02.example.org"
    assert gatekeeper("gk.example.org:2119/jobmanager-pbs", contact) == "gk02.example.org:2119/jobmanager-pbs"
    assert gatekeeper("gk:/jobmanager:/O=x/CN=y", contact) == "gk02.example.org:/jobmanager:/O=x/CN=y"


def test_removal() -> None:
    assert cancelled(SAID["globusrun -k ACTIVE"])
    assert not cancelled(SAID["globusrun -k CONNECTION-REFUSED"])
