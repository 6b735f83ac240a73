"""Public keys from a server that rotates them, is slow, sends bad answers, or is down."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from shared.adapters.identity.access_tokens import AccessTokens
from shared.adapters.identity.http import IdentityHttp
from shared.adapters.identity.keys import RemoteKeys, read_keys
from shared.errors import IdentityUnavailable, Unauthenticated
from tests.authority import Authority, Reply, signing_key
from tests.unit.world import TestClock

PATH = "/firebase"


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def http() -> Iterator[IdentityHttp]:
    http = IdentityHttp(threads=2, name="test-keys")
    yield http
    http.close()


@pytest.fixture
def keys(authority: Authority, clock: TestClock, http: IdentityHttp) -> RemoteKeys:
    return RemoteKeys(authority.url + PATH, clock, http, timeout_seconds=0.5)


@pytest.fixture
def silence() -> Iterator[Event]:
    """A reply that waits for it is sent when the test ends, so that the server's threads end too."""
    silence = Event()
    yield silence
    silence.set()


def key_set(*kids: str, max_age: int | None = None) -> Reply:
    body = json.dumps({"keys": [signing_key(kid).jwk() for kid in kids]}).encode()
    return Reply(200, body, {"Cache-Control": f"public, max-age={max_age}"} if max_age is not None else {})


async def test_concurrent_callers_share_one_fetch(authority: Authority, keys: RemoteKeys) -> None:
    found = await asyncio.gather(*[keys.key("firebase-1") for _ in range(20)])
    assert {key.key_id for key in found} == {"firebase-1"}
    assert authority.paths() == [PATH]


@pytest.mark.parametrize(
    ("max_age", "fresh_for"),
    [(None, 300), (0, 300), (10, 300), (3600, 3600), (999_999_999, 86400)],
)
async def test_max_age_of_the_server_within_bounds_is_how_long_keys_are_fresh(
    authority: Authority, keys: RemoteKeys, clock: TestClock, max_age: int | None, fresh_for: int
) -> None:
    authority.replies[PATH] = key_set("firebase-1", max_age=max_age)
    await keys.key("firebase-1")
    clock.forward(fresh_for - 1)
    await keys.key("firebase-1")
    assert len(authority.asked) == 1
    clock.forward(1)
    await keys.key("firebase-1")
    assert len(authority.asked) == 2


async def test_a_rotated_set_replaces_the_old_keys(authority: Authority, keys: RemoteKeys, clock: TestClock) -> None:
    await keys.key("firebase-1")
    authority.replies[PATH] = key_set("google-1")
    clock.forward(60)
    assert (await keys.key("google-1")).key_id == "google-1"
    with pytest.raises(Unauthenticated):
        await keys.key("firebase-1")


async def refuse_invented_key_ids(keys: RemoteKeys) -> None:
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await keys.key(f"invented-{number}")


async def test_invented_key_ids_cause_three_fetches_at_once_and_then_three_a_minute(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    await keys.key("firebase-1")
    for seconds, fetches in ((0, 3), (19, 3), (1, 4), (20, 5), (20, 6), (10, 6), (3600, 9), (0, 9)):
        clock.forward(seconds)
        await refuse_invented_key_ids(keys)
        assert len(authority.asked) == fetches


async def test_a_new_key_is_found_at_once_after_an_invented_key_id(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    await keys.key("firebase-1")
    for _ in range(10):
        clock.forward(60)
        with pytest.raises(Unauthenticated):
            await keys.key("invented")
    authority.replies[PATH] = key_set("google-1")
    assert (await keys.key("google-1")).key_id == "google-1"


async def test_invented_key_ids_delay_a_new_key_by_twenty_seconds_at_most(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    for _ in range(100):
        clock.forward(1)
        with pytest.raises(Unauthenticated):
            await keys.key("invented")
    authority.replies[PATH] = key_set("google-1")
    clock.forward(20)
    assert (await keys.key("google-1")).key_id == "google-1"


BAD_REPLIES = {
    "error": Reply(500, b"{}"),
    "redirect": Reply(302, b"", {"Location": "/google"}),
    "garbage": Reply(200, b"<html>"),
    "no keys": Reply(200, b'{"keys": []}'),
    "deep": Reply(200, b"[" * 100_000),
    "huge": Reply(200, key_set("firebase-1").body + b" " * 300_000),
    "slow": Reply(200, b"{}"),
}


@pytest.mark.parametrize("bad", list(BAD_REPLIES))
async def test_old_keys_are_used_for_a_day_while_fetches_fail(
    authority: Authority, keys: RemoteKeys, clock: TestClock, silence: Event, bad: str
) -> None:
    authority.replies[PATH] = key_set("firebase-1", max_age=3600)
    await keys.key("firebase-1")
    authority.replies[PATH] = replace(BAD_REPLIES[bad], when=silence) if bad == "slow" else BAD_REPLIES[bad]
    clock.forward(3600)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"
    assert len(authority.asked) == 2
    clock.forward(30)
    await keys.key("firebase-1")
    assert len(authority.asked) == 2, "after a failed fetch there is none for a minute"
    clock.forward(86400)
    with pytest.raises(IdentityUnavailable):
        await keys.key("firebase-1")


@pytest.mark.parametrize("bad", list(BAD_REPLIES))
async def test_without_any_keys_the_error_is_identity_unavailable(
    authority: Authority, keys: RemoteKeys, clock: TestClock, silence: Event, bad: str
) -> None:
    authority.replies[PATH] = replace(BAD_REPLIES[bad], when=silence) if bad == "slow" else BAD_REPLIES[bad]
    for _ in range(3):
        with pytest.raises(IdentityUnavailable):
            await keys.key("firebase-1")
    assert len(authority.asked) == 1
    del authority.replies[PATH]
    clock.forward(5)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"


async def test_a_server_that_is_down_makes_keys_unavailable(clock: TestClock, http: IdentityHttp) -> None:
    with pytest.raises(IdentityUnavailable):
        await RemoteKeys("http://127.0.0.1:9/keys", clock, http, timeout_seconds=0.5).key("firebase-1")


async def test_while_one_caller_fetches_the_others_use_the_old_key(
    authority: Authority, clock: TestClock, http: IdentityHttp, silence: Event
) -> None:
    keys = RemoteKeys(authority.url + PATH, clock, http)
    await keys.key("firebase-1")
    authority.replies[PATH] = replace(key_set("firebase-1"), when=silence)
    clock.forward(86400)
    fetching = asyncio.create_task(keys.key("firebase-1"))
    while len(authority.asked) < 2:
        await asyncio.sleep(0.001)
    await keys.key("firebase-1")
    assert not fetching.done()
    silence.set()
    await fetching


async def test_keys_are_fetched_while_all_threads_of_asyncio_are_busy(keys: RemoteKeys, silence: Event) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, silence.wait)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"
    assert not busy.done()
    silence.set()
    await busy


def test_several_event_loops_may_use_the_same_keys_one_after_another(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    async def many() -> set[str | None]:
        return {key.key_id for key in await asyncio.gather(*[keys.key("firebase-1") for _ in range(20)])}

    for number in range(3):
        assert asyncio.run(many()) == {"firebase-1"}
        assert len(authority.asked) == number + 1
        clock.forward(3 * 86400)


def test_several_event_loops_may_use_the_same_access_tokens_one_after_another(
    authority: Authority, http: IdentityHttp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = authority.service_account_file(tmp_path / "account.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    soon = {"access_token": "an-access-token", "expires_in": 1, "token_type": "Bearer"}
    authority.replies["/token"] = Reply(200, json.dumps(soon).encode(), {"Content-Type": "application/json"})
    tokens = AccessTokens(http)

    async def many() -> set[str]:
        return set(await asyncio.gather(*[tokens() for _ in range(20)]))

    for number in range(3):
        assert asyncio.run(many()) == {"an-access-token"}
        assert authority.paths() == ["/token"] * (number + 1)


@pytest.mark.parametrize(
    "changes",
    [{"kty": "EC"}, {"kty": "oct", "k": "AAAA"}, {"alg": "HS256"}, {"use": "enc"}, {"n": "AQAB"}, {"n": 5}, {"kid": 7}],
)
def test_an_entry_that_is_not_an_rsa_signature_key_is_skipped(changes: dict[str, Any]) -> None:
    good = signing_key("firebase-1").jwk()
    assert list(read_keys({"keys": [{**good, **changes}, 5, None, good]})) == ["firebase-1"]


def test_a_key_of_1024_bits_is_skipped() -> None:
    assert read_keys({"keys": [signing_key("short", 1024).jwk()]}) == {}
