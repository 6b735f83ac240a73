"""Forwards requests from one port to the functions' ports by path, as Firebase Hosting does.

Bytes pass in both directions as they arrive, so streams are not held back.
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress

from infra.local.routing import function_for

MAX_HEAD_BYTES = 64 * 1024
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CONNECTION = re.compile(rb"\r\n(connection|keep-alive):[^\r\n]*", re.IGNORECASE)


class ReverseProxy:
    """Serves one request per connection, because the next request may be for another function."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """`ports` is {name of a function, or DOCS: its port on this machine}."""
        self._ports = ports

    async def serve(self, port: int) -> asyncio.Server:
        """Returns the listening server. Raises OSError when the port is taken."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port, limit=MAX_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                upstream = await asyncio.open_connection("127.0.0.1", self._port_for(head))
            except OSError:
                writer.write(BAD_GATEWAY)
            except (ValueError, IndexError):
                writer.write(BAD_REQUEST)
            else:
                await _forward(head, (reader, writer), upstream)
        with suppress(OSError):
            writer.close()

    def _port_for(self, head: bytes) -> int:
        target = head.split(b" ", 2)[1].decode("ascii", errors="replace")
        return self._ports[function_for(target.partition("?")[0])]


async def _forward(
    head: bytes,
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Passes bytes in both directions until the function has answered or the client has closed the connection."""
    upstream[1].write(_CONNECTION.sub(b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n")
    request = asyncio.create_task(_pipe(client[0], upstream[1]))
    response = asyncio.create_task(_pipe(upstream[0], client[1]))
    await asyncio.wait((request, response), return_when=asyncio.FIRST_COMPLETED)
    if not response.done() and not client[0].at_eof():
        await response
    for task in (request, response):
        task.cancel()
    with suppress(OSError):
        upstream[1].close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
