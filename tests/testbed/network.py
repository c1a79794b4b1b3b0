"""A network of its own for a part of a test: loopback and nothing else, where a server may listen on all addresses."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000


@contextmanager
def own_network() -> Iterator[None]:
    """Move the calling thread into a new network; needs root.

    Linux keeps the network by thread: sockets, threads and processes that are made here, by whatever this thread
    starts, live in the new one for good. It is gone with the last of them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _done(libc.unshare(_CLONE_NEWNET))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
            yield
        finally:
            _done(libc.setns(home, _CLONE_NEWNET))
    finally:
        os.close(home)


def _done(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
