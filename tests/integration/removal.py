"""The command `kill` beside the daemon that counts the same pilots."""

import time
from collections.abc import Mapping

from tests.testbed.daemon import Daemon
from tests.testbed.world import until


def remove_by_command(factory: Daemon, queue: str, there: Mapping[str, int]) -> None:
    """Wait for so many pilots in these states, drain the queue, and remove those of one state after the other."""
    total, told = sum(there.values()), ", ".join(f"{state} {count}" for state, count in there.items())

    def found() -> str:
        return factory.run("kill", "--queue", queue, "--dry-run").stdout

    until(lambda: found() == f"would remove {total} pilots of {queue}: {told}\n", 90, f"{queue} has {told}")
    time.sleep(2)  # until the daemon, which asks every second, has counted them too
    since = factory.mark()
    assert factory.run("drain", queue, "--why", "test").returncode == 0
    figures = " ".join(f"{state}={count}" for state, count in there.items())
    factory.wait_for(rf" {queue} blocked: .*\b{figures} ", 20, since=since)
    for state, count in there.items():
        done = factory.run("kill", "--queue", queue, "--state", state)
        if "its child process does not start" in done.stderr:  # on a busy host: nothing was asked, and it says so
            done = factory.run("kill", "--queue", queue, "--state", state)
        said = f"removed {count} pilot{'s' * (count > 1)} of {queue}: {state} {count}\n"
        assert (done.returncode, done.stdout) == (0, said), done
    factory.wait_for(rf" {queue} blocked: .*no pilot is left", 60, since=since)
