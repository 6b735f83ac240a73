"""Limits are reserved in the commit that accepts a run, so they hold for any number of requests at once."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from shared.domain.limits import Limits
from shared.domain.result import Result, Usage
from shared.domain.run import Failure, Run
from shared.errors import TooManyRuns
from shared.ports import IdempotencyRecord
from tests.contract.runs import NOW, a_run


async def crowd(backend: Any, runs: Sequence[Run], limits: Limits) -> list[Any]:
    return await asyncio.gather(*[backend.store.create(run, limits=limits) for run in runs], return_exceptions=True)


async def test_of_two_hundred_at_once_exactly_as_many_as_allowed_are_accepted(backend: Any) -> None:
    runs = [a_run(user_id=f"user-{n}") for n in range(200)]
    outcomes = await crowd(backend, runs, Limits(open_runs=20))
    assert outcomes.count(None) == 20
    refusals = [outcome for outcome in outcomes if outcome is not None]
    assert {(type(refusal), refusal.code) for refusal in refusals} == {(TooManyRuns, "too_many_open_runs")}


async def test_a_crowd_below_the_limit_gets_in_whole(backend: Any) -> None:
    outcomes = await crowd(backend, [a_run() for _ in range(30)], Limits(open_runs=35, submits_a_minute=35))
    assert outcomes.count(None) == 30


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
async def test_the_end_of_a_run_makes_room_for_one_more_and_not_for_two(backend: Any, ending: str) -> None:
    limits, first = Limits(open_runs=2), a_run()
    await backend.store.create(first, limits=limits)
    await backend.store.create(a_run(), limits=limits)
    stored = await backend.store.get(first.id)
    ended = {
        "completed": stored.completed(NOW, result=Result(text="done"), usage=Usage(), checks=1),
        "failed": stored.failed(NOW, error=Failure(code="c", message="m")),
        "cancelled": stored.cancelled(NOW),
    }[ending]
    saved = await backend.store.save(ended)
    assert saved == await backend.store.get(first.id)
    await backend.store.save(saved.with_late_result(NOW))
    assert (await crowd(backend, [a_run() for _ in range(3)], limits)).count(None) == 1


async def test_other_tenants_and_users_have_room_of_their_own(backend: Any) -> None:
    limits = Limits(open_runs=1, submits_a_minute=1)
    await backend.store.create(a_run(), limits=limits)
    await backend.store.create(a_run(user_id="other", tenant_id="globex"), limits=limits)
    with pytest.raises(TooManyRuns):
        await backend.store.create(a_run(user_id="other-still"), limits=limits)
    with pytest.raises(TooManyRuns):
        await backend.store.create(a_run(tenant_id="third"), limits=limits)


async def test_submits_count_by_the_minute_even_when_they_have_ended(backend: Any) -> None:
    limits = Limits(submits_a_minute=3)
    first = [a_run(created_at=NOW + timedelta(seconds=n * 10)) for n in range(6)]
    outcomes = await crowd(backend, first, limits)
    assert outcomes.count(None) == 3
    refused = next(outcome for outcome in outcomes if outcome is not None)
    assert refused.code == "too_many_submits" and timedelta(0) < refused.retry_after <= timedelta(minutes=1)
    later = [a_run(created_at=NOW + timedelta(seconds=60)) for _ in range(4)]
    assert (await crowd(backend, later, limits)).count(None) == 3


async def test_a_repeat_is_no_further_run(backend: Any) -> None:
    """An answer may have been lost; and a replay of an idempotency key is answered even when all is full."""
    limits, run = Limits(open_runs=1, submits_a_minute=1), a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    assert await backend.store.create(run, idempotency=record, limits=limits) is None
    assert await backend.store.create(run, idempotency=record, limits=limits) is None
    again = a_run()
    replay = IdempotencyRecord(key_hash="k", body_hash="b", run_id=again.id, expires_at=record.expires_at)
    assert (await backend.store.create(again, idempotency=replay, limits=limits)) == record


async def test_a_refusal_leaves_nothing_behind(backend: Any) -> None:
    limits = Limits(open_runs=1)
    await backend.store.create(a_run(), limits=limits)
    refused = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=refused.id, expires_at=NOW + timedelta(days=1))
    with pytest.raises(TooManyRuns):
        await backend.store.create(refused, idempotency=record, limits=limits)
    free = a_run(tenant_id="globex")
    same_key = IdempotencyRecord(key_hash="k", body_hash="b", run_id=free.id, expires_at=record.expires_at)
    assert await backend.store.create(free, idempotency=same_key, limits=limits) is None
