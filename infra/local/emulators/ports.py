"""Reserves ports of this machine for programs that get their port as an argument before they start."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yields a free port of 127.0.0.1, which the system gives to no other program during the `with` block.

    A socket is bound to the port and does not listen. On Linux, a server that sets SO_REUSEADDR (all of ours do) may
    listen there besides, and the system does not choose the port for others (socket(7)). Other systems would refuse the
    server. There the port is released at once, and another program may take it before the server does.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        port: int = reservation.getsockname()[1]
        if not sys.platform.startswith("linux"):
            reservation.close()
        yield port
