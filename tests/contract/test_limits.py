"""Limits are reserved in the commit that accepts a run, so they hold for any number of requests at once."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest

from shared.adapters.gcp.run_store import MAX_TRIES
from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.limits import Limits
from shared.domain.result import Result, Usage
from shared.domain.run import Failure, Run
from shared.errors import IdempotencyKeyBusy, StoreUnavailable, TooManyRuns
from shared.ports import IdempotencyRecord
from tests.contract.runs import NOW, a_run
from tests.google import store_behind_a_proxy
from tests.grpc_proxy import COMMIT, Forward, Refused, Requests


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


async def test_a_lowered_limit_holds_for_those_that_come_then_and_the_others_are_not_in_their_way(
    google_emulators: Any,
) -> None:
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await asyncio.gather(*[store.create(a_run()) for _ in range(20)])
        before = [a_run() for _ in range(30)]
        await asyncio.gather(*[store.create(run, limits=Limits(open_runs=10_000)) for run in before])
        numbers = [(await store.get(run.id)).permit or 0 for run in before]
        room = 25 - sum(number < 25 for number in numbers)
        for _ in range(room):
            assert await store.create(a_run(), limits=Limits(open_runs=25)) is None
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=Limits(open_runs=25))


@pytest.mark.parametrize("expired", [1, 20])
async def test_what_has_expired_takes_no_room_though_it_is_still_there(google_emulators: Any, expired: int) -> None:
    limits, later = Limits(open_runs=20), NOW + timedelta(days=31)
    ends = [NOW + timedelta(days=30) if number < expired else later + timedelta(days=1) for number in range(20)]
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await asyncio.gather(*[store.create(a_run(expires_at=end), limits=limits) for end in ends])
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=limits)
        crowd = [a_run(created_at=later, expires_at=later + timedelta(days=30)) for _ in range(expired + 5)]
        creating = [store.create(run, limits=limits) for run in crowd]
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert outcomes.count(None) == expired
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {TooManyRuns}


async def test_the_last_places_are_found_without_listing_all(google_emulators: Any) -> None:
    limits = Limits(open_runs=30)
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await asyncio.gather(*[store.create(a_run(), limits=limits) for _ in range(29)])
        for _ in range(5):
            await store.create(run := a_run(), limits=limits)
            await store.save((await store.get(run.id)).cancelled(NOW))
        assert proxy.calls["RunQuery"] == 0


async def test_places_that_are_free_are_tried_again(google_emulators: Any) -> None:
    failures = iter([True])

    def loses_once(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT and next(failures, False):
            raise Refused(grpc.StatusCode.ALREADY_EXISTS)
        return forward()

    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = loses_once
        await store.create(a_run(), limits=Limits(open_runs=1000, submits_a_minute=1000))
        places = [count for name, count in proxy.writes.items() if name.startswith("permits/")]
    assert places == [2, 2]


async def test_who_loses_every_race_for_a_place_is_not_told_that_the_key_is_busy(google_emulators: Any) -> None:
    run = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = loses_every_race
        with pytest.raises(StoreUnavailable):
            await store.create(run, idempotency=record, limits=Limits(open_runs=5))
        assert proxy.calls[COMMIT] == MAX_TRIES
        proxy.hook = None
        assert await store.create(run, idempotency=record, limits=Limits(open_runs=5)) is None


async def test_a_key_that_changes_hands_all_the_time_is_busy(google_emulators: Any) -> None:
    run = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        loop = asyncio.get_running_loop()
        key = store._firestore.collection("idempotency_keys").document("k")

        def is_overtaken(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
            if method != COMMIT:
                return forward()
            proxy.hook = None
            another = replace(record, body_hash=uuid4().hex, expires_at=NOW)
            asyncio.run_coroutine_threadsafe(key.set(asdict(another)), loop).result()
            proxy.hook = is_overtaken
            raise Refused(grpc.StatusCode.ALREADY_EXISTS)

        proxy.hook = is_overtaken
        with pytest.raises(IdempotencyKeyBusy):
            await store.create(run, idempotency=record)


async def test_a_crowd_that_the_store_cannot_sort_out_is_refused_when_the_places_are_taken(
    google_emulators: Any,
) -> None:
    def aborts(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED)
        return forward()

    limits, run = Limits(open_runs=1), a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(run, idempotency=record, limits=limits)
        proxy.hook = aborts
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=limits)
        again = a_run()
        assert await store.create(again, idempotency=replace(record, run_id=again.id), limits=limits) == record
        with pytest.raises(StoreUnavailable):
            await store.create(a_run(), limits=Limits(open_runs=2))


async def test_all_tries_together_are_bounded(google_emulators: Any) -> None:
    def loses_slowly(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT:
            time.sleep(0.3)
        return loses_every_race(method, requests, forward)

    async with store_behind_a_proxy(google_emulators, create_seconds=0.5) as (proxy, store):
        proxy.hook = loses_slowly
        with pytest.raises(StoreUnavailable):
            await store.create(a_run())
        assert proxy.calls[COMMIT] < MAX_TRIES


def loses_every_race(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
    if method == COMMIT:
        raise Refused(grpc.StatusCode.ALREADY_EXISTS)
    return forward()


async def test_sqlite_counts_by_an_index_alone(sqlite: SqliteBackend) -> None:
    """With a look at each open run's row a submit took a millisecond more."""
    statements: list[str] = []
    await sqlite.database.read(lambda connection: connection.set_trace_callback(statements.append))
    await sqlite.store.create(a_run(), limits=Limits(open_runs=9, submits_a_minute=9))
    counts = [asked for asked in statements if asked.startswith("SELECT count(*)")]
    for asked in counts:
        [plan, *_] = await sqlite.database.read(
            lambda connection, asked=asked: connection.execute(f"EXPLAIN QUERY PLAN {asked}").fetchall()
        )
        assert "USING COVERING INDEX" in plan[3]
    assert len(counts) == 2
