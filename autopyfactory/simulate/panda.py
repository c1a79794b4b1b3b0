"""A PanDA to play with: the v1 API of a PanDA server over plain http, with its quirks, on this host only.

Run alone it prints its URL: `python -m autopyfactory.simulate.panda --port 25080`.
"""

import json
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Self

import click
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from autopyfactory.clock import Clock
from autopyfactory.simulate.faults import Fault, broken
from autopyfactory.simulate.jobs import Job, Jobs, SimulatedQueue, Totals
from autopyfactory.simulate.wire import Reply, envelope, failure, rendered

log = logging.getLogger(__name__)

_NO_FIGURES = "Database failure getting the job statistics"


class SimulatedPanda:
    """A PanDA server in a thread, on 127.0.0.1 and `port` (0: a free one).

    `lag` and `lease` as in `Jobs`. `fault` breaks the statistics and the site table while it is set;
    `extra_headers` go with every answer, for tests of caches. Everything may be used from any thread.
    """

    def __init__(
        self,
        queues: Sequence[SimulatedQueue],
        *,
        lag: float = 60.0,
        lease: float = 120.0,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.jobs = Jobs(queues, lag=lag, lease=lease, clock=clock or Clock())
        self.fault: Fault | None = None
        self.extra_headers: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        """Requests so far, by the method's name (`active_job_detailed_stats_by_site`, ...)."""
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._server = make_server("127.0.0.1", port, self._app(), threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="simulated panda", daemon=True
        )

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and free the port, within a fraction of a second."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def totals(self) -> dict[str, Totals]:
        """Return the true state by queue."""
        return self.jobs.totals()

    def freeze(self, frozen: bool = True) -> None:
        """Stop refreshing the statistics, or go on."""
        self.jobs.freeze(frozen)

    def _app(self) -> Flask:
        app = Flask(__name__)
        app.add_url_rule("/api/v1/<module>/<method>", "call", self._call, methods=["GET", "POST"])
        app.register_error_handler(HTTPException, lambda error: _page(error.code or 500))
        return app

    def _call(self, module: str, method: str) -> Response:
        with self._counting:
            self.requests[method] += 1
        verb, answer = self._methods().get((module, method), ("", None))
        if answer is None:
            return Response(f"ERROR : method {method} is forbidden", status=403, content_type="text/plain")
        fault = self.fault if verb == "GET" else None
        if fault == "db_down":
            reply = failure(_NO_FIGURES, {})
        elif request.method != verb:
            reply = failure(f"expecting {verb}, received {request.method}")
        else:
            reply = answer()
        as_json = "application/json" in {request.headers.get("Accept"), request.headers.get("Content-Type")}
        body = rendered(reply, as_json=as_json and fault != "repr")
        # Given in pieces, the body travels chunked and without Content-Length, as the real one does.
        response = broken(body, fault, self._stopping) if fault else Response(iter([body]), content_type="text/plain")
        response.headers.extend(self.extra_headers)
        return response

    def _methods(self) -> dict[tuple[str, str], tuple[str, Callable[[], Reply]]]:
        return {
            ("system", "is_alive"): ("GET", lambda: envelope(None)),
            ("statistics", "active_job_stats_by_site"): ("GET", self._plain),
            ("statistics", "active_job_detailed_stats_by_site"): ("GET", self._detailed),
            ("metaconfig", "get_site_specs"): ("GET", self._site_specs),
            ("pilot", "acquire_jobs"): ("POST", self._acquire),
            ("pilot", "update_job"): ("POST", self._update),
        }

    def _detailed(self) -> Reply:
        for name in request.args:
            return failure(f"Argument error: got an unexpected keyword argument '{name}'")
        cells = self.jobs.statistics()
        return envelope(cells) if cells else failure(_NO_FIGURES, {})

    def _plain(self) -> Reply:
        reply = self._detailed()
        if not reply["data"]:
            return reply
        sums: dict[str, Counter[str]] = {}
        for name, by_type in reply["data"].items():
            sums[name] = Counter()
            for counts in (counts for by_label in by_type.values() for counts in by_label.values()):
                sums[name].update(counts)
        return envelope(sums)

    def _site_specs(self) -> Reply:
        wanted = request.args.get("type", "analysis")
        table: dict[str, Any] = {}
        for stream in self.jobs.queues:
            if wanted not in {"all", stream.type}:
                continue
            cores = stream.cores if stream.cores > 1 else None
            entry: dict[str, Any] = {
                "sitename": stream.name,
                "nickname": stream.name,
                "cloud": "WORLD",
                "status": stream.status,
            }
            table.setdefault(stream.name, entry | {"type": stream.type, "coreCount": cores, "maxtime": 345600})
        return envelope(table)

    def _acquire(self) -> Reply:
        asked = _parameters()
        name = str(asked.get("site_name", ""))
        status = next((stream.status for stream in self.jobs.queues if stream.name == name), "")
        # A queue in test gives out test jobs only, whatever its pilots ask for.
        label = "test" if status == "test" else str(asked.get("prod_source_label", "managed"))
        labels = {"managed", "user"} if label == "unified" else {label}
        jobs = self.jobs.acquire(name, labels, int(asked.get("n_jobs", 1)))
        if not jobs:
            return failure("No jobs in PanDA")
        return envelope({"StatusCode": 0, "jobs": [_specification(job) for job in jobs]})

    def _update(self) -> Reply:
        asked = _parameters()
        try:
            command = self.jobs.update(int(asked["job_id"]), str(asked["job_status"]))
        except KeyError as error:
            return failure(f"Argument error: no such job or parameter {error}")
        except ValueError:
            return failure(f"Type error: cannot take job_id and job_status of {asked}")
        return envelope({"StatusCode": 0, "command": command})


class _Quiet(WSGIRequestHandler):
    """Log requests for debugging only; the demo's screen is for its table."""

    def log(self, type: str, message: str, *args: Any) -> None:
        log.debug(message, *args)


def demo_queues() -> tuple[SimulatedQueue, ...]:
    """Return four queues of different shapes: single core, eight cores, analysis, and one in test."""
    return (
        SimulatedQueue("DEMO_SCORE", backlog=30, rate=40, duration=5),
        SimulatedQueue("DEMO_MCORE", resource_type="MCORE", cores=8, backlog=6, rate=6, duration=12),
        SimulatedQueue("DEMO_ANALY", label="user", type="analysis", backlog=15, rate=20, duration=3),
        SimulatedQueue("DEMO_TEST", label="test", status="test", backlog=4, rate=2, duration=5),
    )


def _parameters() -> dict[str, Any]:
    document = request.get_json(silent=True) if request.is_json else None
    return document if isinstance(document, dict) else request.form.to_dict()


def _specification(job: Job) -> dict[str, Any]:
    stream = job.stream
    return {
        "StatusCode": 0,
        "PandaID": job.id,
        "prodSourceLabel": stream.label,
        "transformation": "sleep",
        "jobPars": f"{stream.duration:g}",
        "jobName": f"simulated.job.{job.id}",
        "attemptNr": 1,
        "coreCount": stream.cores,
        "resource_type": stream.resource_type,
        "maxWalltime": 3600,
    }


def _page(status: int) -> Response:
    return Response(f"<html><body><h1>{status}</h1></body></html>", status=status, content_type="text/html")


def _queue(text: str) -> SimulatedQueue:
    """Read `NAME,backlog=40,rate=10,cores=8`: fields of SimulatedQueue."""
    name, *pairs = text.split(",")
    fields: dict[str, Any] = dict(pair.partition("=")[::2] for pair in pairs)
    kinds = {"cores": int, "backlog": int, "rate": float, "duration": float}
    try:
        return SimulatedQueue(name, **{key: kinds.get(key, str)(value) for key, value in fields.items()})
    except (TypeError, ValueError) as error:
        raise click.BadParameter(f"{text}: {error}") from None


@click.command()
@click.option("--port", default=0, show_default="a free one")
@click.option("--lag", default=60.0, show_default=True, help="seconds between two refreshes of the statistics")
@click.option("--lease", default=120.0, show_default=True, help="seconds until a silent pilot's job is failed")
@click.option("--queue", "queues", multiple=True, help="NAME,backlog=40,rate=10,...; default: the demo's four")
def main(port: int, lag: float, lease: float, queues: tuple[str, ...]) -> None:
    """Run a simulated PanDA until it is interrupted; its URL is the first line of output."""
    chosen = tuple(_queue(text) for text in queues) or demo_queues()
    with SimulatedPanda(chosen, lag=lag, lease=lease, port=port) as panda:
        click.echo(panda.url)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        stop.wait()
        click.echo(json.dumps({name: asdict(total) for name, total in panda.totals().items()}))


if __name__ == "__main__":
    main()
