"""Demand as a number in some JSON document: from any URL or command, found there by a JMESPath expression.

`{wmsqueue}` in the URL, the command or a path stands for the name that a queue asks for. Where it stands in
the paths alone, one document serves all wmsqueues; else each has its own.
"""

import json
import shlex
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator

from autopyfactory.clock import Clock
from autopyfactory.command import NotStarted, Run, Runner, Silent
from autopyfactory.config.fields import AbsolutePath, CommandLine, Duration, Options, check_longer
from autopyfactory.errors import SourceError
from autopyfactory.http import Answer, Http, NoAnswer, cache_age
from autopyfactory.logs import mask
from autopyfactory.model import JobCount, Site, Snapshot
from autopyfactory.snapshot import Shared
from autopyfactory.wms.listed import ListedOptions
from autopyfactory.wms.paths import WMSQUEUE, Expression, compiled

Get = Callable[[str, Mapping[str, str], float], Answer]

_MOST = 10**9


class JsonOptions(ListedOptions):
    """`[wms NAME]` with `plugin = json`."""

    url: str = Field("", description="http or https address of the document; {wmsqueue} stands for the wmsqueue")
    command: CommandLine = Field("", description="command that prints the document, run without a shell; or this")
    activated: Expression = Field(description="JMESPath of the number of jobs that wait, e.g. queues.{wmsqueue}.idle")
    running: Expression = Field("", description="JMESPath of the number of jobs that run")
    status_path: Expression = Field("", description="JMESPath of the site status; empty: the option status")
    http_proxy: str = Field("", description="a squid before the url, http://host:port")
    ca: AbsolutePath | None = Field(None, description="file or folder of trusted certificates, for an https url")
    lag: Duration = Field(0.0, ge=0, description="age of the figures when they are published")
    resource_type: str = Field("", description="resource type of the jobs, for queues with resource_types")
    label: str = Field("", description="label of the jobs, for queues with labels")

    @field_validator("url", "http_proxy")
    @classmethod
    def _is_an_address(cls, text: str) -> str:
        if text and not text.startswith(("http://", "https://")):
            raise ValueError("is no address that begins with http:// or https://")
        return text

    @model_validator(mode="after")
    def _has_a_document(self) -> "JsonOptions":
        if bool(self.url) == bool(self.command):
            raise ValueError("where is the document? set either url or command")
        if not self.activated:
            raise ValueError("activated is empty, write the path of the number of jobs that wait")
        check_longer(self, "max_age", "lag", "interval")
        return self


class Json:
    """Documents that hold numbers of jobs."""

    Options: ClassVar[type[Options]] = JsonOptions

    def __init__(
        self, name: str, options: JsonOptions, clock: Clock, *, get: Get | None = None, run: Run | None = None
    ) -> None:
        self.name = f"wms {name}"
        self._options = options
        self._clock = clock
        self._http = Http(self.name, proxy=options.http_proxy, ca=options.ca)
        self._get = get or self._http.get
        self._run = run or Runner()
        self._lock = threading.Lock()
        self._documents: dict[str, Shared[Any]] = {}
        self._closed = False

    def jobs(self, wmsqueue: str) -> Snapshot[tuple[JobCount, ...]]:
        """Return the jobs of a wmsqueue as one cell; contract of `Wms`."""
        heard = self._document(wmsqueue).get()
        counts = {"activated": self._number("activated", self._options.activated, wmsqueue, heard.value)}
        if self._options.running:
            counts["running"] = self._number("running", self._options.running, wmsqueue, heard.value)
        cell = JobCount(self._options.resource_type, self._options.label, counts)
        return Snapshot((cell,), self.name, heard.began, heard.speaks_of)

    def site(self, wmsqueue: str) -> Snapshot[Site]:
        """Return the status that the document tells, or the configured one; contract of `Wms`."""
        if not self._options.status_path:
            now = self._clock.now()
            return Snapshot(Site(self._options.status), self.name, now, now)
        heard = self._document(wmsqueue).get()
        word = self._found("status_path", self._options.status_path, wmsqueue, heard.value)
        if not isinstance(word, str) or not word.strip():
            raise SourceError(self.name, f"status_path leads to {_told(word)} for '{wmsqueue}', not to a word")
        return Snapshot(Site(word.strip().lower()), self.name, heard.began, heard.speaks_of)

    def shows(self, wmsqueue: str) -> list[str]:
        """Return what prints the document: its command, or curl for its URL."""
        if not self._options.url:
            return [shlex.join(self._argv(wmsqueue))]
        through = ["-x", mask(self._options.http_proxy)] if self._options.http_proxy else ["--noproxy", "*"]
        ca = ["--cacert", str(self._options.ca)] if self._options.ca else []
        return [shlex.join(["curl", "-sS", "-i", *through, *ca, mask(self._url(wmsqueue))])]

    def close(self) -> None:
        """Cut the questions under way and wake all who wait for them."""
        with self._lock:
            self._closed = True
            documents = list(self._documents.values())
        for document in documents:
            document.close()
        self._http.close()
        self._run.close()

    def _document(self, wmsqueue: str) -> Shared[Any]:
        options = self._options
        name = wmsqueue if WMSQUEUE in options.url + options.command else ""
        with self._lock:
            if self._closed:
                raise SourceError(self.name, "the factory stops", stopped=True)
            if name not in self._documents:
                self._documents[name] = Shared(
                    f"{self.name} of {name}" if name else self.name,
                    lambda: self._poll(name),
                    interval=options.interval,
                    max_age=options.max_age,
                    clock=self._clock,
                )
            return self._documents[name]

    def _poll(self, wmsqueue: str) -> Snapshot[Any]:
        began = self._clock.now()
        text, age = self._fetched(wmsqueue) if self._options.url else (self._printed(wmsqueue), 0.0)
        try:
            value = json.loads(text)
        except ValueError:
            raise SourceError(self.name, f"no JSON but '{text.strip()[:60]!s}'") from None
        return Snapshot(value, self.name, began, began - age - self._options.lag)

    def _fetched(self, wmsqueue: str) -> tuple[str, float]:
        url = self._url(wmsqueue)
        try:
            answer = self._get(url, {"Accept": "application/json"}, self._options.deadline)
        except NoAnswer as error:
            raise SourceError(self.name, f"{mask(url)}: {error}", stopped=error.stopped) from None
        if not answer.ok:
            raise SourceError(self.name, f"{mask(url)} answered HTTP {answer.status}")
        try:
            return answer.text, cache_age(answer.headers)
        except ValueError as error:
            raise SourceError(self.name, f"{mask(url)}: {error}") from None

    def _printed(self, wmsqueue: str) -> str:
        argv = self._argv(wmsqueue)
        try:
            answer = self._run(argv, self._options.deadline)
        except (NotStarted, Silent) as error:
            raise SourceError(self.name, error.reason, stopped=error.stopped) from None
        if answer.rc:
            raise SourceError(self.name, f"{argv[0]} ended with {answer.rc}: {answer.said()}")
        return answer.stdout

    def _url(self, wmsqueue: str) -> str:
        return self._options.url.replace(WMSQUEUE, quote(wmsqueue, safe=""))

    def _argv(self, wmsqueue: str) -> list[str]:
        return [word.replace(WMSQUEUE, wmsqueue) for word in shlex.split(self._options.command)]

    def _found(self, option: str, path: str, wmsqueue: str, document: Any) -> Any:
        try:
            search = compiled(path.replace(WMSQUEUE, wmsqueue))
            return search(document) if search else None
        except ValueError as error:
            raise SourceError(self.name, f"{option} cannot be used for '{wmsqueue}': {error}") from None

    def _number(self, option: str, path: str, wmsqueue: str, document: Any) -> int:
        """Return a count; what is no whole number, and what is not there, is unknown."""
        value = self._found(option, path, wmsqueue, document)
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MOST:
            wrong = f"{option} leads to {_told(value)} for '{wmsqueue}', not to a number of jobs"
            raise SourceError(self.name, f"{wrong}: is the wmsqueue right, and the path?")
        return number


def _told(value: Any) -> str:
    return "nothing" if value is None else f"'{str(value)[:60]}'"
