"""Streams as an ASGI server sees them: they end with their client or the process, or when the client takes nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.web.event_stream import MAX_PIECE_BYTES, EventStream, LastEvent
from shared.web.open_streams import OpenStreams

LARGE = b"data: " + b"x" * 3 * MAX_PIECE_BYTES + b"\n\n"


class Client:
    """Opens a stream of the given events, which then stays open; takes the first `takes` messages and then no more."""

    def __init__(self, *events: bytes, takes: int = 1000) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.is_source_closed = False
        self._events = events
        self._takes = takes

    async def open(self, streams: OpenStreams) -> None:
        stream = EventStream(self._source(), headers={}, streams=streams)
        await stream({"type": "http"}, self._receive, self._send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return self.sent[-1].get("more_body") is False

    async def _source(self) -> AsyncIterator[bytes]:
        try:
            for event in self._events:
                yield event
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            yield b"event: error\n\n"
            raise
        finally:
            self.is_source_closed = True

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if len(self.sent) >= self._takes:
            await asyncio.sleep(60)
        self.sent.append(message)


async def test_a_stream_ends_silently_with_its_client() -> None:
    client = Client(b"data: 1\n\n")
    opened = asyncio.create_task(client.open(OpenStreams()))
    await asyncio.sleep(0.01)
    client.gone.set()
    await opened
    assert client.is_source_closed and client.body == b"data: 1\n\n" and not client.is_complete


async def test_a_large_event_is_handed_over_in_pieces() -> None:
    client = Client(LARGE)
    opened = asyncio.create_task(client.open(OpenStreams()))
    await asyncio.sleep(0.01)
    assert client.body == LARGE
    assert max(len(message.get("body", b"")) for message in client.sent) == MAX_PIECE_BYTES
    client.gone.set()
    await opened


@pytest.mark.parametrize("last", [b"data: 2\n\n", LARGE])
async def test_the_end_of_the_response_comes_with_its_last_event(last: bytes) -> None:
    client = Client(b"data: 1\n\n", LastEvent(last))
    async with asyncio.timeout(30):
        await client.open(OpenStreams())
    assert client.body == b"data: 1\n\n" + last and client.is_source_closed
    ends = [not message.get("more_body") for message in client.sent[1:]]
    assert ends == [False] * (len(ends) - 1) + [True] and client.sent[-1]["body"]


async def test_a_client_that_takes_nothing_is_cut_amid_its_event_and_others_go_on() -> None:
    streams = OpenStreams(max_blocked_seconds=0.05)
    slow, quick = Client(LARGE, takes=2), Client(b"data: 1\n\n")
    going_on = asyncio.create_task(quick.open(streams))
    await asyncio.wait_for(slow.open(streams), 5)
    assert slow.is_source_closed and not slow.is_complete
    assert slow.body == LARGE[:MAX_PIECE_BYTES], "what is cut has no end, so that no client takes it for an event"
    assert not going_on.done()
    quick.gone.set()
    await going_on


@pytest.mark.slow
async def test_of_too_many_blocked_streams_the_longest_blocked_ones_are_cut() -> None:
    streams = OpenStreams(max_blocked_streams=2)
    clients = [Client(LARGE, takes=2) for _ in range(4)]
    opened = []
    for client in clients:
        opened.append(asyncio.create_task(client.open(streams)))
        await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(*opened[:2]), 3)
    done, going_on = await asyncio.wait(opened, timeout=1.1)  # it looks at them once a second
    assert done == set(opened[:2])
    for client in clients:
        client.gone.set()
    await asyncio.wait(going_on)


async def test_a_process_that_ends_tells_every_client_at_once_also_those_that_come_later() -> None:
    streams = OpenStreams()
    clients = [Client(b"data: 1\n\n") for _ in range(100)]
    blocked = Client(LARGE, takes=2)
    opened = [asyncio.create_task(client.open(streams)) for client in (*clients, blocked)]
    await asyncio.sleep(0.01)
    streams.close_soon()
    await asyncio.wait_for(asyncio.gather(*opened), 5)
    late = Client(b"data: 1\n\n")
    await asyncio.wait_for(late.open(streams), 5)
    for client in (*clients, late):
        assert client.body.endswith(b"event: error\n\n") and client.is_complete
    assert not blocked.is_complete and b"error" not in blocked.body


async def test_a_server_that_cancels_a_stream_sees_its_cancel() -> None:
    client = Client(b"data: 1\n\n")
    opened = asyncio.create_task(client.open(OpenStreams()))
    await asyncio.sleep(0.01)
    opened.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opened
    assert client.body.endswith(b"event: error\n\n")


async def test_an_error_of_the_source_reaches_the_server() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        raise StoreUnavailable

    client = Client()
    with pytest.raises(StoreUnavailable):
        await EventStream(source(), headers={}, streams=OpenStreams())({"type": "http"}, client._receive, client._send)
