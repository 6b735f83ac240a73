"""Public keys from a server that rotates them, is slow, talks rubbish, or is away."""

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
    return RemoteKeys(authority.url + PATH, clock, http, seconds=0.5)


@pytest.fixture
def silence() -> Iterator[Event]:
    """Ends with the test, so that the server's threads end too."""
    silence = Event()
    yield silence
    silence.set()


def key_set(*kids: str, max_age: int | None = None) -> Reply:
    body = json.dumps({"keys": [signing_key(kid).jwk() for kid in kids]}).encode()
    return Reply(200, body, {"Cache-Control": f"public, max-age={max_age}"} if max_age is not None else {})


async def test_many_requests_at_once_fetch_the_keys_once(authority: Authority, keys: RemoteKeys) -> None:
    found = await asyncio.gather(*[keys.key("firebase-1") for _ in range(20)])
    assert {key.key_id for key in found} == {"firebase-1"}
    assert authority.paths() == [PATH]


@pytest.mark.parametrize(
    ("max_age", "fresh_for"),
    [(None, 300), (0, 300), (10, 300), (3600, 3600), (999_999_999, 86400)],
)
async def test_keys_are_fresh_as_long_as_their_server_says_within_bounds(
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


async def test_a_new_key_is_found_and_an_old_one_is_gone(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    await keys.key("firebase-1")
    authority.replies[PATH] = key_set("google-1")
    clock.forward(60)
    assert (await keys.key("google-1")).key_id == "google-1"
    with pytest.raises(Unauthenticated):
        await keys.key("firebase-1")


async def refuse_made_up(keys: RemoteKeys) -> None:
    for number in range(50):
        with pytest.raises(Unauthenticated):
            await keys.key(f"made-up-{number}")


async def test_unknown_key_ids_drive_three_fetches_at_once_and_then_three_a_minute(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    await keys.key("firebase-1")
    for seconds, fetches in ((0, 3), (19, 3), (1, 4), (20, 5), (20, 6), (10, 6), (3600, 9), (0, 9)):
        clock.forward(seconds)
        await refuse_made_up(keys)
        assert len(authority.asked) == fetches


async def test_a_new_key_is_found_at_once_though_one_was_made_up_just_before(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    await keys.key("firebase-1")
    for _ in range(10):
        clock.forward(60)
        with pytest.raises(Unauthenticated):
            await keys.key("made-up")
    authority.replies[PATH] = key_set("google-1")
    assert (await keys.key("google-1")).key_id == "google-1"


async def test_made_up_ids_keep_a_new_key_out_for_no_longer_than_a_third_of_a_minute(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    for _ in range(100):
        clock.forward(1)
        with pytest.raises(Unauthenticated):
            await keys.key("made-up")
    authority.replies[PATH] = key_set("google-1")
    clock.forward(20)
    assert (await keys.key("google-1")).key_id == "google-1"


BAD = {
    "error": Reply(500, b"{}"),
    "redirect": Reply(302, b"", {"Location": "/google"}),
    "garbage": Reply(200, b"<html>"),
    "no keys": Reply(200, b'{"keys": []}'),
    "deep": Reply(200, b"[" * 100_000),
    "huge": Reply(200, key_set("firebase-1").body + b" " * 300_000),
    "slow": Reply(200, b"{}"),
}


@pytest.mark.parametrize("bad", list(BAD))
async def test_old_keys_go_on_for_a_day_while_no_new_ones_come(
    authority: Authority, keys: RemoteKeys, clock: TestClock, silence: Event, bad: str
) -> None:
    authority.replies[PATH] = key_set("firebase-1", max_age=3600)
    await keys.key("firebase-1")
    authority.replies[PATH] = replace(BAD[bad], when=silence) if bad == "slow" else BAD[bad]
    clock.forward(3600)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"
    assert len(authority.asked) == 2
    clock.forward(30)
    await keys.key("firebase-1")
    assert len(authority.asked) == 2, "a server in trouble is left alone for a minute"
    clock.forward(86400)
    with pytest.raises(IdentityUnavailable):
        await keys.key("firebase-1")


@pytest.mark.parametrize("bad", list(BAD))
async def test_without_any_keys_nobody_is_refused_or_let_in(
    authority: Authority, keys: RemoteKeys, clock: TestClock, silence: Event, bad: str
) -> None:
    authority.replies[PATH] = replace(BAD[bad], when=silence) if bad == "slow" else BAD[bad]
    for _ in range(3):
        with pytest.raises(IdentityUnavailable):
            await keys.key("firebase-1")
    assert len(authority.asked) == 1
    del authority.replies[PATH]
    clock.forward(5)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"


async def test_nobody_at_the_address_is_no_answer_either(clock: TestClock, http: IdentityHttp) -> None:
    with pytest.raises(IdentityUnavailable):
        await RemoteKeys("http://127.0.0.1:9/keys", clock, http, seconds=0.5).key("firebase-1")


async def test_while_one_request_fetches_the_others_go_on_with_the_old_key(
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


async def test_keys_come_while_all_of_asyncios_own_threads_are_busy(keys: RemoteKeys, silence: Event) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, silence.wait)
    assert (await keys.key("firebase-1")).key_id == "firebase-1"
    assert not busy.done()
    silence.set()
    await busy


def test_several_event_loops_may_ask_for_keys_one_after_another(
    authority: Authority, keys: RemoteKeys, clock: TestClock
) -> None:
    async def many() -> set[str | None]:
        return {key.key_id for key in await asyncio.gather(*[keys.key("firebase-1") for _ in range(20)])}

    for number in range(3):
        assert asyncio.run(many()) == {"firebase-1"}
        assert len(authority.asked) == number + 1
        clock.forward(3 * 86400)


def test_several_event_loops_may_ask_for_access_tokens_one_after_another(
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
def test_what_is_no_rsa_key_for_signatures_is_passed_over(changes: dict[str, Any]) -> None:
    good = signing_key("firebase-1").jwk()
    assert list(read_keys({"keys": [{**good, **changes}, 5, None, good]})) == ["firebase-1"]


def test_a_short_key_is_passed_over() -> None:
    assert read_keys({"keys": [signing_key("short", 1024).jwk()]}) == {}
