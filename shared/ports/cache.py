"""Defines the cache of results for older code."""

from datetime import timedelta
from typing import Protocol


class ResultCache(Protocol):
    """Stores texts by key for a time, and may drop any of them early. Every call ends within about half a second."""

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        """Replaces the text. Raises CacheUnavailable, also without room; the text may then be stored or not."""

    async def get(self, key: str) -> str | None:
        """Returns the text, None when there is none."""

    async def delete(self, key: str) -> None:
        """Removes the text; a key that is not there is no error."""
