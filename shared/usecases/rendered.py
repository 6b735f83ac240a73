"""Renders each update of a stream once, however many streams send it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable

MAX_BYTES = 16 * 1024 * 1024


class RenderedUpdates:
    """Keeps the newest rendered updates, by keys that name what they were made of."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[Hashable, bytes] = {}
        """The newest is the last entry."""
        self._kept_bytes = 0
        self._in_progress: dict[Hashable, asyncio.Event] = {}
        """{(event loop, key): set when that rendering has ended}"""

    async def get(self, key: Hashable, render: Callable[[], Awaitable[bytes]]) -> bytes:
        """Returns what `render` returns; of concurrent calls with the same key one renders. Raises what it raises."""
        while (found := self._kept.get(key)) is None:
            place = (asyncio.get_running_loop(), key)
            if (others := self._in_progress.get(place)) is not None:
                await others.wait()
                continue
            self._in_progress[place] = ended = asyncio.Event()
            try:
                found = await render()
                self._keep(key, found)
                return found
            finally:
                del self._in_progress[place]
                ended.set()
        return found

    def _keep(self, key: Hashable, rendered: bytes) -> None:
        """Keeps the update, and drops the oldest ones above the bound; the newest stays whatever its size is."""
        self._kept_bytes += len(rendered) - len(self._kept.pop(key, b""))
        self._kept[key] = rendered
        while self._kept_bytes > self._max_bytes and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))
