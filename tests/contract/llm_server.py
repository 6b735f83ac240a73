"""An LLM that misbehaves to order: each test says what bytes the socket gives next."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Reply = Callable[[socket.socket], None]


@dataclass
class NastyServer:
    url: str
    replies: list[Reply] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


def says(status: int, body: bytes, *headers: str) -> Reply:
    def reply(connection: socket.socket) -> None:
        head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return reply


def hangs(seconds: float) -> Reply:
    def reply(connection: socket.socket) -> None:
        time.sleep(seconds)

    return reply


def drips(seconds: float) -> Reply:
    """A byte now and then: each read is quick, the whole never ends."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        ends = time.monotonic() + seconds
        try:
            while time.monotonic() < ends:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return

    return reply


def drips_headers(seconds: float) -> Reply:
    """The same, before the body has begun."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        ends = time.monotonic() + seconds
        try:
            while time.monotonic() < ends:
                connection.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.2)
        except OSError:
            return

    return reply


def drops(connection: socket.socket) -> None:
    """Closes without an answer."""


def drops_in_the_middle(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"job_id": "hal')


@contextmanager
def nasty_server() -> Iterator[NastyServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = NastyServer(f"http://127.0.0.1:{listener.getsockname()[1]}")

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            received = connection.recv(65536)
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            head, _, body = received.partition(b"\r\n\r\n")
            length = next(
                (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")), 0
            )
            while len(body) < length:
                body += connection.recv(65536)
            server.requests.append(head + b"\r\n\r\n" + body)
            server.replies.pop(0)(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
