"""The systems of the test bed by hand, to try a factory on: `scripts/testbed start slurm`, later `... stop slurm`.

A process of its own holds the system and ends it; what it needs lies below `$APF_TESTBED/hand` and goes with it.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tests.testbed.arc import ArcCE
from tests.testbed.batchsystem import PretendedSystem
from tests.testbed.condor import GRID, TOKENS_ONLY, CondorPool
from tests.testbed.gram import GramService
from tests.testbed.network import Network
from tests.testbed.sge import GridEngine
from tests.testbed.slurm import SlurmCluster
from tests.testbed.system import comes, kill_all, pid_in

USER = "apftest"
TESTBED = Path(os.environ["APF_TESTBED"])
HAND = TESTBED / "hand"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one is made below a folder, what to know of it; `apart`: in a network of its own."""

    make: Callable[[Path], Any]
    hint: Callable[[Any], str] = lambda _: ""
    apart: bool = False


KINDS = {
    "condor": Kind(lambda base: CondorPool(base, USER, TESTBED / "htcondor", extra=GRID)),
    "condor-ce": Kind(
        lambda base: CondorPool(base, USER, TESTBED / "htcondor", extra=TOKENS_ONLY),
        lambda ce: (
            f"endpoint = {ce.collector}, remote_schedd = {ce.schedd}; the schedd that submits needs"
            f" {ce.base}/tokens.d/user in its tokens.d"
        ),
    ),
    "slurm": Kind(SlurmCluster),
    "sge": Kind(GridEngine, apart=True),
    "torque": Kind(lambda base: PretendedSystem(base, "torque", USER)),
    "lsf": Kind(lambda base: PretendedSystem(base, "lsf", USER)),
    "arc": Kind(lambda base: ArcCE(base, USER), lambda ce: f"endpoint = {ce.endpoint}, token = {ce.token}", apart=True),
    "gram": Kind(
        lambda base: GramService(base, USER), lambda ce: f"endpoint = {ce.endpoint}, proxy = {ce.proxy}", apart=True
    ),
}


def start(name: str) -> int:
    """Start a system and say how its commands find it; return when it takes jobs."""
    if pid := pid_in(HAND / f"{name}.pid"):
        print(f"testbed: {name} runs already, in process {pid}", file=sys.stderr)
        return 1
    HAND.mkdir(mode=0o755, parents=True, exist_ok=True)
    shutil.rmtree(HAND / name, ignore_errors=True)
    reader, writer = os.pipe()
    if not os.fork():
        os.close(reader)
        _hold(name, writer)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    print(said or f"testbed: {name} did not start, see {HAND}/{name}.log", file=sys.stdout if said else sys.stderr)
    return 0 if said else 1


def stop(name: str) -> int:
    """End a system with all its jobs."""
    file = HAND / f"{name}.pid"
    pid = pid_in(file)
    if not pid:
        print(f"testbed: {name} does not run", file=sys.stderr)
        return 1
    kill_all([pid], signal.SIGTERM)
    if not comes(lambda: not pid_in(file), 120):
        print(f"testbed: {name} does not end, process {pid}; see {HAND}/{name}.log", file=sys.stderr)
        return 1
    return 0


def _hold(name: str, writer: int) -> NoReturn:
    """Be the process that holds the system until a signal comes."""
    os.setsid()
    code, over = 1, threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    log = os.open(HAND / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for target, source in ((0, os.open("/dev/null", os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, target)
    try:
        (HAND / f"{name}.pid").write_text(f"{os.getpid()}\n")
        kind = KINDS[name]
        with ExitStack() as stack:
            if kind.apart:
                stack.enter_context(Network())
            system = stack.enter_context(kind.make(HAND / name))
            os.write(writer, _words(name, kind, system).encode())
            os.close(writer)
            over.wait()
        shutil.rmtree(HAND / name, ignore_errors=True)
        (HAND / f"{name}.log").unlink()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        (HAND / f"{name}.pid").unlink(missing_ok=True)
        sys.stderr.flush()
        os._exit(code)


def _words(name: str, kind: Kind, system: Any) -> str:
    lines = [f"# {name} runs below {HAND / name} until 'scripts/testbed stop {name}'; pilots as {USER}"]
    if kind.apart:
        lines.append(f"# in a network of its own, enter it by: nsenter --net=/proc/{os.getpid()}/ns/net su {USER}")
    if hint := kind.hint(system):
        lines.append(f"# {hint}")
    lines += [f"export {key}={value}" for key, value in sorted(system.environment.items())]
    return "\n".join(lines)


def main() -> int:
    """Obey `start NAME` or `stop NAME`."""
    words = sys.argv[1:]
    if len(words) != 2 or words[0] not in {"start", "stop"} or words[1] not in KINDS:
        print(f"usage: scripts/testbed start|stop {'|'.join(KINDS)}", file=sys.stderr)
        return 2
    return start(words[1]) if words[0] == "start" else stop(words[1])


if __name__ == "__main__":
    sys.exit(main())
