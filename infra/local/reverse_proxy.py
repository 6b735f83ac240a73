"""Forwards requests from one port to the functions' ports by path, as the front doors of a deployed system do.

Bytes pass in both directions as they arrive, so streams are not held back. With a `HostingLimits`, the proxy is like
Firebase Hosting instead, and so shows what works behind it.
"""

import asyncio
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from infra.local.routing import function_for

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_WITH_HEAD_BYTES = 64 * 1024
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
GATEWAY_TIMEOUT = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SESSION_COOKIE = b"__session"
_CONNECTION = re.compile(rb"\r\n(connection|keep-alive):[^\r\n]*", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\ncookie:([^\r\n]*)", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingLimits:
    """Changes a request as Firebase Hosting does when it rewrites it to a function.

    It passes on the cookie `__session` alone, calls the function by its own host name, sends a response when it is
    whole, and answers 504 when it is not whole in time.

    https://firebase.google.com/docs/hosting/functions, https://firebase.google.com/docs/hosting/manage-cache#using_cookies
    """

    answer_seconds: float = 60.0


FRONTS = {"direct": None, "hosting": HostingLimits()}
"""What may be before the functions: their own URLs, which limit nothing that matters here, or Firebase Hosting."""


class ReverseProxy:
    """Serves one request per connection, because the next request may be for another function."""

    def __init__(self, ports: Mapping[str, int], *, hosting: HostingLimits | None = None) -> None:
        """`ports` is {name of a function, or PAGES: its port on this machine}."""
        self._ports = ports
        self._hosting = hosting

    async def serve(self, listening: socket.socket) -> asyncio.Server:
        """Returns the server that listens on the bound socket."""
        return await asyncio.start_server(self._answer, sock=listening, limit=MAX_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                port = self._port_for(head)
                body = await _small_body(head, reader)
                upstream = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.write(BAD_GATEWAY)
            except (ValueError, IndexError):
                writer.write(BAD_REQUEST)
            else:
                await self._forward((head, body), (reader, writer), upstream, port)
        with suppress(OSError):
            writer.close()

    def _port_for(self, head: bytes) -> int:
        method, target = head.decode("ascii", errors="replace").split(" ", 2)[:2]
        return self._ports[function_for(target.partition("?")[0], method=method)]

    async def _forward(self, request: tuple[bytes, bytes], client: Connection, upstream: Connection, port: int) -> None:
        """Sends the request on, and the response back until it ends or the client has closed the connection.

        `request` is its head and what has been read of its body.
        """
        head, body = request
        try:
            if self._hosting is None:
                upstream[1].write(_closing(head) + body)
                await _pass_both_ways(client, upstream)
            else:
                upstream[1].write(_closing(_as_from_hosting(head, port)) + body)
                client[1].write(await _whole_answer(client[0], upstream, self._hosting.answer_seconds))
                await client[1].drain()
        finally:
            with suppress(OSError):
                upstream[1].close()


async def _small_body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    """Returns the body of a request if it is small, and otherwise nothing, so that the body follows as it arrives.

    A function may answer and close the connection before it has read the body. A body that is sent after that resets
    the connection, and the answer may be lost. So a small one is sent at once with the head.
    """
    found = _LENGTH.search(head)
    length = int(found[1]) if found and not _EXPECT.search(head) else 0
    return await reader.readexactly(length) if length <= MAX_BODY_WITH_HEAD_BYTES else b""


async def _pass_both_ways(client: Connection, upstream: Connection) -> None:
    request = asyncio.create_task(_pipe(client[0], upstream[1]))
    response = asyncio.create_task(_pipe(upstream[0], client[1]))
    await asyncio.wait((request, response), return_when=asyncio.FIRST_COMPLETED)
    if not response.done() and not client[0].at_eof():
        await response
    for task in (request, response):
        task.cancel()


async def _whole_answer(reader: asyncio.StreamReader, upstream: Connection, seconds: float) -> bytes:
    """Returns the function's response with head and body, or the response 504 when it has not ended in time."""
    request = asyncio.create_task(_pipe(reader, upstream[1]))
    try:
        async with asyncio.timeout(seconds):
            return await upstream[0].read()
    except TimeoutError:
        return GATEWAY_TIMEOUT
    finally:
        request.cancel()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


def _closing(head: bytes) -> bytes:
    """Returns the head of a request after which the function closes the connection."""
    return _CONNECTION.sub(b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n"


def _as_from_hosting(head: bytes, port: int) -> bytes:
    """Returns the head as the function sees it: its own host name, and no cookie but `__session`."""
    cookies = b";".join(found[1] for found in _COOKIE.finditer(head)).split(b";")
    sessions = [cookie.strip() for cookie in cookies if cookie.partition(b"=")[0].strip() == SESSION_COOKIE]
    head = _COOKIE.sub(b"", head)
    head = _HOST.sub(b"\r\nHost: 127.0.0.1:%d\r\nX-Forwarded-Host: \\1" % port, head)
    return head[:-2] + b"Cookie: " + b"; ".join(sessions) + b"\r\n\r\n" if sessions else head
