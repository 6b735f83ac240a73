"""Ports of this machine for programs that must be told theirs before they start."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Gives a port of 127.0.0.1 that the system chose and gives to nobody else before the end.

    A socket is bound to the port and does not listen. On Linux, a server that sets SO_REUSEADDR (all of ours do) may
    listen there beside it, and the system passes the port over when it chooses one (socket(7)). Other systems would
    refuse the server: there the port is given back at once, and another program may take it before the server does.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        port: int = reservation.getsockname()[1]
        if not sys.platform.startswith("linux"):
            reservation.close()
        yield port
