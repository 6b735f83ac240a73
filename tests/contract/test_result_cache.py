"""What every result cache promises (shared/ports.py), and what Redis may do to it."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from shared import log
from shared.adapters.cache.memory import MemoryResultCache
from shared.adapters.cache.redis import REST_SECONDS, RedisResultCache
from shared.adapters.clock import SystemClock
from shared.errors import CacheUnavailable
from shared.ports import ResultCache
from tests.redis_server import RedisServer, silent_port

DAY = timedelta(days=1)
HANGS_SECONDS = 10.0


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> ResultCache:
    if request.param == "memory":
        return MemoryResultCache(SystemClock())
    return RedisResultCache(request.getfixturevalue("redis_server").url)


async def test_what_was_put_is_there_and_the_last_put_counts(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "first", keep_for=DAY)
    await cache.put("llm_job:1", 'second "ü🙂" ' + "x" * 100_000, keep_for=DAY)
    await cache.put("llm_job:2", "another", keep_for=DAY)
    assert await cache.get("llm_job:1") == 'second "ü🙂" ' + "x" * 100_000


async def test_what_was_never_put_is_none(cache: ResultCache) -> None:
    assert await cache.get("llm_job:1") is None


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "text", keep_for=DAY)
    await cache.delete("llm_job:1")
    await cache.delete("llm_job:1")
    assert await cache.get("llm_job:1") is None


async def test_it_goes_when_its_time_is_over(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "text", keep_for=timedelta(milliseconds=1))
    time.sleep(0.02)
    assert await cache.get("llm_job:1") is None


async def test_memory_lets_go_of_the_oldest_when_it_holds_too_many_or_too_much() -> None:
    cache = MemoryResultCache(SystemClock(), max_entries=3, max_bytes=100)
    for number in range(5):
        await cache.put(str(number), "x", keep_for=DAY)
    assert [await cache.get(str(number)) for number in range(5)] == [None, None, "x", "x", "x"]
    await cache.put("large", "ü" * 50, keep_for=DAY)
    assert [await cache.get(name) for name in ("2", "3", "4", "large")] == [None, None, None, "ü" * 50]
    with pytest.raises(CacheUnavailable):
        await cache.put("too large", "x" * 101, keep_for=DAY)
    for _ in range(100):
        await cache.put("same", "x" * 60, keep_for=DAY)
    assert await cache.get("same") == "x" * 60


def calls(cache: ResultCache) -> list[Callable[[], Awaitable[Any]]]:
    return [lambda: cache.put("k", "v", keep_for=DAY), lambda: cache.get("k"), lambda: cache.delete("k")]


async def test_a_dead_redis_is_unavailable_and_then_left_in_peace(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis()
    for call in range(3):
        cache = RedisResultCache(server.url)
        server.kill()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()
        server.start()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()
        cache._rests_until -= REST_SECONDS
        await calls(cache)[call]()


async def test_a_silent_redis_is_waited_for_once_and_not_long(redis_server: RedisServer) -> None:
    for call in range(3):
        cache = RedisResultCache(redis_server.url)
        redis_server.stop()
        async with asyncio.timeout(HANGS_SECONDS):
            with pytest.raises(CacheUnavailable):
                await calls(cache)[call]()
        redis_server.go_on()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()


async def test_a_port_that_only_takes_connections_is_unavailable() -> None:
    with silent_port() as listening:
        cache = RedisResultCache(f"redis://127.0.0.1:{listening.getsockname()[1]}")
        async with asyncio.timeout(HANGS_SECONDS):
            with pytest.raises(CacheUnavailable):
                await cache.get("k")


async def test_a_full_redis_refuses_what_is_put_and_still_deletes(redis_server: RedisServer) -> None:
    cache = RedisResultCache(redis_server.url)
    await cache.put("old", "v", keep_for=DAY)
    redis_server.fill()
    with pytest.raises(CacheUnavailable):
        await cache.put("new", "v", keep_for=DAY)
    assert await cache.get("old") == "v"
    await cache.delete("old")
    redis_server.make_room()
    await cache.put("new", "v", keep_for=DAY)
    assert redis_server.ask("keys", "*") == ["new"]


async def test_a_replica_that_may_not_be_written_is_unavailable(redis_server: RedisServer) -> None:
    redis_server.ask("slaveof", "127.0.0.1", "1")
    with pytest.raises(CacheUnavailable):
        await RedisResultCache(redis_server.url).put("k", "v", keep_for=DAY)


async def test_a_password_opens_and_is_never_shown(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis("--requirepass", "canary-secret", user_info=":canary-secret@")
    await RedisResultCache(server.url).put("k", "v", keep_for=DAY)
    wrong = server.url.replace("secret", "wrong")
    odd = "redis://:canary/odd@127.0.0.1/0"
    log.configure(stream=(written := io.StringIO()))
    for url in (wrong, odd, "redis://canary:canary@127.0.0.1:1/0?nonsense=1"):
        with pytest.raises(CacheUnavailable) as raised:
            await RedisResultCache(url).get("k")
        error: BaseException | None = raised.value
        assert error is not None and error.__cause__ is None and error.__suppress_context__
        assert "canary" not in str(error)
    log.configure()
    assert written.getvalue().count("result cache failed") == 3 and "canary" not in written.getvalue()


async def test_a_connection_is_not_kept(redis_server: RedisServer) -> None:
    cache = RedisResultCache(redis_server.url)
    for _ in range(5):
        await cache.put("k", "v", keep_for=DAY)
    assert len(redis_server.ask("client_list")) == 1, "that of the question itself"
