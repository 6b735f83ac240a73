"""The port ResultCache on every adapter, bounds of the one in memory, and failures of Redis."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from shared import log
from shared.adapters.cache.memory import MemoryResultCache
from shared.adapters.cache.redis import CIRCUIT_OPEN_SECONDS, RedisResultCache
from shared.adapters.clock import SystemClock
from shared.errors import CacheUnavailable
from shared.ports import ResultCache
from tests.redis_server import RedisServer, silent_port
from tests.unit.world import TestClock

DAY = timedelta(days=1)
HANG_SECONDS = 10.0


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> ResultCache:
    if request.param == "memory":
        return MemoryResultCache(SystemClock())
    return RedisResultCache(request.getfixturevalue("redis_server").url)


async def test_get_returns_the_text_of_the_last_put(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "first", keep_for=DAY)
    await cache.put("llm_job:1", 'second "ü🙂" ' + "x" * 100_000, keep_for=DAY)
    await cache.put("llm_job:2", "another", keep_for=DAY)
    assert await cache.get("llm_job:1") == 'second "ü🙂" ' + "x" * 100_000


async def test_get_returns_none_for_an_unknown_key(cache: ResultCache) -> None:
    assert await cache.get("llm_job:1") is None


async def test_a_deleted_entry_is_gone_and_a_second_delete_is_no_error(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "text", keep_for=DAY)
    await cache.delete("llm_job:1")
    await cache.delete("llm_job:1")
    assert await cache.get("llm_job:1") is None


async def test_an_entry_expires(cache: ResultCache) -> None:
    await cache.put("llm_job:1", "text", keep_for=timedelta(milliseconds=1))
    time.sleep(0.02)
    assert await cache.get("llm_job:1") is None


async def test_a_full_memory_cache_drops_the_entries_used_longest_ago() -> None:
    cache = MemoryResultCache(SystemClock(), max_entries=3)
    for key in ("a", "b", "c"):
        await cache.put(key, "x", keep_for=DAY)
    await cache.get("a")
    await cache.put("d", "x", keep_for=DAY)
    assert [await cache.get(key) for key in ("a", "b", "c", "d")] == ["x", None, "x", "x"]


async def test_the_memory_cache_counts_bytes_of_utf_8() -> None:
    cache = MemoryResultCache(SystemClock(), max_bytes=100)
    await cache.put("a", "x", keep_for=DAY)
    await cache.put("large", "ü" * 50, keep_for=DAY)
    assert [await cache.get(key) for key in ("a", "large")] == [None, "ü" * 50]


async def test_the_memory_cache_counts_a_replaced_or_deleted_text_no_longer() -> None:
    cache = MemoryResultCache(SystemClock(), max_bytes=100)
    await cache.put("kept", "x" * 40, keep_for=DAY)
    for _ in range(100):
        await cache.put("replaced", "x" * 60, keep_for=DAY)
        await cache.put("replaced", "x" * 50, keep_for=DAY)
        await cache.delete("replaced")
    assert await cache.get("kept") == "x" * 40


async def test_a_text_larger_than_the_memory_cache_is_refused() -> None:
    cache = MemoryResultCache(SystemClock(), max_bytes=100)
    with pytest.raises(CacheUnavailable):
        await cache.put("a", "x" * 101, keep_for=DAY)


async def test_the_memory_cache_keeps_each_entry_for_its_own_time() -> None:
    cache = MemoryResultCache(clock := TestClock())
    for seconds in (10, 30, 20):
        await cache.put(str(seconds), "x", keep_for=timedelta(seconds=seconds))
    clock.forward(20)
    assert [await cache.get(key) for key in ("10", "20", "30")] == [None, None, "x"]


def calls(cache: ResultCache) -> list[Callable[[], Awaitable[Any]]]:
    return [lambda: cache.put("k", "v", keep_for=DAY), lambda: cache.get("k"), lambda: cache.delete("k")]


async def test_after_a_failed_call_the_circuit_breaker_refuses_calls_for_some_seconds(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    for call in range(3):
        cache = RedisResultCache(server.url)
        server.kill()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()
        server.start()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()
        cache._circuit_open_until -= CIRCUIT_OPEN_SECONDS
        await calls(cache)[call]()


async def test_a_redis_that_does_not_answer_opens_the_circuit_breaker(redis_server: RedisServer) -> None:
    for call in range(3):
        cache = RedisResultCache(redis_server.url)
        redis_server.stop()
        async with asyncio.timeout(HANG_SECONDS):
            with pytest.raises(CacheUnavailable):
                await calls(cache)[call]()
        redis_server.go_on()
        with pytest.raises(CacheUnavailable):
            await calls(cache)[call]()


async def test_a_port_that_accepts_connections_and_never_answers_is_unavailable() -> None:
    with silent_port() as listening:
        cache = RedisResultCache(f"redis://127.0.0.1:{listening.getsockname()[1]}")
        async with asyncio.timeout(HANG_SECONDS):
            with pytest.raises(CacheUnavailable):
                await cache.get("k")


async def test_a_full_redis_refuses_puts_but_still_reads_and_deletes(redis_server: RedisServer) -> None:
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


async def test_a_read_only_replica_is_unavailable(redis_server: RedisServer) -> None:
    redis_server.ask("slaveof", "127.0.0.1", "1")
    with pytest.raises(CacheUnavailable):
        await RedisResultCache(redis_server.url).put("k", "v", keep_for=DAY)


async def test_a_password_works_and_is_in_no_error_or_log_line(start_redis: Callable[..., RedisServer]) -> None:
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


async def test_each_call_closes_its_connection(redis_server: RedisServer) -> None:
    cache = RedisResultCache(redis_server.url)
    for _ in range(5):
        await cache.put("k", "v", keep_for=DAY)
    assert len(redis_server.ask("client_list")) == 1, "the connection that asks for the list"
