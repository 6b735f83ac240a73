"""The front doors before the functions: one that passes streams on, and one like Firebase Hosting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.local.command_line import bind
from infra.local.reverse_proxy import HostingLimits, ReverseProxy
from infra.local.routing import FUNCTIONS, PAGES

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HOSTING = HostingLimits(answer_seconds=5)


class Function:
    """An HTTP server that answers in parts and keeps the heads of its requests."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.heads: list[str] = []
        self.may_end = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(OK)
        for part in self.parts:
            writer.write(part)
            await writer.drain()
            await self.may_end.wait()
        writer.close()


@asynccontextmanager
async def front_of(function: Function, *, hosting: HostingLimits | None) -> AsyncIterator[int]:
    """Yields the port of the proxy before this one function."""
    upstream = await asyncio.start_server(function.answer, "127.0.0.1", 0)
    ports = dict.fromkeys((*FUNCTIONS, PAGES), upstream.sockets[0].getsockname()[1])
    front = await ReverseProxy(ports, hosting=hosting).serve(bind(0))
    async with upstream, front:
        yield front.sockets[0].getsockname()[1]
        function.may_end.set()
        await asyncio.sleep(0.01)  # the function's last request ends


async def asked(port: int, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /llm_user_runs/1/stream HTTP/1.1", "Host: app.example", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    return reader, writer


async def test_a_stream_arrives_while_it_goes_on() -> None:
    function = Function(b"one\n", b"two\n")
    async with front_of(function, hosting=None) as port:
        reader, writer = await asked(port)
        assert await reader.readuntil(b"one\n")
        function.may_end.set()
        assert await reader.read() == b"two\n"
        writer.close()


async def test_behind_hosting_a_stream_arrives_when_it_has_ended() -> None:
    function = Function(b"one\n", b"two\n")
    async with front_of(function, hosting=HOSTING) as port:
        reader, writer = await asked(port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        function.may_end.set()
        assert await reader.read() == OK + b"one\ntwo\n"
        writer.close()


async def test_behind_hosting_an_answer_that_is_not_whole_in_time_is_504() -> None:
    async with front_of(Function(b"one\n"), hosting=HostingLimits(answer_seconds=0.1)) as port:
        reader, writer = await asked(port)
        assert (await reader.read()).startswith(b"HTTP/1.1 504 ")
        writer.close()
    assert HostingLimits().answer_seconds == 60


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (["Cookie: a=1; __session=s; b=2"], "Cookie: __session=s\r\n"),
        (["cookie: __session=x=y"], "Cookie: __session=x=y\r\n"),
        (["Cookie: a=1; my__session=s; __sessions=t"], None),
        (["Cookie: a=1", "X-Other: kept", "Cookie: __session=s"], "Cookie: __session=s\r\n"),
        ([], None),
    ],
)
async def test_behind_hosting_only_the_session_cookie_reaches_the_function(sent: list[str], passed: str | None) -> None:
    function = Function()
    async with front_of(function, hosting=HOSTING) as port:
        reader, writer = await asked(port, *sent)
        await reader.read()
        writer.close()
    [head] = function.heads
    assert (passed in head) if passed else ("cookie" not in head.lower())
    assert head.lower().count("cookie") == (1 if passed else 0)
    assert ("X-Other: kept\r\n" in head) == ("X-Other: kept" in sent)


@pytest.mark.parametrize("hosting", [None, HOSTING])
async def test_an_answer_arrives_that_a_function_gives_without_reading_the_body(hosting: HostingLimits | None) -> None:
    function = Function()
    async with front_of(function, hosting=hosting) as port:
        reader, writer = await asked(port, "Content-Length: 4")
        await asyncio.sleep(0.05)
        assert function.heads == [], "the head waits for a small body"
        writer.write(b"body")
        assert await reader.read() == OK
        writer.close()


async def test_behind_hosting_a_function_sees_its_own_host_name() -> None:
    function = Function()
    async with front_of(function, hosting=HOSTING) as port:
        reader, writer = await asked(port)
        await reader.read()
        writer.close()
    [head] = function.heads
    assert "\r\nX-Forwarded-Host: app.example\r\n" in head and "\r\nHost: app.example" not in head


async def test_without_hosting_all_cookies_and_the_host_name_pass() -> None:
    function = Function()
    async with front_of(function, hosting=None) as port:
        reader, writer = await asked(port, "Cookie: a=1; __session=s")
        await reader.read()
        writer.close()
    assert "\r\nCookie: a=1; __session=s\r\n" in function.heads[0] and "\r\nHost: app.example\r\n" in function.heads[0]
