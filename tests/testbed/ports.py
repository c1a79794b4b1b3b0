"""Ports for servers that cannot choose one by themselves."""

import random
import socket

_BELOW_EPHEMERAL = range(10_000, 32_000)
"""Ports that the kernel gives to no outgoing connection: one found free stays free until it is used."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for TCP and UDP."""
    while True:
        port = random.choice(_BELOW_EPHEMERAL)
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            try:
                stream.bind(("127.0.0.1", port))
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
