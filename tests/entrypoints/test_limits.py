"""Limits as a client sees them: 429, when to try again, and that what was refused is not there."""

import asyncio
import re
from collections import Counter

import httpx
import pytest

from shared import wiring
from tests.entrypoints.conftest import Functions

RUN = {"input_text": "hello"}


def limited(monkeypatch: pytest.MonkeyPatch, **settings: int) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    wiring.close()


async def at_once(functions: Functions, count: int, **headers: str) -> list[httpx.Response]:
    async with functions.client("submit_run") as client:
        return await asyncio.gather(*[client.post("/llm_user_runs", json=RUN, headers=headers) for _ in range(count)])


async def test_two_hundred_at_once_against_twenty_open_runs_are_exactly_twenty(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, MAX_OPEN_RUNS=20, SUBMITS_PER_MINUTE=0)
    answers = await at_once(functions, 200)
    assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 180}
    assert await functions.count("runs") == 20 and await functions.count("messages") == 20
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "too_many_open_runs" and refused.json()["retryable"] is True
    assert refused.headers["ratelimit-policy"] == '"open-runs";q=20'
    assert refused.headers["ratelimit"] == '"open-runs";r=0;t=5' and refused.headers["retry-after"] == "5"


async def test_a_cancelled_run_makes_room(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, MAX_OPEN_RUNS=1, SUBMITS_PER_MINUTE=0)
    [first] = await at_once(functions, 1)
    assert [answer.status_code for answer in await at_once(functions, 1)] == [429]
    async with functions.client("read_runs") as client:
        await client.post(first.json()["urls"]["cancel"])
    assert [answer.status_code for answer in await at_once(functions, 1)] == [200]


async def test_sixty_submits_a_minute_is_what_a_user_has_unless_settings_say_otherwise(functions: Functions) -> None:
    """Two rounds, should the minute end in the first."""
    answers = [*await at_once(functions, 61), *await at_once(functions, 61)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 2 and refused[0].json()["code"] == "too_many_submits"
    assert refused[0].headers["ratelimit-policy"] == '"submits";q=60;w=60'
    seconds = int(refused[0].headers["retry-after"])
    assert 1 <= seconds <= 60 and re.fullmatch(rf'"submits";r=0;t={seconds}', refused[0].headers["ratelimit"])


async def test_fifty_at_once_with_one_key_are_one_run(functions: Functions) -> None:
    answers = await at_once(functions, 50, **{"Idempotency-Key": '"once"'})
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["run_uuid"] for answer in answers}) == 1 == await functions.count("runs")
    assert Counter(answer.headers.get("idempotency-status") for answer in answers) == {None: 1, "replayed": 49}
