"""Drive a CondorSchedd from outside: one JSON request per line in, one JSON answer per line out.

Root cannot submit to HTCondor, so tests that run as root start this as the pool's user. The first line
makes the object: {"name": ..., "options": {...}, "log_dir": ..., "position": ..., "factory": ...}. A heartbeat
thread measures the longest time for which no thread of this process could run.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autopyfactory.batch import Context, Order, remove
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_rows import CondorQueueOptions
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Ambiguous, FactoryError, Refused
from autopyfactory.model import Pilot, PilotState, Shape
from autopyfactory.sched.options import RuleOptions


class Heartbeat(threading.Thread):
    """Measure the longest pause between two beats."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(0.02)
            now = time.monotonic()
            self.longest = max(self.longest, now - last)
            last = now


class Driver:
    """One schedd object and the requests it understands."""

    def __init__(self, setup: dict[str, Any]) -> None:
        factory = FactoryOptions(id=setup.get("factory", "test-factory"), host="testhost", user="tester")
        self._log_dir = Path(setup["log_dir"])
        self._context = Context(factory, Clock(), setup.get("position", 0))
        self._schedd = CondorSchedd(setup["name"], ScheddOptions(**setup["options"]), self._context)
        self._heartbeat = Heartbeat()
        self._heartbeat.start()

    def poll(self) -> dict[str, Any]:
        report = self._schedd.poll()
        counts: dict[str, dict[str, int]] = {}
        for group in report.groups:
            states = counts.setdefault(group.submission, {})
            states[group.state] = states.get(group.state, 0) + group.count
        ended = [[pilot.cid, pilot.submission, pilot.exit_code, pilot.fault] for pilot in report.ended]
        queues = sorted({group.queue for group in report.groups})
        return {"counts": counts, "ended": ended, "queues": queues}

    def submit(
        self,
        order: str,
        count: int,
        executable: str,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        submit: dict[str, str] | None = None,
        queue: str = "Q1",
        memory_mb: int | None = None,
        walltime_s: int | None = None,
    ) -> list[str]:
        config = QueueConfig(
            queue,
            QueueOptions(backend="condor", type="vanilla"),
            CondorQueueOptions(),
            RuleOptions(),
            environment or {},
            submit or {},
        )
        taken = self._schedd.submit(
            Order(
                id=order,
                queue=config,
                endpoint="",
                shape=Shape(1, memory_mb, walltime_s),
                count=count,
                executable=Path(executable),
                log_dir=self._log_dir,
                log_url="http://logs.test/x",
                arguments=tuple(arguments),
            )
        )
        return list(taken.cids)

    def ended(self, submissions: list[str]) -> list[str]:
        return sorted(self._schedd.ended(frozenset(submissions)))

    def remove(self, queue: str, states: list[str]) -> int:
        return remove(self._schedd, queue, frozenset(PilotState(state) for state in states)).total()

    def pilots(self, queue: str = "", states: list[str] | None = None) -> list[dict[str, Any]]:
        chosen = frozenset(PilotState(state) for state in states or [*PilotState])
        return [asdict(pilot) for pilot in self._schedd.pilots(queue, chosen)]

    def tend(self, action: str, pilots: list[dict[str, Any]]) -> int:
        """Remove or release pilots that were listed."""
        listed = [Pilot(**(pilot | {"state": PilotState(pilot["state"])})) for pilot in pilots]
        tend = self._schedd.remove_pilots if action == "remove" else self._schedd.release_pilots
        return tend(listed)

    def stall(self) -> float:
        longest, self._heartbeat.longest = self._heartbeat.longest, 0.0
        return longest

    def close_after(self, seconds: float) -> None:
        threading.Timer(seconds, self._schedd.close).start()

    def close(self) -> None:
        self._schedd.close()


def answer(call: Callable[[], object]) -> dict[str, Any]:
    """Return a call's result or its error, and how long it took."""
    began = time.monotonic()
    try:
        result: dict[str, Any] = {"result": call()}
    except FactoryError as error:
        result = {"error": type(error).__name__, "reason": str(error), "stopped": getattr(error, "stopped", None)}
        if isinstance(error, Refused | Ambiguous):
            result["reason"] = error.reason
    return result | {"seconds": time.monotonic() - began}


def main() -> None:
    """Serve requests until the input ends."""
    driver = Driver(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        method = getattr(driver, request.pop("call"))
        print(json.dumps(answer(lambda method=method, request=request: method(**request))), flush=True)  # type: ignore[misc]
    driver.close()


if __name__ == "__main__":
    main()
