"""PanDA as a source of demand: the v1 JSON API of its server, straight or through squids.

Two questions serve all queues: the active jobs of every PanDA queue, and the site table. What the figures
describe is older than the question: the server counts in a table refreshed every minute or two (`lag`),
and a squid may answer from its cache (`Age`). Both are counted into the age of a snapshot.
"""

import difflib
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from autopyfactory.clock import Clock
from autopyfactory.config.fields import AbsolutePath, Boolean, Duration, Kind, Options, check_longer
from autopyfactory.errors import SourceError, UnknownWmsqueue
from autopyfactory.http import Answer, Http, NoAnswer, cache_age
from autopyfactory.logs import clean, mask
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.snapshot import Shared
from autopyfactory.wms import panda_v1
from autopyfactory.wms.panda_v1 import Envelope, NotJson, SiteTable, Statistics

T = TypeVar("T")
log = logging.getLogger(__name__)

Get = Callable[[str, Mapping[str, str], float], Answer]


def _address(ports: Mapping[str, int]) -> Callable[[Any], str]:
    """Make the reader of `scheme://[user:password@]host[:port]`; the port of the scheme is added."""

    def read(text: Any) -> str:
        text = str(text).strip()
        shown = "this" if "@" in text else f"'{text}'"  # a password in it must not reach a log
        example = f"write for example {next(iter(ports))}://host.example.org:{next(iter(ports.values()))}"
        try:
            parts = urlsplit(text)
            port = parts.port or ports[parts.scheme]
        except (KeyError, ValueError):
            raise ValueError(f"{shown} is no address, {example}") from None
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{shown} must be scheme, host and port alone, {example}")
        place = parts.netloc if parts.port else f"{parts.netloc.rstrip(':')}:{port}"
        return f"{parts.scheme}://{place}"

    return read


def _optional(read: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda text: read(text) if str(text).strip() else ""


_ADDRESS = Kind("address (http://host:port)")


class PandaOptions(Options):
    """`[wms NAME]` with `plugin = panda`."""

    url: Annotated[str, BeforeValidator(_address({"http": 25085, "https": 25443})), _ADDRESS] = Field(
        description="the PanDA server; without a port 25085, the squid before it (25080 is the server itself)"
    )
    http_proxy: Annotated[str, BeforeValidator(_optional(_address({"http": 3128}))), _ADDRESS] = Field(
        "", description="the site's own squid; without a port 3128"
    )
    ca: AbsolutePath | None = Field(None, description="file or folder of trusted certificates, for an https url")
    interval: Duration = Field(60.0, ge=0.1, description="time between two questions for the job statistics")
    site_interval: Duration = Field(600.0, ge=0.1, description="time between two questions for the site table")
    max_age: Duration = Field(360.0, gt=0, description="job counts that describe an older time are unknown")
    site_max_age: Duration = Field(3600.0, gt=0, description="an older site table is unknown")
    deadline: Duration = Field(15.0, gt=0, description="for the whole of one question and its answer")
    lag: Duration = Field(120.0, ge=0, description="age of the job counts at the server itself")
    by: Literal["label", "share"] = Field(
        "label", description="what jobs are counted by beside their resource type; by share PanDA tells no labels"
    )
    empty_is_zero: Boolean = Field(
        False, description="yes: the answer that means no jobs at all or a lost database is taken for no jobs"
    )

    @model_validator(mode="after")
    def _leaves_room(self) -> "PandaOptions":
        check_longer(self, "max_age", "lag", "interval")
        check_longer(self, "site_max_age", "site_interval")
        return self


class Panda:
    """One PanDA server, asked once per interval for all queues."""

    Options: ClassVar[type[Options]] = PandaOptions

    def __init__(self, name: str, options: PandaOptions, clock: Clock, *, get: Get | None = None) -> None:
        self.name = f"wms {name}"
        self._options = options
        self._clock = clock
        self._http = Http(self.name, proxy=options.http_proxy, ca=options.ca)
        self._get = get or self._http.get
        self._reported: set[tuple[str, str]] = set()
        self._statistics: Shared[Statistics] = Shared(
            self.name, self._poll_statistics, interval=options.interval, max_age=options.max_age, clock=clock
        )
        self._sites: Shared[SiteTable] = Shared(
            f"{self.name} site table",
            self._poll_sites,
            interval=options.site_interval,
            max_age=options.site_max_age,
            clock=clock,
        )
        through = f" through http_proxy {mask(options.http_proxy)}" if options.http_proxy else ""
        log.info("%s: job counts and site table from %s%s", self.name, mask(options.url), through)

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a wmsqueue by resource type and label; contract of `Wms`.

        A name absent from a good answer has no jobs if the site table knows it.
        """
        heard = self._statistics.get()
        if wmsqueue in heard.value.bad:
            raise SourceError(self.name, f"statistics of {wmsqueue} are unreadable, {heard.value.bad[wmsqueue]}")
        cells = heard.value.jobs.get(wmsqueue)
        if cells is None:
            self._expect(wmsqueue, heard.value.jobs)
        return Snapshot(cells or (), self.name, heard.began, heard.speaks_of)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return status (in lower case) and cores of a wmsqueue; contract of `Wms`."""
        heard = self._sites.get()
        if wmsqueue in heard.value.bad:
            raise SourceError(self._sites.name, f"entry of {wmsqueue} is unreadable, {heard.value.bad[wmsqueue]}")
        site = heard.value.sites.get(wmsqueue)
        if site is None:
            raise self._unknown(wmsqueue, heard.value.names)
        return Snapshot(site, self._sites.name, heard.began, heard.speaks_of)

    def shows(self, wmsqueue: str) -> list[str]:
        """Return the questions for the job counts and the site table, as curl asks them."""
        through = ["-x", mask(self._options.http_proxy)] if self._options.http_proxy else ["--noproxy", "*"]
        ca = ["--cacert", str(self._options.ca)] if self._options.ca else []
        head = ["curl", "-sS", "-i", *through, *ca, "-H", "Accept: application/json"]
        return [shlex.join([*head, mask(self._options.url) + path]) for path in (self._counts, panda_v1.SITES)]

    def close(self) -> None:
        """Cut the questions under way and wake all who wait for them."""
        self._statistics.close()
        self._sites.close()
        self._http.close()

    @property
    def _counts(self) -> str:
        """Return the path of the job counts."""
        return panda_v1.SHARES if self._options.by == "share" else panda_v1.STATISTICS

    def _expect(self, wmsqueue: str, having_jobs: Iterable[str]) -> None:
        try:
            names = self._sites.get().value.names
        except SourceError as error:
            reason = f"{wmsqueue} is not in the statistics, and without the site table that is not yet zero jobs"
            raise SourceError(self.name, f"{reason}: {error.reason}", stopped=error.stopped) from None
        if wmsqueue not in names:
            raise self._unknown(wmsqueue, names.union(having_jobs))

    def _unknown(self, wmsqueue: str, names: Iterable[str]) -> UnknownWmsqueue:
        folded = {name.casefold(): name for name in sorted(names)}
        close = difflib.get_close_matches(wmsqueue.casefold(), folded, n=1)
        hint = f"did you mean '{folded[close[0]]}'?" if close else "check the option wmsqueue"
        return UnknownWmsqueue(f"{self.name} does not know the wmsqueue '{wmsqueue}', {hint}")

    def _poll_statistics(self) -> Snapshot[Statistics]:
        return self._poll(self._counts, self._read_statistics, self._options.lag, self._options.max_age)

    def _poll_sites(self) -> Snapshot[SiteTable]:
        return self._poll(panda_v1.SITES, self._read_sites, 0.0, self._options.site_max_age)

    def _poll(self, path: str, read: Callable[[Envelope], T], lag: float, max_age: float) -> Snapshot[T]:
        began, answer, frame = self._ask(path)
        try:
            age = cache_age(answer.headers)
            if age + lag > max_age:
                # Refused here, so that a younger answer heard earlier goes on serving until it is too old.
                raise ValueError(f"figures of {age:.0f} s ago from a cache{' and a lag' if lag else ''}, too old")
            value = read(frame)
        except ValueError as error:
            raise self._unbelievable(path, error) from None
        log.debug("%s: %s answered %d bytes, age %.0f s", self.name, path, len(answer.body), age)
        return Snapshot(value, self.name, began, began - age - lag)

    def _ask(self, path: str) -> tuple[float, Answer, Envelope]:
        """Ask, and once more past the caches when the answer is no JSON: a cache mixes up its two forms."""
        began = self._clock.now()
        try:
            return began, *self._once(path, {}, self._options.deadline)
        except NotJson as error:
            self._report(path, f"asked again past the caches: {path} gave {error}")
        again = self._clock.now()
        left = self._options.deadline - (again - began)
        if left <= 0:
            raise SourceError(self.name, f"no JSON from {path}, and no time to ask again")
        try:
            return again, *self._once(path, {"Cache-Control": "no-cache"}, left)
        except NotJson as error:
            raise self._unbelievable(path, error) from None

    def _once(self, path: str, extra: Mapping[str, str], deadline: float) -> tuple[Answer, Envelope]:
        # The server sends JSON only if Accept is exactly this.
        url = self._options.url + path
        try:
            answer = self._get(url, {"Accept": "application/json", **extra}, deadline)
        except NoAnswer as error:
            raise SourceError(self.name, f"{mask(url)}: {error}", stopped=error.stopped) from None
        if answer.status != 200:
            raise self._unbelievable(path, panda_v1.http_error(answer.status, answer.headers, answer.body))
        try:
            return answer, panda_v1.envelope(answer.body)
        except NotJson:
            raise
        except ValueError as error:
            raise self._unbelievable(path, error) from None

    def _read_statistics(self, frame: Envelope) -> Statistics:
        if self._options.empty_is_zero and frame.maybe_idle:
            return Statistics({}, {})
        value = panda_v1.statistics(panda_v1.entries(frame), by_share=self._options.by == "share")
        for word in value.strange:
            self._report(word, f"jobs in the unknown status '{clean(word, 40)}' are not counted")
        self._report_bad(value.bad, "%d unreadable entries in the statistics are skipped")
        return value

    def _read_sites(self, frame: Envelope) -> SiteTable:
        value = panda_v1.site_table(panda_v1.entries(frame))
        self._report_bad(value.bad, "%d unreadable entries in the site table are skipped")
        self._report_bad(value.odd, "the cores of %d entries in the site table are unreadable and taken for not told")
        return value

    def _report_bad(self, bad: Mapping[str, str], text: str) -> None:
        """Warn once of each; `text` has a place for their number."""
        news = [name for name in bad if (text, name) not in self._reported]
        if news:
            self._reported.update((text, name) for name in news)
            first = f"{clean(news[0], 60)}, {bad[news[0]]}"
            log.warning("%s: %s, as of %s", self.name, text % len(news), first)

    def _report(self, key: str, text: str) -> None:
        """Warn once in the life of the source."""
        if ("", key) not in self._reported:
            self._reported.add(("", key))
            log.warning("%s: %s", self.name, text)

    def _unbelievable(self, path: str, why: object) -> SourceError:
        return SourceError(self.name, f"{mask(self._options.url)}{path} gave {why}")
