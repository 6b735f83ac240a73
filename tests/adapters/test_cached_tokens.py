"""The cache of verified tokens: how long it keeps them, how many, and what concurrent callers share."""

import asyncio
import gc
from datetime import timedelta

import pytest

from shared.adapters.identity.cache import CachedTokens
from shared.errors import IdentityUnavailable, Unauthenticated
from shared.ports import Identity
from tests.unit.world import EPOCH, TestClock


class SlowVerifier:
    """Answers when `may_answer` is set: with `error` if there is one, else with an identity named like the token."""

    def __init__(self) -> None:
        self.verified: list[str] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None
        self.expires_at = EPOCH + timedelta(hours=1)

    async def verify(self, token: str) -> Identity:
        self.verified.append(token)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return Identity(user_id=token, expires_at=self.expires_at)


class FastVerifier(SlowVerifier):
    def __init__(self) -> None:
        super().__init__()
        self.may_answer.set()


def start_verifying(cache: CachedTokens, *tokens: str) -> list["asyncio.Task[Identity]"]:
    return [asyncio.create_task(cache.verify(token)) for token in tokens]


async def until_called(verifier: SlowVerifier) -> None:
    while not verifier.verified:
        await asyncio.sleep(0)


async def test_concurrent_callers_with_one_token_share_one_verification() -> None:
    cache = CachedTokens(verifier := SlowVerifier(), TestClock())
    callers = start_verifying(cache, *["a"] * 20, "b")
    await asyncio.sleep(0)
    verifier.may_answer.set()
    identities = await asyncio.gather(*callers)
    assert [identity.user_id for identity in identities] == ["a"] * 20 + ["b"]
    assert sorted(verifier.verified) == ["a", "b"]


async def test_a_verification_is_kept_for_one_minute() -> None:
    clock = TestClock()
    cache = CachedTokens(verifier := FastVerifier(), clock)
    for seconds, verifications in ((0, 1), (59, 1), (1, 2)):
        clock.forward(seconds)
        await cache.verify("a")
        assert len(verifier.verified) == verifications


async def test_the_minute_begins_with_the_verification_and_not_with_its_end() -> None:
    clock = TestClock()
    cache = CachedTokens(verifier := SlowVerifier(), clock)
    [caller] = start_verifying(cache, "a")
    await until_called(verifier)
    clock.forward(10)
    verifier.may_answer.set()
    await caller
    for seconds, verifications in ((49, 1), (1, 2)):
        clock.forward(seconds)
        await cache.verify("a")
        assert len(verifier.verified) == verifications


async def test_a_token_is_not_kept_after_it_expires() -> None:
    clock = TestClock()
    cache = CachedTokens(verifier := FastVerifier(), clock)
    verifier.expires_at = EPOCH + timedelta(seconds=30)
    for seconds, verifications in ((29, 1), (0, 1), (1, 2), (0, 3)):
        clock.forward(seconds)
        await cache.verify("a")
        assert len(verifier.verified) == verifications


async def test_a_full_cache_drops_the_token_used_longest_ago() -> None:
    cache = CachedTokens(verifier := FastVerifier(), TestClock(), max_tokens=2)
    for token in ("a", "b", "a", "c", "a", "b"):
        await cache.verify(token)
    assert verifier.verified == ["a", "b", "c", "b"]


@pytest.mark.parametrize("error", [Unauthenticated(), IdentityUnavailable()], ids=["refused", "unavailable"])
async def test_an_error_reaches_all_concurrent_callers_and_is_not_kept(error: Exception) -> None:
    cache = CachedTokens(verifier := FastVerifier(), TestClock())
    verifier.error = error
    results = await asyncio.gather(*start_verifying(cache, *["a"] * 20), return_exceptions=True)
    assert {type(result) for result in results} == {type(error)}
    assert verifier.verified == ["a"]
    verifier.error = None
    assert (await cache.verify("a")).user_id == "a"


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_a_cancelled_caller_does_not_cancel_the_verification_of_the_others(cancelled: int) -> None:
    cache = CachedTokens(verifier := SlowVerifier(), TestClock())
    callers = start_verifying(cache, "a", "a")
    await until_called(verifier)
    callers.pop(cancelled).cancel()
    await asyncio.sleep(0)
    verifier.may_answer.set()
    assert (await callers[0]).user_id == "a"
    assert verifier.verified == ["a"]


async def test_asyncio_reports_no_error_when_all_callers_were_cancelled() -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
    cache = CachedTokens(verifier := SlowVerifier(), TestClock())
    verifier.error = IdentityUnavailable()
    [caller] = start_verifying(cache, "a")
    await until_called(verifier)
    caller.cancel()
    del caller
    await asyncio.sleep(0)
    verifier.may_answer.set()
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    assert reports == []


async def test_a_forgotten_token_is_verified_again() -> None:
    cache = CachedTokens(verifier := FastVerifier(), TestClock())
    await cache.verify("a")
    cache.forget("a")
    cache.forget("never seen")
    await cache.verify("a")
    assert verifier.verified == ["a", "a"]


async def test_a_verification_in_progress_when_its_token_is_forgotten_is_not_kept() -> None:
    cache = CachedTokens(verifier := SlowVerifier(), TestClock())
    [caller] = start_verifying(cache, "a")
    await until_called(verifier)
    cache.forget("a")
    verifier.may_answer.set()
    await caller
    await cache.verify("a")
    assert verifier.verified == ["a", "a"]


async def test_callers_after_forget_do_not_share_a_verification_that_began_before() -> None:
    cache = CachedTokens(verifier := SlowVerifier(), TestClock())
    [before] = start_verifying(cache, "a")
    await until_called(verifier)
    cache.forget("a")
    [after] = start_verifying(cache, "a")
    await asyncio.sleep(0)
    verifier.may_answer.set()
    await asyncio.gather(before, after)
    assert verifier.verified == ["a", "a"]
    await cache.verify("a")
    assert verifier.verified == ["a", "a"], "the second verification is kept"


def test_event_loops_share_kept_verifications_but_none_in_progress() -> None:
    clock = TestClock()
    verifier = SlowVerifier()
    cache = CachedTokens(verifier, clock)

    async def verify_concurrently() -> None:
        verifier.may_answer = asyncio.Event()
        callers = start_verifying(cache, *["a"] * 5)
        await asyncio.sleep(0)
        verifier.may_answer.set()
        await asyncio.gather(*callers)

    for verifications in (1, 1, 2):
        if verifications == 2:
            clock.forward(60)
        asyncio.run(verify_concurrently())
        assert len(verifier.verified) == verifications
