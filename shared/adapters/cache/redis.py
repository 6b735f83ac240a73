"""The result cache in Redis, which may be down, slow or full: that costs half a second, and then nothing for a while.

Each call has a connection of its own. Calls are few, one a run; and kept connections belong to one event loop, die
unseen while an instance sleeps, and would have to be closed before the loop ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from shared import log
from shared.errors import CacheUnavailable

CALL_SECONDS = 0.5
STEP_SECONDS = 0.25
"""To connect, or to answer one command; closing after the call's time is over takes no longer either."""
REST_SECONDS = 5.0


class RedisResultCache:
    def __init__(self, url: str) -> None:
        """redis://, rediss:// or unix://; nothing of it is ever shown, for it may carry a password."""
        self._url = url
        self._rests_until = 0.0

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        async with self._calling() as redis:
            await redis.set(key, text, px=keep_for)

    async def get(self, key: str) -> str | None:
        async with self._calling() as redis:
            content = await redis.get(key)
        return content.decode() if isinstance(content, bytes) else content

    async def delete(self, key: str) -> None:
        async with self._calling() as redis:
            await redis.delete(key)

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[Redis]:
        """After a call that came to nothing all others fail at once for some seconds. Raises CacheUnavailable."""
        if monotonic() < self._rests_until:
            raise CacheUnavailable
        try:
            async with asyncio.timeout(CALL_SECONDS), self._connected() as redis:
                yield redis
        except (RedisError, OSError, ValueError, TypeError) as error:  # the last two: a URL that redis-py cannot use
            log.warning("result cache failed", exception=type(error).__name__)
            if isinstance(error, NoConnection | NoAnswer | OSError):
                self._rests_until = monotonic() + REST_SECONDS
            raise CacheUnavailable from None  # its words may quote the URL

    def _connected(self) -> Redis:
        return Redis.from_url(
            self._url,
            socket_connect_timeout=STEP_SECONDS,
            socket_timeout=STEP_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # two round trips less
        )
