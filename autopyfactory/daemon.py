"""The running daemon: signals, reload, and a stop that is quick and clean."""

import faulthandler
import logging
import multiprocessing
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn, Protocol

from autopyfactory import logs
from autopyfactory.account import ensure
from autopyfactory.config.models import Config
from autopyfactory.config.problems import Problem
from autopyfactory.errors import ConfigError, StartError

log = logging.getLogger(__name__)

STOP_S = 3.0
CLOCK_OFF_S = 60.0
"""Seconds that the factory's clock may be off before it is said."""

NEW_DOCUMENT = signal.SIGUSR1
"""Sent by the factory to itself: a reload that is asked for again and again, until it is not refused any more."""

_RELOAD = frozenset({signal.SIGHUP, NEW_DOCUMENT})
_ONLY_AT_START = ("id", "run_dir", "state_dir", "log_dir", "environment_script")
_PLACE = re.compile(r"\b(at [^:]*:)\d+")


class Runnable(Protocol):
    """What the daemon needs of a factory."""

    def start(self) -> None:
        """Start all threads."""

    def reload(self, config: Config) -> str:
        """Apply a validated configuration; return the difference as text."""

    def wait(self, timeout: float) -> bool:
        """Tell whether every queue has done its cycles, waiting at most `timeout` seconds."""

    def stop(self) -> None:
        """Stop everything, within about 3 s."""


class Signals:
    """TERM, INT, HUP and the factory's own one as numbers to wait for.

    The interpreter's C handler writes each number into a socket: the main thread wakes at once, whichever
    thread the kernel gave the signal to.
    """

    HANDLED = frozenset({signal.SIGTERM, signal.SIGINT}) | _RELOAD

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in self.HANDLED:
            signal.signal(number, lambda _number, _frame: None)

    def wait(self, timeout: float) -> set[int]:
        """Return the signals that came, after at most `timeout` seconds."""
        select.select([self._receiver], [], [], timeout)
        try:
            return set(self._receiver.recv(4096)) & self.HANDLED
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """Give up the sockets; the handlers stay as they are."""
        self._receiver.close()
        self._sender.close()


class Daemon:
    """One factory under signals, in the main thread.

    `finite` is true when the factory ends by itself after its cycles; `at_end` is called last, also when
    a hanging stop ends the process by force. `verdict` is given one line, numbered, on what became of a HUP.
    `ahead` tells by how much the factory's clock is ahead of the host's.
    """

    def __init__(
        self,
        factory: Runnable,
        config: Config,
        *,
        load: Callable[[], Config],
        wait: Callable[[float], set[int]],
        finite: bool = False,
        at_end: Callable[[], None] = lambda: None,
        verdict: Callable[[str], None] = lambda _text: None,
        ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._factory = factory
        self._config = config
        self._load = load
        self._wait = wait
        self._finite = finite
        self._at_end = at_end
        self._verdict = verdict
        self._asked = 0
        self._ahead = ahead
        self._off = False
        self._refused: list[str] = []

    def serve(self) -> int:
        """Run until a signal stops us or all cycles are done; return the exit code."""
        _notify("READY=1")
        try:
            self._loop()
            code = 0
        except Exception:
            log.critical("the main thread ended by a bug", exc_info=True)
            code = 1
        _notify("STOPPING=1")
        self._stop()
        return code

    def _loop(self) -> None:
        while True:
            if self._finite and self._factory.wait(0.1):
                return log.info("all cycles are done")
            came = self._wait(0.0 if self._finite else 60.0)
            self._compare_clocks()
            ends = came - _RELOAD
            if ends:
                return log.info("stopping on %s", signal.Signals(min(ends)).name)
            if came:
                self._reload(by_hand=signal.SIGHUP in came)

    def _compare_clocks(self) -> None:
        """Say when somebody has set the host's clock: ages by its time are wrong until ours has followed."""
        ahead = self._ahead()
        off, self._off = self._off, abs(ahead) > CLOCK_OFF_S
        if self._off and not off:
            log.error(
                "the host's clock was set %s by %.0f s; the factory follows by 6 minutes an hour, and until then judges"
                " ages of pilots, pauses and proxies by the old time: a restart follows at once",
                "back" if ahead > 0 else "forward",
                abs(ahead),
            )
        elif off and not self._off:
            log.info("the factory's clock is the host's again")

    def _reload(self, *, by_hand: bool) -> None:
        _notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        logs.reopen()
        try:
            became = self._apply(by_hand=by_hand)
        except Exception as error:
            log.critical("the reload ended by a bug", exc_info=True)
            became = f"failed: a bug, {error}"
        if by_hand:
            self._asked += 1
            self._verdict(f"reload {self._asked} {' '.join(logs.mask(became).split())}")
        _notify("READY=1")

    def _apply(self, *, by_hand: bool) -> str:
        """Take the configuration or refuse it; return which, and the first reason."""
        try:
            config = self._load()
        except ConfigError as error:
            return self._refuse(error.problems, by_hand=by_hand)
        refused = [*_only_at_start(self._config, config), *_new_problems(self._config, config)]
        refused = refused or _no_folder(self._config, config)
        if refused:
            return self._refuse(refused, by_hand=by_hand)
        for problem in config.problems:
            log.warning("%s", problem)
        difference = self._factory.reload(config)
        self._config = config
        self._refused = []
        log.info("reloaded %s", config.path)
        for line in difference.splitlines():
            log.info("reload: %s", line)
        return "done"

    def _refuse(self, problems: Iterable[str], *, by_hand: bool) -> str:
        """Say why the running configuration stays: always to who asked by hand, else when it is another reason."""
        before, self._refused = self._refused, list(problems)
        more = len(self._refused) - 1
        became = f"refused: {self._refused[0]}{f' (and {more} more)' if more else ''}"
        if not by_hand and self._refused == before:
            return became
        for problem in self._refused:
            log.error("%s", problem)
        again = "" if by_hand else "; asked for by a new document of a catalogue, tried again at each look at it"
        log.error("reload refused, the running configuration stays%s", again)
        return became

    def _stop(self) -> None:
        """Stop the factory; a second after `STOP_S` the process ends, whatever hangs."""
        began = time.monotonic()
        guard = threading.Timer(STOP_S + 1.0, self._abandon)
        guard.daemon = True
        guard.start()
        try:
            self._factory.stop()
        except Exception:
            log.critical("the stop ended by a bug", exc_info=True)
        for thread in _lingering():
            thread.join(max(0.1, began + STOP_S - time.monotonic()))
        if _lingering():
            self._abandon()
        guard.cancel()
        log.info("stopped after %.1f s", time.monotonic() - began)
        self._at_end()

    def _abandon(self) -> NoReturn:
        names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
        log.error("the stop hangs, the process ends without %s", ", ".join(names))
        faulthandler.dump_traceback([*logs.descriptors(), 2][0])
        for child in multiprocessing.active_children():
            child.kill()
        self._at_end()
        logging.shutdown()
        os._exit(1)


def _notify(state: str) -> None:
    """Tell systemd, if it listens (protocol: sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        out.sendto(state.encode(), f"\0{address[1:]}" if address[0] == "@" else address)


def _lingering() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]


def _only_at_start(old: Config, new: Config) -> list[str]:
    changed = [name for name in _ONLY_AT_START if getattr(old.factory, name) != getattr(new.factory, name)]
    return [f"{new.path}: [factory] {name}: cannot change in a running factory, restart it" for name in changed]


def _new_problems(old: Config, new: Config) -> list[str]:
    """Return what takes a queue out now and did not before; its line, and those it names, may have moved."""
    known = {_gist(problem) for problem in old.problems if problem.queue}
    fatal = (problem for problem in new.problems if problem.queue and not problem.warning)
    return [str(problem) for problem in fatal if _gist(problem) not in known]


def _gist(problem: Problem) -> tuple[str, str, str]:
    return problem.queue, problem.option, _PLACE.sub(r"\1", problem.text)


def _no_folder(old: Config, new: Config) -> list[str]:
    """Make another folder for the pilots' output, as a start would; return why it cannot be had."""
    folder = new.factory.pilot_log_dir
    if folder == old.factory.pilot_log_dir:
        return []
    try:
        ensure("[factory] pilot_log_dir", folder)
    except StartError as error:
        return [f"{new.path}: {error}"]
    return []
