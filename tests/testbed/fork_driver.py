"""A factory's part of a fork source as a process of its own, to be killed at will: `python -m ... HOME STEP ...`."""

import json
import os
import signal
import sys
from pathlib import Path

from autopyfactory import batch
from autopyfactory.batch.fork_files import ForkFiles, Record
from tests.testbed.forkhost import ALL, TestHost, until


def submit(host: TestHost, script: str, user: str) -> None:
    """Submit two pilots and print their cids."""
    print(json.dumps(host.submit(script, 2, user=user, same=not user).cids), flush=True)


def submit_and_die(host: TestHost, script: str, user: str) -> None:
    """Submit two pilots and be killed between the acceptance and its answer."""
    real = ForkFiles.add

    def add(*words: object) -> Record:
        real(*words)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    ForkFiles.add = add  # type: ignore[method-assign, assignment]
    submit(host, script, user)


def start(host: TestHost, script: str, user: str) -> None:
    """Submit two pilots and wait until one of them has written something."""
    submit(host, script, user)
    until(lambda: any(path.stat().st_size for path in host.home.glob("logs/Q/*.out")))


def start_and_die(host: TestHost, script: str, user: str) -> None:
    """Do as `start` and be killed."""
    start(host, script, user)
    os.kill(os.getpid(), signal.SIGKILL)


def count(host: TestHost) -> None:
    """Print the pilots by state, when one runs."""
    until(lambda: "running" in host.counts())
    print(json.dumps(host.counts()))


def finish(host: TestHost) -> None:
    """Wait until all pilots have ended and print `[cid, exit code, fault]` of each."""
    print(json.dumps([[pilot.cid, pilot.exit_code, pilot.fault] for pilot in host.finish()]))


def remove(host: TestHost) -> None:
    """Remove all pilots and do as `finish`."""
    batch.remove(host.host, "Q", ALL)
    finish(host)


def main() -> None:
    """Do one step with a fresh host over HOME, which has one slot."""
    home, step, *words = sys.argv[1:]
    host = TestHost(Path(home), slots=1)
    host.counts()
    globals()[step](host, *words)
    host.host.close()


if __name__ == "__main__":
    main()
