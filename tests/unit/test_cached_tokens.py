"""One look at a token for all who show it at once, and what becomes of it when one of them goes away."""

import asyncio
import gc
from datetime import timedelta

import pytest

from shared.adapters.identity.cache import CachedTokens
from shared.errors import IdentityUnavailable
from shared.ports import Identity
from tests.unit.world import EPOCH, TestClock


class SlowVerifier:
    """Answers when `may_answer` is set, with `trouble` if there is any."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.trouble: IdentityUnavailable | None = None

    async def verify(self, token: str) -> Identity:
        self.asked.append(token)
        await self.may_answer.wait()
        if self.trouble is not None:
            raise self.trouble
        return Identity(user_id=token, expires_at=EPOCH + timedelta(hours=1))


def all_asking(tokens: CachedTokens, *shown: str) -> list["asyncio.Task[Identity]"]:
    return [asyncio.create_task(tokens.verify(token)) for token in shown]


async def test_of_those_who_show_one_token_at_once_one_is_checked() -> None:
    tokens = CachedTokens(verifier := SlowVerifier(), TestClock())
    asking = all_asking(tokens, *["a"] * 20, "b")
    await asyncio.sleep(0)
    verifier.may_answer.set()
    found = await asyncio.gather(*asking)
    assert [identity.user_id for identity in found] == ["a"] * 20 + ["b"]
    assert sorted(verifier.asked) == ["a", "b"]
    await tokens.verify("a")
    assert sorted(verifier.asked) == ["a", "b"]


async def test_trouble_reaches_all_of_them_and_is_not_remembered() -> None:
    tokens = CachedTokens(verifier := SlowVerifier(), TestClock())
    verifier.trouble = IdentityUnavailable()
    verifier.may_answer.set()
    found = await asyncio.gather(*all_asking(tokens, *["a"] * 20), return_exceptions=True)
    assert {type(trouble) for trouble in found} == {IdentityUnavailable}
    assert verifier.asked == ["a"]
    verifier.trouble = None
    assert (await tokens.verify("a")).user_id == "a"


@pytest.mark.parametrize("leaving", [0, 1])
async def test_who_goes_away_takes_nothing_from_the_others(leaving: int) -> None:
    tokens = CachedTokens(verifier := SlowVerifier(), TestClock())
    asking = all_asking(tokens, "a", "a")
    while not verifier.asked:
        await asyncio.sleep(0)
    asking.pop(leaving).cancel()
    await asyncio.sleep(0)
    verifier.may_answer.set()
    assert (await asking[0]).user_id == "a"
    assert verifier.asked == ["a"]


async def test_trouble_that_nobody_waits_for_any_more_is_no_complaint_of_the_loop() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    tokens = CachedTokens(verifier := SlowVerifier(), TestClock())
    verifier.trouble = IdentityUnavailable()
    [asking] = all_asking(tokens, "a")
    while not verifier.asked:
        await asyncio.sleep(0)
    asking.cancel()
    del asking
    await asyncio.sleep(0)
    verifier.may_answer.set()
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_a_check_that_was_under_way_when_its_token_was_forgotten_is_believed_by_nobody_later() -> None:
    tokens = CachedTokens(verifier := SlowVerifier(), TestClock())
    [before] = all_asking(tokens, "a")
    while not verifier.asked:
        await asyncio.sleep(0)
    tokens.forget("a")
    [after] = all_asking(tokens, "a")
    await asyncio.sleep(0)
    verifier.may_answer.set()
    await asyncio.gather(before, after)
    assert verifier.asked == ["a", "a"]
    await tokens.verify("a")
    assert verifier.asked == ["a", "a"], "what the second found is kept"


def test_event_loops_share_what_is_known_and_nothing_that_is_under_way() -> None:
    clock = TestClock()
    verifier = SlowVerifier()
    tokens = CachedTokens(verifier, clock)

    async def all_at_once() -> None:
        verifier.may_answer = asyncio.Event()
        asking = all_asking(tokens, *["a"] * 5)
        await asyncio.sleep(0)
        verifier.may_answer.set()
        await asyncio.gather(*asking)

    for checks in (1, 1, 2):
        if checks == 2:
            clock.forward(60)
        asyncio.run(all_at_once())
        assert len(verifier.asked) == checks
