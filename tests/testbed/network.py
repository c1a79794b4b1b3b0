"""A network of its own for one test: what must listen on every address, or on a fixed port, disturbs nobody."""

import ctypes
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_NEWNET = 0x40000000


class Network:
    """Move the calling thread, and all it starts, into a network with nothing but loopback; root only.

    What it started before, threads too, stays where it was. Leave it from the same thread.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._home = -1

    def __enter__(self) -> Self:
        self._home = os.open(Path("/proc/thread-self/ns/net"), os.O_RDONLY)
        self._call("unshare", _NEWNET)
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("setns", self._home, _NEWNET)
        os.close(self._home)

    def _call(self, name: str, *words: int) -> None:
        if getattr(self._libc, name)(*words) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name} in thread {threading.get_native_id()}: {os.strerror(number)}")
