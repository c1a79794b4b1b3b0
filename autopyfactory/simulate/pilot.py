"""A pilot to play with: takes jobs of one queue from a PanDA, sleeps as long as they last, reports them.

A file of the standard library alone, started fast by `python3 -I -S pilot.py --url URL --queue QUEUE`; the
options can also come as PANDA_URL, PANDA_QUEUE and PANDA_LABEL. Exit codes: 0 all jobs done or none there,
1 no answer from PanDA, 143 ended by TERM; the job it had then is left to PanDA, which fails it when no
report comes any more. What it prints is the pilot's `.out` file.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

DEADLINE = 10.0


class Server:
    """The pilot calls of the v1 API."""

    def __init__(self, url: str, queue: str) -> None:
        self._address = urlsplit(url if "//" in url else f"http://{url}")
        self._queue = queue

    def acquire(self, label: str) -> dict[str, Any] | None:
        """Return one job, None when there is none. Raises OSError without an answer."""
        asked = {
            "prod_source_label": label,
            "n_jobs": 1,
            "scheduler_id": os.environ.get("PANDA_JSID", "unknown"),
            "pilot_id": os.environ.get("GTAG", "unknown"),
        }
        answer = self._post("acquire_jobs", asked)
        if not answer.get("success"):
            say(f"no job: {answer.get('message')}")
            return None
        jobs = answer["data"]["jobs"]
        return dict(jobs[0]) if jobs else None

    def update(self, job: dict[str, Any], status: str) -> str:
        """Report a job's status and return PanDA's command. Raises OSError without an answer."""
        report = {"job_id": job["PandaID"], "job_status": status, "attempt_nr": job.get("attemptNr", 1)}
        answer = self._post("update_job", report)
        if not answer.get("success"):
            say(f"PanDA does not take '{status}' for job {job['PandaID']}: {answer.get('message')}")
            return "tobekilled"
        return str(answer["data"].get("command", "NULL"))

    def _post(self, method: str, values: dict[str, Any]) -> dict[str, Any]:
        secure = self._address.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self._address.hostname or "", self._address.port, timeout=DEADLINE)
        body = json.dumps({"site_name": self._queue, "node": socket.gethostname(), **values})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            connection.request("POST", f"{self._address.path.rstrip('/')}/api/v1/pilot/{method}", body, headers)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise OSError(f"{method}: HTTP {response.status}")
            return dict(json.loads(text))
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"{method}: {error!r}") from error
        finally:
            connection.close()


def say(text: str) -> None:
    """Write a line of the pilot's output at once."""
    print(time.strftime("%H:%M:%SZ", time.gmtime()), text, flush=True)


def run(server: Server, job: dict[str, Any], heartbeat: float) -> None:
    """Run a job: sleep for the seconds it names, reporting that it runs, then that it has finished."""
    seconds = float(job.get("jobPars") or 0)
    say(f"job {job['PandaID']} runs for {seconds:g} s")
    end = time.monotonic() + seconds
    while True:
        if server.update(job, "running") == "tobekilled":
            say(f"job {job['PandaID']} is not wanted any more")
            return
        left = end - time.monotonic()
        time.sleep(max(0.0, min(left, heartbeat)))
        if left <= heartbeat:
            break
    server.update(job, "finished")
    say(f"job {job['PandaID']} finished")


def work(server: Server, label: str, *, life: float, heartbeat: float) -> int:
    """Run jobs one after the other for `life` seconds or until there are none; return the exit code."""
    end = time.monotonic() + life
    done = 0
    try:
        while time.monotonic() < end and (job := server.acquire(label)) is not None:
            run(server, job, heartbeat)
            done += 1
    except OSError as error:
        say(f"no answer from PanDA: {error}")
        return 1
    say(f"{done} jobs done, good bye")
    return 0


def main() -> int:
    """Read the options and work."""
    env = os.environ.get
    parser = argparse.ArgumentParser(description="A pilot to play with.")
    parser.add_argument("--url", default=env("PANDA_URL"), help="the PanDA server")
    parser.add_argument("--queue", default=env("PANDA_QUEUE"), help="the PanDA queue whose jobs it takes")
    parser.add_argument("--label", default=env("PANDA_LABEL", "managed"), help="prodSourceLabel, or unified")
    parser.add_argument("--life", type=float, default=60.0, help="seconds after which it takes no further job")
    parser.add_argument("--heartbeat", type=float, default=2.0, help="seconds between two reports of a job")
    options = parser.parse_args()
    if not options.url or not options.queue:
        parser.error("--url and --queue, or PANDA_URL and PANDA_QUEUE, have to say whose jobs to take")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    say(f"pilot {env('APFCID', '')} of factory {env('APFFID', '')} at your service, queue {options.queue}")
    try:
        return work(Server(options.url, options.queue), options.label, life=options.life, heartbeat=options.heartbeat)
    except SystemExit:
        say("stopped")
        raise


if __name__ == "__main__":
    sys.exit(main())
