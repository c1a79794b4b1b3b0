"""What globusrun says: states, contacts, and what neither means.

Forms and error codes as observed on GRAM 5 (client tools 12.2). `globusrun -status` prints DONE for a job that has
ended, for one that is not known, and when nothing answers at the job's contact at all: DONE alone says nothing.
"""

import re
from dataclasses import dataclass

from autopyfactory.batch.commands_words import Answer, End, Unbelievable
from autopyfactory.model import PilotState

STATES = {
    "UNSUBMITTED": PilotState.PENDING,
    "STAGE_IN": PilotState.PENDING,
    "PENDING": PilotState.PENDING,
    "ACTIVE": PilotState.RUNNING,
    "SUSPENDED": PilotState.SUSPENDED,
    "STAGE_OUT": PilotState.FINISHING,
}
"""The factory's word for each state that is no end."""

FAILED = "GRAM says FAILED: it could not start there, or it was removed"

REMEDIES = {
    7: "the CE's admin has to map this subject in the grid-mapfile, or the host certificate has another name",
    12: "the gatekeeper is down or cannot be reached",
    48: "the CE knows no such attribute: write what it knows as globusrsl or submit.X",
    93: "correct what follows the / of endpoint, it names the CE's job manager",
    131: "the proxy has expired, renew it",
}
"""What an admin has to change, by GRAM's error code."""

_UNSUPPORTED = 48
_STOPPED = 94
_NO_STATE_FILE = 121
_ASKED_TO_COMMIT = 110
_ENDED_ALREADY = 156
_UNREACHABLE = frozenset({3, 10, 12, 79})
_CONTACT = re.compile(r"^(https?://([^/\s]+?):\d+/\S+)\s*$", re.MULTILINE)
_CODE = re.compile(r"\(error ?code (\d+)\)")
_EXIT_CODE = re.compile(r"^exit code: (-?\d+)$", re.MULTILINE)
_STRANGE = re.compile(r"UNKNOWN JOB STATE -?\d+")
_ENDPOINT = re.compile(r"(\[[^]]*\]|[^:/]+)(.*)")


class Unreachable(Unbelievable):
    """No answer, for the CE does not give any; with another credential it would be the same."""


@dataclass(frozen=True, slots=True)
class Perhaps:
    """The job may have ended: its gatekeeper has to be asked."""


def state(answer: Answer) -> tuple[PilotState | End | Perhaps, str]:
    """Return what `globusrun -status` says of a job, with GRAM's word. Raises Unbelievable."""
    word = answer.stdout.partition("\n")[0].strip()
    if answer.rc == 0 and word in STATES:
        return STATES[word], word
    if answer.rc == 0 and word == "FAILED":
        return End(fault=FAILED), word
    if answer.rc == 0 and word == "DONE":
        # Some batch systems tell the exit code, and only a job manager that knows the job can say it.
        exit_code = _EXIT_CODE.search(answer.stdout)
        return (End(int(exit_code[1])) if exit_code else Perhaps()), word
    if answer.rc == 0 and _STRANGE.fullmatch(word):
        return PilotState.UNKNOWN, word
    if answer.rc and code(answer) == _STOPPED:
        # A job manager that gave up the job says so for ever; the gatekeeper knows what became of the job.
        return Perhaps(), "STOPPED"
    raise _unbelievable(answer)


def restarted(answer: Answer) -> str:
    """Return the present contact of a job that the gatekeeper still knows, "" when it surely knows none.

    Raises Unbelievable when that cannot be told.
    """
    if contact := contact_of(answer.stdout):
        return contact
    if answer.rc == _NO_STATE_FILE and code(answer) == _NO_STATE_FILE:
        return ""
    raise _unbelievable(answer)


def accepted(answer: Answer) -> bool | None:
    """Tell from the answer to a submission that printed no contact whether GRAM will run it: False, or None.

    A request runs only when globusrun has confirmed it, and then it prints the contact, whatever follows.
    """
    return False if answer.rc > 0 and answer.rc != _ASKED_TO_COMMIT else None


def unreachable(answer: Answer) -> bool:
    """Tell whether a call failed because the CE cannot be talked to, with whatever credential."""
    return code(answer) in _UNREACHABLE


def cancelled(answer: Answer) -> bool:
    """Tell whether `globusrun -k` was heard by a job manager, or the job has ended already."""
    return answer.rc in {0, _ENDED_ALREADY}


def contact_of(text: str) -> str:
    """Return the job contact that a text holds, "" for none."""
    found = _CONTACT.search(text)
    return found[1] if found else ""


def address(contact: str) -> str:
    """Return host and port of a contact."""
    return contact.split("/")[2]


def gatekeeper(endpoint: str, contact: str) -> str:
    """Return the gatekeeper that knows a job: the endpoint, at the very host that took the job."""
    found, host = _ENDPOINT.fullmatch(endpoint), address(contact).rpartition(":")[0]
    return f"{host}{found[2]}" if found else host


def code(answer: Answer) -> int:
    """Return GRAM's error code, 0 where none is named."""
    found = _CODE.findall(answer.stderr)
    if "is not supported by the LRM adapter" in answer.stderr:
        return _UNSUPPORTED
    return int(found[-1]) if found else 0


def complaint(answer: Answer) -> str:
    """Return what globusrun complains of in one line, with a remedy."""
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    credential = [line for line in lines if line.startswith(("globus_credential:", "expired "))]
    if answer.rc == 254 and credential:
        said = "; ".join(dict.fromkeys(credential[-2:]))
        return f"globusrun: {said} (renew the proxy, or correct its path)"
    first = next((line for line in lines if line.startswith(("GRAM Job", "ERROR"))), "")
    remedy = REMEDIES.get(code(answer), "")
    return f"globusrun: {first or answer.said()}{f' ({remedy})' if remedy else ''}"


def _unbelievable(answer: Answer) -> Unbelievable:
    return (Unreachable if unreachable(answer) else Unbelievable)(complaint(answer))
