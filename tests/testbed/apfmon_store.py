"""What the stand-in for apfmon knows, and what it does with each request, as the real one does."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LABEL_KEYS = ("name", "factory", "batchqueue", "resource", "localqueue")
WIDTHS = {"name": 64, "batchqueue": 64, "resource": 128, "localqueue": 32}


@dataclass
class Factory:
    """One registered factory."""

    name: str
    email: str
    url: str
    version: str
    type: str
    ip: str
    startups: int = 0
    last_startup: float = 0.0
    last_modified: float = 0.0


@dataclass
class Label:
    """One registered queue of a factory."""

    name: str
    factory: str
    batchqueue: str
    resource: str
    localqueue: str
    msg: str = ""
    last_modified: float = 0.0


@dataclass
class Job:
    """One registered pilot."""

    jid: str
    cid: str
    factory: str
    label: str
    state: str = "created"
    result: int = -1
    messages: list[str] = field(default_factory=list)


class Reply(NamedTuple):
    """What the server answers."""

    status: int
    text: str = ""


class Store:
    """Factories by name, labels by `factory:label`, jobs by `factory:cid`."""

    def __init__(self, fault_from_anyone: bool = True) -> None:
        self.fault_from_anyone = fault_from_anyone
        self.lock = threading.RLock()
        self.factories: dict[str, Factory] = {}
        self.labels: dict[str, Label] = {}
        self.jobs: dict[str, Job] = {}

    def handle(self, method: str, target: str, body: bytes, ip: str) -> Reply:
        """Answer one request below the base of the API."""
        url = urlsplit(target)
        _, kind, *rest = unquote(url.path).split("/", 2)
        name = rest[0] if rest else ""
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        handlers: dict[tuple[str, str, bool], Callable[[], Reply]] = {
            ("GET", "factories", False): lambda: Reply(200, as_json([asdict(f) for f in self.factories.values()])),
            ("GET", "factories", True): lambda: _found(self.factories.get(name)),
            ("PUT", "factories", True): lambda: self.put_factory(name, body, ip),
            ("POST", "factories", True): lambda: Reply(200 if name in self.factories else 404),
            ("GET", "labels", False): lambda: self.list_labels(query),
            ("GET", "labels", True): lambda: _found(self.labels.get(name)),
            ("PUT", "labels", False): lambda: self.put_labels(body),
            ("POST", "labels", True): lambda: self.post_label(name, _form(body)),
            ("GET", "jobs", False): lambda: self.list_jobs(query),
            ("GET", "jobs", True): lambda: _found(self.jobs.get(name)),
            ("PUT", "jobs", False): lambda: self.put_jobs(body),
            ("POST", "jobs", True): lambda: self.post_job(name, _form(body), ip),
        }
        handler = handlers.get((method, kind, bool(rest)))
        if handler is None:
            return Reply(405 if kind in {"factories", "labels", "jobs"} else 404, "HTTP method not supported")
        with self.lock:
            return handler()

    def put_factory(self, name: str, body: bytes, ip: str) -> Reply:
        data = json.loads(body)
        if name.endswith("/"):
            return Reply(404, "<h1>Not Found</h1>")
        known = self.factories.get(name)
        factory = self.factories[name] = Factory(
            name, data["email"], data["url"], data["version"], data.get("type", ""), ip
        )
        factory.startups = (known.startups if known else 0) + 1
        factory.last_startup = factory.last_modified = time.time()
        return Reply(200 if known else 201, as_json([asdict(factory)]))

    def list_labels(self, query: dict[str, str]) -> Reply:
        labels = [label for label in self.labels.values() if query.get("factory", label.factory) == label.factory]
        counts = [
            asdict(label) | {f"n{state}": self.count(label, state) for state in ("created", "running", "done", "fault")}
            for label in labels
        ]
        return Reply(200, as_json(_page(counts, query)))

    def count(self, label: Label, state: str) -> int:
        return sum(
            (job.factory, job.label, job.state) == (label.factory, label.name, state) for job in self.jobs.values()
        )

    def put_labels(self, body: bytes) -> Reply:
        data = json.loads(body)
        created = updated = 0
        for wanted in data:
            if any(key not in wanted for key in LABEL_KEYS) or wanted["factory"] not in self.factories:
                continue
            if any(len(wanted[key]) > width for key, width in WIDTHS.items()):
                return Reply(500, "Data too long for column")
            key = f"{wanted['factory']}:{wanted['name']}"
            known = self.labels.get(key)
            created, updated = created + (known is None), updated + (known is not None)
            label = Label(**{name: wanted[name] for name in LABEL_KEYS}, last_modified=time.time())
            label.msg = known.msg if known else ""
            self.labels[key] = label
        noun = "label" if len(data) == 1 else "labels"
        return Reply(201 if created else 200, f"Created {created}/{len(data)} {noun}, {updated} updated")

    def post_label(self, name: str, form: dict[str, str]) -> Reply:
        if name.count(":") != 1:
            return Reply(400, "Invalid POST request")
        if name not in self.labels:
            return Reply(404, "<h1>Not Found</h1>")
        if not form.get("status"):
            return Reply(400, f"Invalid data: {form}")
        self.labels[name].msg = form["status"][:255]
        self.labels[name].last_modified = time.time()
        return Reply(200)

    def list_jobs(self, query: dict[str, str]) -> Reply:
        jobs = [
            asdict(job)
            for job in self.jobs.values()
            if all(query.get(key, getattr(job, key)) == getattr(job, key) for key in ("factory", "label", "state"))
        ]
        return Reply(200, as_json(_page(jobs, query)))

    def put_jobs(self, body: bytes) -> Reply:
        data = json.loads(body)
        created = missing = 0
        if not data:
            raise ValueError("an empty list")
        for wanted in data:
            cid, factory, label = wanted["cid"], wanted["factory"], wanted["label"]
            if not isinstance(cid, str) or len(cid) > 16 or len(f"{factory}:{cid}") > 80:
                raise ValueError(f"cid {cid}")
            if factory not in self.factories:
                return Reply(404, "<h1>Not Found</h1>")
            self.factories[factory].last_modified = time.time()
            jid = f"{factory}:{cid}"
            if f"{factory}:{label}" not in self.labels:
                missing += 1
            elif jid not in self.jobs:
                self.jobs[jid] = Job(jid, cid, factory, label)
                created += 1
        noun = "job" if len(data) == 1 else "jobs"
        return Reply(201 if created else 200, f"Created {created}/{len(data)} {noun}, {missing} not created")

    def post_job(self, jid: str, form: dict[str, str], ip: str) -> Reply:
        if jid.count(":") != 1:
            raise ValueError(f"jid {jid}")
        job = self.jobs.get(jid)
        if job is None:
            return Reply(404, "Not Found")
        state = form.get("state", "")
        before = {"running": {"created"}, "exiting": {"running"}, "done": {"exiting"}}
        ours = ip == self.factories[job.factory].ip
        if state != "fault" and state not in before:
            return Reply(400, f"Invalid data: {form}")
        if (state == "done" or (state == "fault" and not self.fault_from_anyone)) and not ours:
            return Reply(400, "Factory IP does not match")
        if job.state == "fault" or (state in before and job.state not in before[state]):
            job.messages.append(f"Invalid state transition: {job.state}->{state}")
            return Reply(400, job.messages[-1])
        if state == "exiting":
            rc = form["rc"]
            if not re.fullmatch(r"-?\d+", rc):
                return Reply(400, f"Invalid rc: {rc}")
            job.result = int(rc)
        job.messages.append(f"State change: {job.state}->{state}")
        job.state = state
        return Reply(200, f"/api/jobs/{jid}")

    def dump(self) -> str:
        """Return everything that is known as JSON."""
        with self.lock:
            return as_json(
                {
                    "factories": {key: asdict(factory) for key, factory in self.factories.items()},
                    "labels": {key: asdict(label) for key, label in self.labels.items()},
                    "jobs": {key: asdict(job) for key, job in self.jobs.items()},
                }
            )


def _form(body: bytes) -> dict[str, str]:
    fields = re.split("[&;]", body.decode())  # those servers take a bare ; for a separator
    return {key: values[-1] for key, values in parse_qs("&".join(fields)).items()}


def _page(rows: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    limit, offset = int(query.get("limit", 50)), int(query.get("offset", 0))
    return rows[offset:] if limit == 0 else rows[offset : offset + limit]


def _found(item: Factory | Label | Job | None) -> Reply:
    return Reply(404, "<h1>Not Found</h1>") if item is None else Reply(200, as_json(asdict(item)))


def as_json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True)
