"""The start of a daemon: account, folders, lock, log and environment, and a detached start that tells the truth."""

import logging
import os
import platform
import pwd
import select
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn, Protocol

from daemon import DaemonContext

from autopyfactory import __version__, environment, logs
from autopyfactory.account import Account, ensure, make_for
from autopyfactory.claims import Lock, Name, PidFile, claim
from autopyfactory.clock import Clock
from autopyfactory.config.models import Config
from autopyfactory.daemon import Daemon, Runnable, Signals
from autopyfactory.downtimes import ALL
from autopyfactory.errors import FactoryError, StartError
from autopyfactory.operate import Operator, OperatorState

log = logging.getLogger(__name__)

HANDSHAKE_S = 60.0
EXIT_S = 2.0
_STARTED = "started as process"


class Make(Protocol):
    """How a factory is made; `factory.Factory` is one way."""

    def __call__(
        self, config: Config, *, clock: Clock, operator: Operator, dry_run: bool = False, cycles: int | None = None
    ) -> Runnable:
        """Build everything, open nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line of `autopyfactory run` asks for; paths are absolute."""

    conf: Path
    cycles: int | None = None
    dry_run: bool = False
    paused: bool = False
    detach: bool = False
    pidfile: Path | None = None
    runas: str = ""
    log_file: Path | None = None
    debug: bool = False


def launch(request: Request, *, load: Callable[[Path], Config], make: Make) -> int:
    """Run a factory to its end and return the exit code; a detached start exits 0 once the factory runs.

    Raises StartError or ConfigError as long as the caller's terminal can show them.
    """
    account = Account.of(request.runas)
    account.announce()
    with account.acting():
        config = load(request.conf)
    log_file = request.log_file or (config.factory.log_dir / "autopyfactory.log" if request.detach else None)
    folders = _folders(config, log_file)
    if account.switch:
        make_for(account, folders.values())
    pidfile = PidFile.early(request.pidfile)
    account.become()
    for option, folder in folders.items():
        ensure(f"[factory] {option}", folder)
    factory = config.factory
    claims = claim(factory.id, factory.host, factory.run_dir, factory.state_dir)
    if pidfile is None and request.pidfile is not None:
        pidfile = PidFile(request.pidfile)
    _open_log(log_file, request.debug)
    try:
        operator = _prepare(request, config, account)
    except FactoryError as error:
        if log_file is not None:
            log.error("%s", error)
        raise
    held = _Held(claims, pidfile)
    preserve = [*held.descriptors(), *logs.descriptors()]
    tell = _detach(preserve, log_file) if request.detach else _to_nobody
    held.sign()
    code = _serve(request, config, operator, load=load, make=make, tell=tell, held=held)
    _end_within(EXIT_S, code)
    return code


def _serve(
    request: Request,
    config: Config,
    operator: Operator,
    *,
    load: Callable[[Path], Config],
    make: Make,
    tell: Callable[[str], None],
    held: "_Held",
) -> int:
    signals, clock = Signals(), Clock()
    try:
        factory = make(config, clock=clock, operator=operator, dry_run=request.dry_run, cycles=request.cycles)
        factory.start()
    except Exception as error:
        log.critical("the factory cannot start", exc_info=True)
        tell(f"the factory cannot start: {error}")
        held.release()
        return 1
    tell(f"{_STARTED} {os.getpid()}")
    return Daemon(
        factory,
        config,
        load=lambda: load(request.conf),
        wait=signals.wait,
        finite=request.cycles is not None,
        at_end=held.release,
        verdict=held.note,
        ahead=clock.off,
    ).serve()


@dataclass(frozen=True, slots=True)
class _Held:
    claims: tuple[Lock | Name, ...]
    pidfile: PidFile | None

    def descriptors(self) -> list[int]:
        return [*(one.fd for one in self.claims), *([self.pidfile.fd, self.pidfile.beside_fd] if self.pidfile else [])]

    def sign(self) -> None:
        for one in self.claims:
            one.sign()
        if self.pidfile:
            self.pidfile.sign()

    def note(self, text: str) -> None:
        if self.pidfile:
            self.pidfile.note(text)

    def release(self) -> None:
        if self.pidfile:
            self.pidfile.remove()


def _folders(config: Config, log_file: Path | None) -> Mapping[str, Path]:
    """Return the folders that must be ours, by their option; log_dir only if the log goes there."""
    factory = config.factory
    folders = {"state_dir": factory.state_dir, "run_dir": factory.run_dir, "pilot_log_dir": factory.pilot_log_dir}
    if log_file is not None and log_file.is_relative_to(factory.log_dir):
        folders["log_dir"] = factory.log_dir
    return folders


def _open_log(log_file: Path | None, debug: bool) -> None:
    try:
        logs.setup(log_file, debug)
    except OSError as error:
        account = pwd.getpwuid(os.geteuid()).pw_name
        raise StartError(f"cannot write the log {log_file} as '{account}': {error.strerror}") from None


def _prepare(request: Request, config: Config, account: Account) -> Operator:
    factory = config.factory
    log.info("AutoPyFactory %s starts as factory '%s' of %s", __version__, factory.id, request.conf)
    log.info(
        "python %s at %s, %s, user %s", platform.python_version(), sys.executable, platform.platform(), account.name
    )
    log.info("HTCondor bindings %s", _version("htcondor"))
    for option in ("state_dir", "run_dir", "pilot_log_dir", "log_dir"):
        log.info("%s %s", option, getattr(factory, option))
    if factory.environment_script is not None:
        names = environment.source(factory.environment_script)
        log.info("%s changed %s", factory.environment_script, ", ".join(names) or "nothing")
    log.info("PATH %s", os.environ.get("PATH", ""))
    for problem in config.problems:
        log.warning("%s", problem)
    operator = Operator(factory.state_dir)
    if request.paused:
        operator.set(ALL, OperatorState("pause", account.name, Clock().now(), "started with --paused"))
    return operator


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _to_nobody(_text: str) -> None:
    """Nobody waits for the answer of a daemon in the foreground."""


def _detach(preserve: list[int], log_file: Path | None) -> Callable[[str], None]:
    """Go on as a daemon; the process at the terminal stays until it is told how the start went."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _wait_for_truth(reader, log_file)
    os.close(reader)
    DaemonContext(
        umask=0o022, prevent_core=False, detach_process=True, files_preserve=[writer, *preserve], signal_map={}
    ).open()

    def tell(text: str) -> None:
        with suppress(OSError):
            os.write(writer, text.encode())
        os.close(writer)

    return tell


def _end_within(seconds: float, code: int) -> None:
    """See that no library's clean-up at exit holds this process up."""
    guard = threading.Timer(seconds, os._exit, [code])
    guard.daemon = True
    guard.start()


def _wait_for_truth(reader: int, log_file: Path | None) -> NoReturn:
    ready, _, _ = select.select([reader], [], [], HANDSHAKE_S)
    text = os.read(reader, 65536).decode() if ready else f"the daemon has not started within {HANDSHAKE_S:.0f} s"
    started = text.startswith(_STARTED)
    # Nobody may listen any more: that does not make the start a failure.
    with suppress(OSError):
        if started:
            sys.stdout.write(f"autopyfactory: {text}, log {log_file}\n")
            sys.stdout.flush()
    if not started:
        sys.stderr.write(f"{logs.mask(text) or 'the daemon ended at its start'}, see its log\n")
        sys.stderr.flush()
    os._exit(0 if started else 1)
