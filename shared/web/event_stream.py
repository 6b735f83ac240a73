"""Sends a stream to its client, and ends it when the client has gone, takes nothing, or the process is to end.

A stream takes one task for sending and one that waits for the client's end. Starlette's own StreamingResponse takes one
more, and cannot end a stream whose client takes nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from shared import log
from shared.web.open_streams import Ending, OpenStreams

MAX_PIECE_BYTES = 64 * 1024
"""A server buffers what it is given. Of a large event it gets a piece when the client has taken the one before."""


class LastEvent(bytes):
    """The event after which a stream ends: it is sent together with the end of the response, in one write."""


class EventStream(StreamingResponse):
    """A response of server-sent events."""

    def __init__(
        self, events: AsyncIterator[bytes], *, headers: Mapping[str, str], streams: OpenStreams | None = None
    ) -> None:
        """`events` yields whole events, and nothing after a LastEvent.

        `streams` is what ends this one, if not that of the running event loop.
        """
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.blocked_since: float | None = None
        """When the server began to take the piece that it has not taken yet, in the time of the event loop."""
        self._streams = streams
        self._ending: Ending | None = None
        self._is_complete = False
        self._task: asyncio.Task[None] | None = None

    def end(self, why: Ending) -> None:
        """Ends the stream. When the process ends, the client gets the error with which `events` answer their cancel."""
        if self._ending is None and self._task is not None:
            self._ending = why
            self._task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._task = task = cast("asyncio.Task[None]", asyncio.current_task())
        waiting = asyncio.create_task(self._wait_for_client(receive))
        streams = self._streams or OpenStreams.of_running_loop()
        streams.add(self)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_events(send)
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            task.uncancel()
        finally:
            waiting.cancel()
            streams.remove(self)
        if self._ending is Ending.CLIENT_SLOW:
            log.warning("a stream was cut, because its client took nothing for too long")
        elif self._ending is not Ending.CLIENT_GONE and self.blocked_since is None and not self._is_complete:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        async with aclosing(cast("AsyncGenerator[bytes]", self.body_iterator)) as events:
            async for event in events:
                if self._ending in (Ending.CLIENT_GONE, Ending.CLIENT_SLOW):
                    return
                for start in range(0, len(event), MAX_PIECE_BYTES):
                    self.blocked_since = clock()
                    piece = event[start : start + MAX_PIECE_BYTES]
                    is_end = isinstance(event, LastEvent) and start + MAX_PIECE_BYTES >= len(event)
                    self._is_complete = is_end
                    await send({"type": "http.response.body", "body": piece, "more_body": not is_end})
                    self.blocked_since = None
                if self._is_complete:
                    return

    async def _wait_for_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(Ending.CLIENT_GONE)
