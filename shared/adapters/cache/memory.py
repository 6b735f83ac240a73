"""Keeps the result cache in the memory of one process, for deployments without Redis."""

from datetime import datetime, timedelta

from cachetools import TLRUCache

from shared.errors import CacheUnavailable
from shared.ports import Clock

MAX_ENTRIES = 1000
MAX_BYTES = 16 * 1024 * 1024

Entry = tuple[datetime, bytes]
"""The time at which the entry expires, and its text in UTF-8."""


class MemoryResultCache:
    """Implements ResultCache. When it is full, the entries used longest ago make room."""

    def __init__(self, clock: Clock, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._entries: TLRUCache[str, Entry, datetime] = TLRUCache(
            max_bytes, ttu=_expires_at, timer=clock.now, getsizeof=_size
        )

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        """Raises CacheUnavailable when `text` alone is larger than the cache."""
        entry = (self._clock.now() + keep_for, text.encode())
        try:
            self._entries[key] = entry
        except ValueError:
            raise CacheUnavailable from None
        while len(self._entries) > self._max_entries:
            self._entries.popitem()

    async def get(self, key: str) -> str | None:
        entry = self._entries.get(key)
        return entry[1].decode() if entry is not None else None

    async def delete(self, key: str) -> None:
        self._entries.expire()  # pop() takes an expired entry for a missing one and leaves its text in memory
        self._entries.pop(key, None)


def _expires_at(key: str, entry: Entry, now: datetime) -> datetime:
    return entry[0]


def _size(entry: Entry) -> int:
    return len(entry[1])
