"""Run one pilot of the fork backend and outlive the factory: claim it, start it, limit it, keep its exit code.

A file of the standard library alone, run as `python -I -S fork_shim.py guard FOLDER BASE INDEX`, so that it
starts in milliseconds. It is two processes with a socket between them:

    guard   the factory's account: claims the pilot, opens its output, keeps its wall time and its end
    child   the pilot's account (behind sudo where that is another one): starts the wrapper in a session of
            its own, ends it when the guard says so or dies, and leaves no descendant of it behind; when
            it is killed itself, its descendants become the guard's, which ends them

The guard sends one line of JSON, and anything more means stop; the child answers one line, `{"rc": N}`
(negative: a signal) or `{"fault": "why it could not start"}`.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

CID = "$(cid)"
"""Stands for the pilot's cid in the environment and arguments of an order."""

_SOCKET = 0  # the only descriptors that sudo hands on are 0, 1 and 2
_SEND_DEADLINE = 30.0
_STOPS = (signal.SIGTERM, signal.SIGINT)


def keep(path: str, value: Mapping[str, Any]) -> bool:
    """Write a JSON file that appears whole or not at all; return False when there is one already.

    Raises OSError (a full disk); nothing is left behind then.
    """
    draft = f"{path}.{os.getpid()}.new"
    try:
        with open(draft, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on (state, parent, group, session, ...), or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def identity(pid: int) -> str:
    """Return what no other process ever is: boot, process id and start time; "" when there is none."""
    fields = stat_fields(pid)
    if fields is None:
        return ""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return f"{file.read().strip()} {pid} {fields[19]}"


def guard(folder: str, base: str, index: str) -> None:
    """Claim the pilot and see it through; do nothing when it is claimed or dropped already."""
    stop = _Stop()
    cid = f"{base}.{index}"
    with open(f"{folder}/{base}.json", encoding="utf-8") as file:
        order = json.load(file)
    if not keep(f"{folder}/{cid}.claim", {"process": identity(os.getpid()), "at": time.time()}):
        return
    try:
        end = _run(order, cid, stop)
    except OSError as error:
        end = {"rc": None, "fault": f"could not start: {error}"}
    keep(f"{folder}/{cid}.end", end | {"at": time.time()})


def _run(order: dict[str, Any], cid: str, stop: "_Stop") -> dict[str, Any]:
    where = f"{order['log_dir']}/{cid}"
    for number, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{where}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    with open(f"{where}.log", "a", encoding="utf-8") as log:
        _note(log, order["queued"], f"queued: queue {order['queue']}, submission {order['submission']}")
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os.dup2(theirs.fileno(), _SOCKET)
            _become_child(order["user"])
        theirs.close()
        _adopt_orphans()
        _note(log, time.time(), f"started: process {pid}{order['user'] and ' as ' + order['user']}")
        end = _converse(ours, order, cid, stop)
        status = os.waitpid(pid, 0)[1]
        if end is None:
            _sweep(lambda left: _kill_as(order["user"], left))
            refused_by = "" if os.WIFSIGNALED(status) else order["user"]
            end = {"rc": None, "fault": _no_answer(refused_by, f"{where}.err")}
        end = {"rc": end.get("rc"), "fault": end.get("fault") or stop.reason}
        _note(log, time.time(), f"ended: rc {end['rc']}" + (f", {end['fault']}" if end["fault"] else ""))
        return end


def _note(log: Any, at: float, text: str) -> None:
    log.write(time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime(at)) + text + "\n")
    log.flush()


class _Stop:
    """Why the pilot has to end, if it has to; set by TERM and INT, told to the child at once."""

    def __init__(self) -> None:
        self.reason = ""
        self.channel: socket.socket | None = None
        for number in _STOPS:
            signal.signal(number, lambda _number, _frame: self.now("removed"))

    def now(self, reason: str) -> None:
        """Stop the pilot; the first reason stays."""
        if not self.reason:
            self.reason = reason
            self.tell()

    def tell(self) -> None:
        """Pass the wish on, once there is a child to hear it."""
        if self.channel is not None and self.reason:
            with contextlib.suppress(OSError):
                self.channel.send(b"stop\n")


def _converse(ours: socket.socket, order: dict[str, Any], cid: str, stop: _Stop) -> dict[str, Any] | None:
    """Hand the order to the child and return its answer; None when it died without one."""
    environment = {name: text.replace(CID, cid) for name, text in order["environment"].items()}
    message = {"argv": order["argv"], "environment": environment, "grace": order["grace"]}
    ours.settimeout(_SEND_DEADLINE)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        ours.sendall(json.dumps(message).encode() + b"\n")
    stop.channel = ours
    stop.tell()
    limit = order["walltime"]
    left = None if limit is None else time.monotonic() + limit
    answer = b""
    while True:
        wait = None if left is None or stop.reason else max(0.0, left - time.monotonic())
        if not select.select([ours], [], [], wait)[0]:
            stop.now(f"its wall time of {limit:.0f} s was over")
            continue
        try:
            part = ours.recv(65536)
        except ConnectionResetError:  # the child died before it had read everything
            part = b""
        answer += part
        if answer.endswith(b"\n") or not part:
            return json.loads(answer) if answer.endswith(b"\n") else None


def _become_child(user: str) -> None:
    try:
        if user:
            os.execvp("sudo", ["sudo", "-n", "-u", user, "--", *child_command()])  # noqa: S606
        child()
    except BaseException as error:
        os.write(2, f"fork_shim: {error}\n".encode())
    finally:
        os._exit(1)


def child_command() -> list[str]:
    """Return the one command that sudo has to allow."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), "child"]


def _no_answer(user: str, err: str) -> str:
    """Say why the child was silent, and what the admin has to allow."""
    with open(err, encoding="utf-8", errors="replace") as file:
        said = (file.read()[-2000:].strip().splitlines() or ["nothing"])[-1]
    if not user:
        return f"the process that ran it was killed, it said: {said}"
    command = " ".join(re.sub(r"([\\,:=])", r"\\\1", word) for word in child_command())
    me = pwd.getpwuid(os.getuid()).pw_name
    return (
        f"could not become {user}, sudo said: {said}; allow it by a line in /etc/sudoers.d: "
        f"{me} ALL=({user}) NOPASSWD: {command}"
    )


def _kill_as(user: str, pids: list[int]) -> None:
    """Kill processes that are or were the pilot's; another account's by a child of that account."""
    if not user or not pids:
        _kill(pids)
        return
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.dup2(theirs.fileno(), _SOCKET)
        _become_child(user)
    theirs.close()
    with ours, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        ours.sendall(json.dumps({"kill": pids}).encode() + b"\n")
    os.waitpid(pid, 0)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def child() -> None:
    """Run the wrapper as whoever we are now; the order comes on descriptor 0, the answer goes there too.

    Or kill what an earlier child has left, which the guard of another account cannot.
    """
    order = b""
    while not order.endswith(b"\n"):
        part = os.read(_SOCKET, 65536)
        if not part:
            return
        order += part
    line, _, early = order.partition(b"\n")
    wanted = json.loads(line)
    if "kill" in wanted:
        _kill(wanted["kill"])
        return
    try:
        answer: dict[str, int | str] = {"rc": _wrapper(wanted, stopped=bool(early))}
    except OSError as error:
        answer = {"fault": f"could not start: {error}"}
    os.write(_SOCKET, json.dumps(answer).encode() + b"\n")


def _wrapper(order: dict[str, Any], *, stopped: bool) -> int:
    """Start the wrapper, wait for its end, end everything that is left of it; return its exit code."""
    wake, wakes = os.pipe()
    for end in (wake, wakes):
        fcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)
    signal.set_wakeup_fd(wakes)
    for number in (*_STOPS, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    _adopt_orphans()
    argv = order["argv"]
    pid = os.posix_spawn(
        argv[0],
        argv,
        _account() | order["environment"],
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
        setsigmask=[],
        setsigdef=[*_STOPS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGQUIT],
    )
    listen = [wake, _SOCKET]
    kill_at = None
    while (status := _reap(pid)) is None:
        if stopped and kill_at is None:
            with contextlib.suppress(PermissionError):  # it may have become another account by itself
                os.killpg(pid, signal.SIGTERM)
            kill_at = time.monotonic() + order["grace"]
            listen = [wake]
        if kill_at is not None and time.monotonic() >= kill_at:
            os.kill(pid, signal.SIGKILL)
        wait = None if kill_at is None else max(0.1, kill_at - time.monotonic())
        ready = select.select(listen, [], [], wait)[0]
        heard = os.read(wake, 4096) if wake in ready else b""
        stopped = stopped or _SOCKET in ready or any(number in heard for number in _STOPS)
    _sweep(_kill)
    return os.waitstatus_to_exitcode(status)


def _reap(pid: int) -> int | None:
    """Take the dead off the process table; return the wait status of `pid` if it was among them."""
    while True:
        dead, status = os.waitpid(-1, os.WNOHANG)
        if dead in (0, pid):
            return status if dead else None


def _account() -> dict[str, str]:
    try:
        me = pwd.getpwuid(os.getuid())
    except KeyError:
        return {"HOME": "/"}
    return {"HOME": me.pw_dir, "USER": me.pw_name, "LOGNAME": me.pw_name, "SHELL": me.pw_shell or "/bin/sh"}


def _adopt_orphans() -> None:
    """Become the parent of whatever the wrapper leaves behind, also in sessions of its own (Linux: prctl 36)."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        from ctypes import CDLL  # noqa: PLC0415 - only half of the shims need it, and it may be missing

        CDLL(None).prctl(36, 1, 0, 0, 0)


def _sweep(kill: Callable[[list[int]], None]) -> None:
    """Kill everything that is left of the pilot and wait for it."""
    me = str(os.getpid())
    while True:
        processes = [(int(name), stat_fields(int(name))) for name in os.listdir("/proc") if name.isdigit()]
        kill([pid for pid, fields in processes if fields is not None and fields[1] == me and fields[0] != "Z"])
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    os.chdir("/")
    if sys.argv[1] == "child":
        child()
    else:
        guard(*sys.argv[2:])
