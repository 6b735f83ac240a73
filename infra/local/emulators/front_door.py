"""One port before many functions, routing paths as Firebase Hosting would; streams go through as they come."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress

from infra.local.routing import function_for

MAX_HEAD_BYTES = 64 * 1024
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CONNECTION = re.compile(rb"\r\n(connection|keep-alive):[^\r\n]*", re.IGNORECASE)


class FrontDoor:
    """One request a connection, so that the next one can go elsewhere."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """`ports`: {function, or DOCS: port on this machine}."""
        self._ports = ports

    async def serve(self, port: int) -> asyncio.Server:
        """Raises OSError when the port is taken."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port, limit=MAX_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                behind = await asyncio.open_connection("127.0.0.1", self._port_for(head))
            except OSError:
                writer.write(BAD_GATEWAY)
            except (ValueError, IndexError):
                writer.write(BAD_REQUEST)
            else:
                await _join(head, (reader, writer), behind)
        with suppress(OSError):
            writer.close()

    def _port_for(self, head: bytes) -> int:
        target = head.split(b" ", 2)[1].decode("ascii", errors="replace")
        return self._ports[function_for(target.partition("?")[0])]


async def _join(
    head: bytes,
    front: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    behind: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Until the function has answered, or the client is gone."""
    behind[1].write(_CONNECTION.sub(b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n")
    forth = asyncio.create_task(_pipe(front[0], behind[1]))
    back = asyncio.create_task(_pipe(behind[0], front[1]))
    await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
    if not back.done() and not front[0].at_eof():
        await back
    for task in (forth, back):
        task.cancel()
    with suppress(OSError):
        behind[1].close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
