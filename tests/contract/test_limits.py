"""Tests limits: the commit that accepts a run checks them, so they hold for any number of concurrent requests."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.cloud.firestore_v1.types import CommitRequest
from msgspec.structs import asdict

from shared.adapters.gcp.run_creation import MAX_CREATE_TRIES
from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.errors import IdempotencyKeyBusy, StoreUnavailable, TooManyRuns
from tests.contract.runs import NOW, a_run, rows
from tests.google import store_behind_a_proxy
from tests.grpc_proxy import COMMIT, Forward, Refused, Requests


async def create_all(backend: Any, runs: Sequence[Run], limits: Limits) -> list[Any]:
    """Creates the runs concurrently; returns None for each that was accepted and the exception for each other."""
    return await asyncio.gather(*[backend.store.create(run, limits=limits) for run in runs], return_exceptions=True)


async def test_exactly_the_limit_is_accepted_of_200_concurrent_runs(backend: Any) -> None:
    runs = [a_run(user_id=f"user-{n}") for n in range(200)]
    outcomes = await create_all(backend, runs, Limits(open_runs=20))
    assert outcomes.count(None) == 20
    refusals = [outcome for outcome in outcomes if outcome is not None]
    assert {(type(refusal), refusal.code) for refusal in refusals} == {(TooManyRuns, "too_many_open_runs")}


async def test_concurrent_runs_below_the_limit_are_all_accepted(backend: Any) -> None:
    outcomes = await create_all(backend, [a_run() for _ in range(30)], Limits(open_runs=35, submits_a_minute=35))
    assert outcomes.count(None) == 30


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
async def test_the_end_of_a_run_allows_exactly_one_more_run(backend: Any, ending: str) -> None:
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
    assert (await create_all(backend, [a_run() for _ in range(3)], limits)).count(None) == 1


async def test_limits_are_counted_for_each_tenant_and_each_user(backend: Any) -> None:
    limits = Limits(open_runs=1, submits_a_minute=1)
    await backend.store.create(a_run(), limits=limits)
    await backend.store.create(a_run(user_id="other", tenant_id="globex"), limits=limits)
    with pytest.raises(TooManyRuns):
        await backend.store.create(a_run(user_id="other-still"), limits=limits)
    with pytest.raises(TooManyRuns):
        await backend.store.create(a_run(tenant_id="third"), limits=limits)


async def test_submits_are_counted_for_each_minute_of_the_clock(backend: Any) -> None:
    limits = Limits(submits_a_minute=3)
    first = [a_run(created_at=NOW + timedelta(seconds=n * 10)) for n in range(6)]
    outcomes = await create_all(backend, first, limits)
    assert outcomes.count(None) == 3
    refused = next(outcome for outcome in outcomes if outcome is not None)
    assert refused.code == "too_many_submits" and timedelta(0) < refused.retry_after <= timedelta(minutes=1)
    later = [a_run(created_at=NOW + timedelta(seconds=60)) for _ in range(4)]
    assert (await create_all(backend, later, limits)).count(None) == 3


async def test_a_repeated_create_does_not_count_as_another_run(backend: Any) -> None:
    """A client repeats a create whose answer was lost. A known idempotency key finds its run even at the limit."""
    limits, run = Limits(open_runs=1, submits_a_minute=1), a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    assert await backend.store.create(run, idempotency=record, limits=limits) is None
    assert await backend.store.create(run, idempotency=record, limits=limits) is None
    again = a_run()
    replay = IdempotencyRecord(key_hash="k", body_hash="b", run_id=again.id, expires_at=record.expires_at)
    assert (await backend.store.create(again, idempotency=replay, limits=limits)) == record


async def test_a_refused_run_does_not_keep_its_idempotency_key(backend: Any) -> None:
    limits = Limits(open_runs=1)
    await backend.store.create(a_run(), limits=limits)
    refused = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=refused.id, expires_at=NOW + timedelta(days=1))
    with pytest.raises(TooManyRuns):
        await backend.store.create(refused, idempotency=record, limits=limits)
    accepted = a_run(tenant_id="globex")
    same_key = IdempotencyRecord(key_hash="k", body_hash="b", run_id=accepted.id, expires_at=record.expires_at)
    assert await backend.store.create(accepted, idempotency=same_key, limits=limits) is None


async def test_a_lowered_limit_counts_only_runs_whose_permits_are_below_it(
    google_emulators: Any,
) -> None:
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await asyncio.gather(*[store.create(a_run()) for _ in range(20)])
        with_permits = [a_run() for _ in range(30)]
        await asyncio.gather(*[store.create(run, limits=Limits(open_runs=10_000)) for run in with_permits])
        permit_numbers = [(await store.get(run.id)).permit or 0 for run in with_permits]
        available = 25 - sum(number < 25 for number in permit_numbers)
        for _ in range(available):
            assert await store.create(a_run(), limits=Limits(open_runs=25)) is None
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=Limits(open_runs=25))


@pytest.mark.parametrize("expired", [1, 20])
async def test_an_expired_permit_counts_as_available(google_emulators: Any, expired: int) -> None:
    limits, later = Limits(open_runs=20), NOW + timedelta(days=31)
    ends = [NOW + timedelta(days=30) if number < expired else later + timedelta(days=1) for number in range(20)]
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await asyncio.gather(*[store.create(a_run(expires_at=end), limits=limits) for end in ends])
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=limits)
        runs = [a_run(created_at=later, expires_at=later + timedelta(days=30)) for _ in range(expired + 5)]
        creating = [store.create(run, limits=limits) for run in runs]
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
    assert outcomes.count(None) == expired
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {TooManyRuns}


async def test_the_last_available_permit_is_found_without_a_list_of_all(google_emulators: Any) -> None:
    limits = Limits(open_runs=30)
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await asyncio.gather(*[store.create(a_run(), limits=limits) for _ in range(29)])
        for _ in range(5):
            await store.create(run := a_run(), limits=limits)
            await store.save((await store.get(run.id)).cancelled(NOW))
        assert proxy.calls["RunQuery"] == 0


async def test_permits_that_are_still_available_are_kept_after_a_failed_commit(google_emulators: Any) -> None:
    tried: list[set[str]] = []

    def fails_once(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT:
            names = [write.update.name for request in requests for write in CommitRequest.deserialize(request).writes]
            tried.append({name for name in names if "/permits/" in name})
            if len(tried) == 1:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS)
        return forward()

    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = fails_once
        await store.create(a_run(), limits=Limits(open_runs=1000, submits_a_minute=1000))
    assert len(tried[0]) == 2 and tried == [tried[0]] * 2


async def test_a_run_whose_commits_all_fail_raises_store_unavailable_and_not_key_busy(google_emulators: Any) -> None:
    run = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        proxy.hook = fails_each_commit
        with pytest.raises(StoreUnavailable):
            await store.create(run, idempotency=record, limits=Limits(open_runs=5))
        assert proxy.calls[COMMIT] == MAX_CREATE_TRIES
        proxy.hook = None
        assert await store.create(run, idempotency=record, limits=Limits(open_runs=5)) is None


async def test_a_key_that_other_requests_keep_writing_is_busy(google_emulators: Any) -> None:
    run = a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        loop = asyncio.get_running_loop()
        key = store._firestore.collection("idempotency_keys").document("k")

        def another_writes_first(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
            if method != COMMIT:
                return forward()
            proxy.hook = None
            another = replace(record, body_hash=uuid4().hex, expires_at=NOW)
            asyncio.run_coroutine_threadsafe(key.set(asdict(another)), loop).result()
            proxy.hook = another_writes_first
            raise Refused(grpc.StatusCode.ALREADY_EXISTS)

        proxy.hook = another_writes_first
        with pytest.raises(IdempotencyKeyBusy):
            await store.create(run, idempotency=record)


async def test_a_reached_limit_is_reported_also_when_the_store_refuses_commits(
    google_emulators: Any,
) -> None:
    def refuses_commits(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED)
        return forward()

    limits, run = Limits(open_runs=1), a_run()
    record = IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(run, idempotency=record, limits=limits)
        proxy.hook = refuses_commits
        with pytest.raises(TooManyRuns):
            await store.create(a_run(), limits=limits)
        again = a_run()
        assert await store.create(again, idempotency=replace(record, run_id=again.id), limits=limits) == record
        with pytest.raises(StoreUnavailable):
            await store.create(a_run(), limits=Limits(open_runs=2))


async def test_all_tries_of_a_create_together_have_a_time_limit(google_emulators: Any) -> None:
    def fails_slowly(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method == COMMIT:
            time.sleep(0.3)
        return fails_each_commit(method, requests, forward)

    async with store_behind_a_proxy(google_emulators, create_timeout_seconds=0.5) as (proxy, store):
        proxy.hook = fails_slowly
        with pytest.raises(StoreUnavailable):
            await store.create(a_run())
        assert proxy.calls[COMMIT] < MAX_CREATE_TRIES


def fails_each_commit(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
    if method == COMMIT:
        raise Refused(grpc.StatusCode.ALREADY_EXISTS)
    return forward()


async def test_sqlite_counts_open_runs_and_submits_with_covering_indexes(sqlite: SqliteBackend) -> None:
    """Reading each open run's row as well made a submit 1 ms slower, measured with 1,000 open runs."""
    statements: list[str] = []
    await sqlite.database.write(lambda connection: connection.set_trace_callback(statements.append))
    await sqlite.store.create(a_run(), limits=Limits(open_runs=9, submits_a_minute=9))
    counts = [statement for statement in statements if statement.startswith("SELECT count(*)")]
    for count in counts:
        [plan, *_] = await rows(sqlite, f"EXPLAIN QUERY PLAN {count}")
        assert "USING COVERING INDEX" in plan[3]
    assert len(counts) == 2
