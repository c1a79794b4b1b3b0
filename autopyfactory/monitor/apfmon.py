"""The pilot factory monitor apfmon, by its REST API of 2016 and 2017 (`PUT`/`POST` on factories, labels, jobs).

The monitor's words: a label is one of our queues, a job one of our pilots.
"""

import logging
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import islice
from typing import ClassVar, TypeVar
from urllib.parse import quote

from pydantic import Field, field_validator

from autopyfactory import __version__
from autopyfactory.clock import Clock
from autopyfactory.config.fields import Duration, Options
from autopyfactory.config.models import FactoryOptions
from autopyfactory.http import Answer, Http
from autopyfactory.model import EndedPilot
from autopyfactory.monitor.apfmon_api import Api
from autopyfactory.monitor.sentence import status_text
from autopyfactory.report import CycleReport

log = logging.getLogger(__name__)
T = TypeVar("T")

_LABEL = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*")
_CID = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_LONGEST_JID = 80


class _Lost(Exception):
    """The monitor does not know something that was registered; it has been marked to be registered again."""


class ApfmonOptions(Options):
    """`[monitor NAME]` with `plugin = apfmon`."""

    url: str = Field(description="base of the monitor's REST API, http://HOST/api; pilots get it as APFMON")
    deadline: Duration = Field(10.0, gt=0, description="time for one whole exchange with the monitor")
    http_proxy: str = Field(
        "", description="proxy to the monitor; it then sees the proxy's address, and may refuse to mark pilots done"
    )
    batch: int = Field(50, ge=1, le=500, description="labels or pilots in one request")
    refresh: Duration = Field(
        900.0,
        ge=60,
        description="a factory that registers no pilots for so long is registered again: the monitor shows it as "
        "dead after 20 minutes, but takes each registration for a start",
    )

    @field_validator("url")
    @classmethod
    def _base(cls, url: str) -> str:
        # the text is not repeated: a password in it must not reach a log
        if not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", url):
            raise ValueError("this is no address of a monitor, write for example http://apfmon.example.org/api")
        return url.rstrip("/")

    @field_validator("http_proxy")
    @classmethod
    def _proxy(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^/\s]+/?", url):
            raise ValueError("this is no address of a proxy, write for example http://squid.example.org:3128")
        return url


class Apfmon:
    """Tell one apfmon of the factory, its queues, its pilots and what became of them.

    Nothing is told twice after it was taken, so a call that failed half way can be repeated whole. What
    the monitor turns out not to know (it was restarted empty, or cleaned up) is registered again: the
    factory, the labels, and the last `memory` pilots whose end it was not told.
    """

    Options: ClassVar[type[Options]] = ApfmonOptions

    def __init__(
        self, name: str, options: ApfmonOptions, factory: FactoryOptions, clock: Clock, *, memory: int = 50_000
    ) -> None:
        self._name = name
        self._options = options
        self._factory = factory
        self._clock = clock
        self._memory = memory
        http = Http(f"monitor {name}", proxy=options.http_proxy, max_bytes=65536, cut=True)
        self._api = Api(name, options.url, options.deadline, http)
        self._moved: float | None = None
        self._labels: dict[str, dict[str, str]] = {}
        self._new_labels: dict[str, dict[str, str]] = {}
        self._pilots: dict[str, str] = {}
        self._new_pilots: dict[str, str] = {}
        self._ended: dict[str, None] = {}
        self._status_at: dict[str, float] = {}
        self._said: set[str] = set()

    @property
    def pilot_url(self) -> str:
        """The APFMON of pilots: they call the same API."""
        return self._options.url

    def send(self, reports: Sequence[CycleReport], ended: Sequence[EndedPilot]) -> None:
        """Register what is new, then tell each queue's latest status, then which pilots ended.

        Raises MonitorError when the monitor gave no answer or failed (5xx); what it refuses (4xx) is one
        warning and not repeated.
        """
        _forget_oldest(self._new_pilots, self._memory)  # what an outage left here; never the pilots of this call
        latest = {report.queue: report for report in reports if self._fit_label(report.queue)}
        for report in reports:
            if report.queue in latest:
                self._learn(report)
        self._settle()
        for report in latest.values():
            self._tell_status(report)
        for pilot in ended:
            if pilot.cid not in self._ended and self._fit_label(pilot.queue) and self._fit_cid(pilot.cid):
                self._tell_end(pilot)
        _forget_oldest(self._pilots, self._memory)
        _forget_oldest(self._ended, self._memory)

    def close(self) -> None:
        """Abandon a call under way, from another thread."""
        self._api.close()

    def _learn(self, report: CycleReport) -> None:
        wanted = _label(report)
        if self._labels.get(report.queue) != wanted:
            self._labels.pop(report.queue, None)
            self._new_labels[report.queue] = wanted
        if report.dry_run:
            return
        for cid in (cid for part in report.submitted for cid in part.cids):
            if cid not in self._pilots and cid not in self._ended and self._fit_cid(cid):
                self._new_pilots[cid] = report.queue

    def _settle(self) -> None:
        """Register what the monitor does not know; what it turns out to have lost, once more.

        A lost label shows when pilots are registered, a lost factory when labels or pilots are: the third
        round at the latest finds everything, or a monitor that cannot keep it.
        """
        for last in (False, False, True):
            try:
                self._register_factory()
                for labels in _shards(self._new_labels, self._options.batch):
                    self._register_labels(labels, last)
                for pilots in _shards(self._new_pilots, self._options.batch):
                    self._register_pilots(pilots, last)
            except _Lost:
                continue
            return

    def _register_factory(self) -> None:
        if self._moved is not None and self._clock.now() - self._moved < self._options.refresh:
            return
        body = {
            "email": self._factory.admin_email,
            "url": self._factory.pilot_log_url.rstrip("/"),
            "version": __version__[:64],
            "type": "AutoPyFactory",
        }
        answer = self._api.put(f"/factories/{self._factory.id}", body)
        if not answer.ok:  # without its factory the monitor takes nothing
            raise self._api.error("PUT /factories", answer)
        self._moved = self._clock.now()

    def _register_labels(self, labels: Mapping[str, dict[str, str]], last: bool) -> None:
        body = [{"name": name, "factory": self._factory.id} | more for name, more in labels.items()]
        answer = self._api.put("/labels", body)
        # an unknown factory is passed over in silence: only the figures in the text show it
        taken = _figures(r"Created (\d+)/\d+ labels?, (\d+) updated", answer)
        complete = answer.ok and (not taken or sum(taken) >= len(labels))
        if not complete and (answer.ok or answer.status == 404) and not last:
            self._forget()
            raise _Lost
        if not complete:
            self._refused("PUT /labels", answer)
        for name, more in labels.items():
            del self._new_labels[name]
            self._labels[name] = more

    def _register_pilots(self, pilots: Mapping[str, str], last: bool) -> None:
        body = [{"cid": cid, "factory": self._factory.id, "label": label} for cid, label in pilots.items()]
        answer = self._api.put("/jobs", body)
        if answer.status == 404 and not last:
            self._forget()
            raise _Lost
        missing = any(_figures(r"(\d+) not created", answer))
        if missing and not last:
            for label in set(pilots.values()):
                self._new_labels[label] = self._labels.pop(label, _label())
            raise _Lost
        if missing or not answer.ok:
            self._refused("PUT /jobs", answer)
        self._moved = self._clock.now()
        for cid, label in pilots.items():
            del self._new_pilots[cid]
            self._pilots[cid] = label

    def _forget(self) -> None:
        """Take everything for unknown to the monitor."""
        self._moved = None
        self._new_labels = self._labels | self._new_labels
        self._new_pilots = self._pilots | self._new_pilots
        self._labels, self._pilots = {}, {}
        labels, pilots = len(self._new_labels), len(self._new_pilots)
        log.info("monitor %s lost this factory: telling it of %d queues and %d pilots", self._name, labels, pilots)

    def _tell_status(self, report: CycleReport) -> None:
        if self._status_at.get(report.queue, float("-inf")) >= report.at:
            return
        path = f"/labels/{self._factory.id}:{quote(report.queue)}"
        form = {"status": status_text(report)}
        answer = self._api.post(path, form)
        if answer.status == 404:
            self._new_labels[report.queue] = self._labels.pop(report.queue, _label(report))
            self._settle()
            answer = self._api.post(path, form)
        if not answer.ok:
            self._refused("POST /labels", answer, report.queue)
        self._status_at[report.queue] = report.at

    def _tell_end(self, pilot: EndedPilot) -> None:
        """Tell how a pilot ended, on the wrapper's behalf too where that never called.

        `done` is only taken after `running` and `exiting`; a step refused with 400 is one already known.
        """
        if pilot.fault:
            self._post_state(pilot, state="fault")
        elif self._post_state(pilot, state="done") == 400:
            self._post_state(pilot, state="running")
            self._post_state(pilot, state="exiting", rc=str(_result(pilot.exit_code)))
            self._post_state(pilot, state="done")
        self._pilots.pop(pilot.cid, None)
        self._ended[pilot.cid] = None

    def _post_state(self, pilot: EndedPilot, **form: str) -> int:
        path = f"/jobs/{self._factory.id}:{pilot.cid}"
        answer = self._api.post(path, form)
        if answer.status == 404:
            self._new_pilots[pilot.cid] = self._pilots.pop(pilot.cid, pilot.queue)
            self._settle()
            answer = self._api.post(path, form)
        if not answer.ok and answer.status != 400:
            self._refused("POST /jobs", answer, pilot.queue)
        return answer.status

    def _refused(self, what: str, answer: Answer, queue: str = "") -> None:
        where = f" (queue {queue})" if queue else ""
        self._warn(f"{what} {answer.status} {queue}", self._api.complaint(what, answer) + where)

    def _fit_label(self, label: str) -> bool:
        dots = {".", ".."} & set(label.split("/"))
        if _LABEL.fullmatch(label) and len(label) <= 64 and not dots:
            return True
        self._warn(label, f"cannot show queue '{label}', it takes names of at most 64 letters, digits, . _ + - and /")
        return False

    def _fit_cid(self, cid: str) -> bool:
        if _CID.fullmatch(cid) and len(self._factory.id) + 1 + len(cid) <= _LONGEST_JID:
            return True
        self._warn(
            "cid", f"cannot show pilot '{cid}' and others like it, it takes ids of at most 16 letters, digits, . -"
        )
        return False

    def _warn(self, key: str, text: str) -> None:
        """Log a warning, the first time of its key only."""
        if key not in self._said:
            self._said.add(key)
            log.warning("monitor %s: %s", self._name, text)


def _label(report: CycleReport | None = None) -> dict[str, str]:
    """Return what the monitor wants to know of a label: a key left out makes it pass over the label.

    Its batchqueue, by which its pages group labels, is the name in the WMS.
    """
    if report is None:
        return {"wmsqueue": "", "batchqueue": "", "resource": "", "localqueue": ""}
    return {
        "wmsqueue": report.wmsqueue,
        "batchqueue": report.wmsqueue[:64],
        "resource": report.endpoint[:128],
        "localqueue": report.batchqueue[:32],
    }


def _result(exit_code: int | None) -> int:
    """Return an exit code as the monitor stores it: -1 is unknown, so a signal is 128 + its number as in a shell."""
    if exit_code is None:
        return -1
    return min(exit_code if exit_code >= 0 else 128 - exit_code, 32767)


def _figures(pattern: str, answer: Answer) -> tuple[int, ...]:
    match = re.search(pattern, answer.text) if answer.ok else None
    return tuple(int(figure) for figure in match.groups()) if match else ()


def _shards(items: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    """Cut into parts that may be taken out of `items` meanwhile."""
    rest = iter(list(items.items()))
    while part := dict(islice(rest, size)):
        yield part


def _forget_oldest(items: MutableMapping[str, T], kept: int) -> None:
    for key in list(islice(items, max(0, len(items) - kept))):
        del items[key]
