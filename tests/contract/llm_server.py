"""An LLM server whose replies each test chooses, down to the bytes on the socket: errors, silence, broken answers.

It is written on sockets: a WSGI server such as pytest-httpserver's always sends a whole head, so it can neither stop in
the middle of an answer, drip headers, nor close a connection without a word.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Reply = Callable[[socket.socket], None]
"""Writes an answer to the connection, which is closed afterwards."""


@dataclass
class ScriptedServer:
    """Answers each request with the next of `replies`; `requests` are the received bytes."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


def responds(status: int, body: bytes, *headers: str) -> Reply:
    def reply(connection: socket.socket) -> None:
        head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return reply


def waits(seconds: float) -> Reply:
    def reply(connection: socket.socket) -> None:
        time.sleep(seconds)

    return reply


def sends_slowly(seconds: float) -> Reply:
    """Sends one byte every 50 ms: each read returns quickly, but the body never ends."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return

    return reply


def sends_headers_slowly(seconds: float) -> Reply:
    """Sends one header every 200 ms; the body never begins."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                connection.sendall(b"X-Slow: 1\r\n")
                time.sleep(0.2)
        except OSError:
            return

    return reply


def streams(*events: str | float, ends: bool = True) -> Reply:
    """Sends server-sent events; a number is a pause in seconds. Without `ends` the body lacks its last chunk."""

    def reply(connection: socket.socket) -> None:
        head = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream; charset=utf-8", "Transfer-Encoding: chunked"]
        connection.sendall("\r\n".join([*head, "Connection: close"]).encode() + b"\r\n\r\n")
        try:
            for event in events:
                if isinstance(event, str):
                    connection.sendall(f"{len(event.encode()):x}\r\n".encode() + event.encode() + b"\r\n")
                else:
                    time.sleep(event)
            if ends:
                connection.sendall(b"0\r\n\r\n")
        except OSError:
            return

    return reply


def stops_during_answer(seconds: float) -> Reply:
    """Sends the head and half of the body, and then nothing."""

    def reply(connection: socket.socket) -> None:
        closes_during_answer(connection)
        time.sleep(seconds)

    return reply


def closes(connection: socket.socket) -> None:
    """Closes the connection without an answer."""


def closes_during_answer(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"job_id": "hal')


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}")

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
