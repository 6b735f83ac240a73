"""Repeats an optimistic update that another writer was faster to make."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.errors import StaleRun

MAX_UPDATES = 8
"""Maximum attempts of an optimistic update before StaleRun is raised."""
T = TypeVar("T")


async def retry_when_stale(update: Callable[[], Awaitable[T]]) -> T:
    """Calls `update`, which reads a run and saves what follows from it, until no other writer saves in between.

    Returns what `update` returns. Raises StaleRun after MAX_UPDATES attempts.
    """
    for _ in range(MAX_UPDATES - 1):
        try:
            return await update()
        except StaleRun:
            continue
    return await update()
