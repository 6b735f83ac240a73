"""Ends streams whose clients take nothing for too long, and all streams when the process gets the signal to end.

Without the latter, clients would learn that a function's process ends when it is killed: gunicorn lets open responses
go on for 30 seconds, and Cloud Run kills after ten (https://cloud.google.com/run/docs/container-contract).
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from enum import StrEnum
from types import FrameType
from typing import Any, Protocol

MAX_BLOCKED_SECONDS = 30.0
MAX_BLOCKED_STREAMS = 512
"""Each has at most 128 KiB in the server's buffer: 64 KiB that fill it, and a piece beyond."""
LOOKS_EVERY_SECONDS = 1.0
ENDED_AT_ONCE = 16


class Ending(StrEnum):
    """Why a stream ends before its last event."""

    CLIENT_GONE = "client gone"
    CLIENT_SLOW = "client slow"
    PROCESS_ENDS = "process ends"


class Stream(Protocol):
    blocked_since: float | None

    def end(self, why: Ending) -> None: ...


class OpenStreams:
    """The open streams of one event loop."""

    def __init__(
        self, *, max_blocked_seconds: float = MAX_BLOCKED_SECONDS, max_blocked_streams: int = MAX_BLOCKED_STREAMS
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_blocked_seconds = max_blocked_seconds
        self._max_blocked_streams = max_blocked_streams
        self._streams: dict[Stream, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    @classmethod
    def of_running_loop(cls) -> "OpenStreams":
        """Returns the streams of this loop, which end with the process from now on."""
        loop = asyncio.get_running_loop()
        if loop not in _of_loops:
            _of_loops[loop] = cls()
        _watch_signal()
        return _of_loops[loop]

    def add(self, stream: Stream) -> None:
        self._streams[stream] = None
        if self._task is None or self._task.done():
            # The task outlives the request that begins it, so it does not take over that request's log fields.
            self._task = self._loop.create_task(self._look_after(), context=Context())
        if self._is_closing:
            self._loop.call_soon(stream.end, Ending.PROCESS_ENDS)

    def remove(self, stream: Stream) -> None:
        del self._streams[stream]
        if not self._streams and self._task is not None:
            self._task.cancel()
            self._task = None
            if not self._is_closing:
                _of_loops.pop(self._loop, None)

    def close_soon(self) -> None:
        """Ends all streams, also those that begin later. Any thread and any signal handler may call it."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        self._is_closing = True
        self._closing = self._loop.create_task(self._end_all(), context=Context())

    async def _end_all(self) -> None:
        """Ends a few streams at a time, so that each of them is sent its last event before the next ones."""
        for number, stream in enumerate(list(self._streams), start=1):
            if stream in self._streams:
                stream.end(Ending.PROCESS_ENDS)
            if number % ENDED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(min(LOOKS_EVERY_SECONDS, self._max_blocked_seconds))
            self._end_blocked()

    def _end_blocked(self) -> None:
        """Ends the streams that are blocked for too long, and of too many blocked streams the longest blocked ones."""
        now = self._loop.time()
        blocked = [(stream.blocked_since, stream) for stream in self._streams if stream.blocked_since is not None]
        blocked.sort(key=lambda entry: entry[0])
        surplus = len(blocked) - self._max_blocked_streams
        for number, (since, stream) in enumerate(blocked):
            if number < surplus or now - since > self._max_blocked_seconds:
                stream.end(Ending.CLIENT_SLOW)


_of_loops: dict[asyncio.AbstractEventLoop, OpenStreams] = {}
_handler_before: Callable[[int, FrameType | None], Any] | None = None
"""The server's own handler of SIGTERM."""


def _watch_signal() -> None:
    """Puts a handler before the one that the server has for SIGTERM; where it has none, nothing changes."""
    global _handler_before
    if threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and handler is not _on_signal:
        _handler_before = handler
        signal.signal(signal.SIGTERM, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    for streams in list(_of_loops.values()):
        streams.close_soon()
    if _handler_before is not None:
        _handler_before(number, frame)
