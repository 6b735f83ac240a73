"""The result cache of one process: what is oldest goes first when it is full."""

from datetime import datetime, timedelta

from shared.errors import CacheUnavailable
from shared.ports import Clock

MAX_ENTRIES = 1000
MAX_BYTES = 16 * 1024 * 1024


class MemoryResultCache:
    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[str, tuple[datetime, bytes]] = {}
        self._bytes = 0

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        content = text.encode()
        if len(content) > self._max_bytes:
            raise CacheUnavailable
        self._drop(key)
        self._entries[key] = (self._clock.now() + keep_for, content)
        self._bytes += len(content)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    async def get(self, key: str) -> str | None:
        until, content = self._entries.get(key, (None, b""))
        if until is None or until <= self._clock.now():
            self._drop(key)
            return None
        return content.decode()

    async def delete(self, key: str) -> None:
        self._drop(key)

    def _drop(self, key: str) -> None:
        _, content = self._entries.pop(key, (None, b""))
        self._bytes -= len(content)
