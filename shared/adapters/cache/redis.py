"""Keeps the result cache in Redis. A Redis that is down, slow or full costs a call half a second at most.

Each call opens a connection of its own. There are few calls, about one for each run, while a connection that is kept
belongs to one event loop, breaks unnoticed while the instance is idle, and must be closed before the loop ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared import log
from shared.errors import CacheUnavailable

CALL_SECONDS = 0.5
SOCKET_SECONDS = 0.25
"""Timeout of connecting, of each command, and of closing the connection after a call has timed out."""
CIRCUIT_OPEN_SECONDS = 5.0
"""How long the circuit breaker refuses calls after Redis could not be reached."""


class RedisResultCache:
    """Implements ResultCache."""

    def __init__(self, url: str) -> None:
        """`url` begins with redis://, rediss:// or unix://. Errors and log lines hide it: it may contain a password."""
        self._url = url
        self._circuit_open_until = 0.0

    async def put(self, key: str, text: str, *, keep_for: timedelta) -> None:
        async with self._connection() as redis:
            await redis.set(key, text, px=keep_for)

    async def get(self, key: str) -> str | None:
        async with self._connection() as redis:
            content = await redis.get(key)
        return content.decode() if isinstance(content, bytes) else content

    async def delete(self, key: str) -> None:
        async with self._connection() as redis:
            await redis.delete(key)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Redis]:
        """Yields a client for one call. Raises CacheUnavailable when the call fails or the circuit breaker is open."""
        if monotonic() < self._circuit_open_until:
            raise CacheUnavailable
        try:
            async with asyncio.timeout(CALL_SECONDS), self._client() as redis:
                yield redis
        except (RedisError, OSError, ValueError, TypeError) as error:  # the last two: redis-py cannot use the URL
            log.warning("result cache failed", exception=type(error).__name__)
            if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
                self._circuit_open_until = monotonic() + CIRCUIT_OPEN_SECONDS
            raise CacheUnavailable from None  # the text of the cause may quote the URL

    def _client(self) -> Redis:
        return Redis.from_url(
            self._url,
            socket_connect_timeout=SOCKET_SECONDS,
            socket_timeout=SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # protocol 3 begins with HELLO, which costs each connection a round trip
            driver_info=None,  # without it no CLIENT SETINFO, which costs another
        )
