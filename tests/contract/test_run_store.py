"""Tests the RunStore port."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.storage.last_saved import MAX_CHECKS
from shared.domain.channel import Channel
from shared.domain.directory import ModelRef
from shared.domain.erasure import erased as without_content
from shared.domain.failure import Failure
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.result import Result, Usage
from shared.domain.run import SHARDS, Run
from shared.domain.status import Kind, Status
from shared.errors import ResultTooLarge, RunNotFound, StaleRun, StoreUnavailable
from shared.ports import RunFilter, RunPosition
from tests.contract.runs import NOW, a_run, rows
from tests.google import endpoints, store_behind_a_proxy
from tests.grpc_proxy import COMMIT, Forward, Refused, Requests

JOBS = RunFilter(user_id="demo", kinds=(Kind.JOB,))


async def test_get_returns_the_run_as_it_was_stored(backend: Any) -> None:
    run = a_run(
        model=ModelRef(id="m", name="M", provider="p"),
        reference_file_ids=("a", "b"),
        result=Result(text="ü\u0000🙂", memory_flags=({"segment": "s", "match": None, "used": True},), raw={"x": [1]}),
        usage=Usage(input_tokens=3, cost_usd=0.1),
        error=Failure(code="c", message="m"),
        started_at=NOW + timedelta(microseconds=1),
    )
    await backend.store.create(run)
    assert await backend.store.get(run.id) == run


async def test_an_unknown_run_is_not_found(backend: Any) -> None:
    with pytest.raises(RunNotFound):
        await backend.store.get(a_run().id)


async def test_creating_the_same_run_again_changes_nothing(backend: Any) -> None:
    run = a_run()
    await backend.store.create(run)
    await backend.store.save((await backend.store.get(run.id)).claimed(NOW, lease=timedelta(seconds=9)))
    assert await backend.store.create(run) is None
    assert (await backend.store.get(run.id)).status is Status.PROCESSING


async def test_a_save_needs_the_newest_revision(backend: Any) -> None:
    await backend.store.create(run := a_run())
    read = await backend.store.get(run.id)
    saved = await backend.store.save(read.claimed(NOW, lease=timedelta(seconds=9)))
    assert saved == await backend.store.get(run.id)
    with pytest.raises(StaleRun):
        await backend.store.save(read.cancelled(NOW))
    await backend.store.save(saved.cancelled(NOW))
    assert (await backend.store.get(run.id)).status is Status.CANCELLED


async def test_a_run_as_last_saved_is_what_a_read_returns(backend: Any) -> None:
    run = a_run(input={"full_input": "hello " * 5000})
    await backend.store.create(run, limits=Limits(open_runs=5))
    for _ in range(2):
        known, read = await backend.store.get(run.id, or_last_saved=True), await backend.store.get(run.id)
        assert (known, known.revision, known.input_parts) == (read, read.revision, read.input_parts)
    await backend.store.save(read.claimed(NOW, lease=timedelta(seconds=9)))
    known, read = await backend.store.get(run.id, or_last_saved=True), await backend.store.get(run.id)
    assert (known, known.revision, known.status) == (read, read.revision, Status.PROCESSING)


async def test_a_state_that_another_process_has_changed_is_handed_over_once_and_cannot_be_saved(tmp_path: Path) -> None:
    mine, theirs = (SqliteBackend(tmp_path / "runs.db", SystemClock()) for _ in range(2))
    await mine.store.create(run := a_run())
    await theirs.store.save((await theirs.store.get(run.id, or_last_saved=True)).cancelled(NOW))
    known = await mine.store.get(run.id, or_last_saved=True)
    assert known.status is Status.PENDING
    with pytest.raises(StaleRun):
        await mine.store.save(known.claimed(NOW, lease=timedelta(seconds=9)))
    assert (await mine.store.get(run.id, or_last_saved=True)).status is Status.CANCELLED
    mine.close()
    theirs.close()


async def test_a_few_checks_of_a_job_get_the_state_that_another_process_has_changed(tmp_path: Path) -> None:
    mine, theirs = (SqliteBackend(tmp_path / "runs.db", SystemClock()) for _ in range(2))
    await mine.store.create(run := a_run())
    claimed = await mine.store.save((await mine.store.get(run.id)).claimed(NOW, lease=timedelta(seconds=9)))
    await mine.store.save(claimed.with_provider_job(NOW, provider_job_id="job-1"))
    await theirs.store.save((await theirs.store.get(run.id)).postponed(NOW))
    states = [await mine.store.get(run.id, or_last_saved=True) for _ in range(2 * MAX_CHECKS + 2)]
    assert [state.revision for state in states] == [*[3] * MAX_CHECKS, *[4] * (MAX_CHECKS + 2)]
    await theirs.store.save(states[-1].cancelled(NOW))
    states = [await mine.store.get(run.id, or_last_saved=True) for _ in range(MAX_CHECKS + 1)]
    assert states[0].status is Status.PROCESSING and states[-1].status is Status.CANCELLED
    mine.close()
    theirs.close()


async def test_a_forgotten_run_is_not_handed_over(backend: Any) -> None:
    await backend.store.create(run := a_run())
    await backend.store.forget(run)
    with pytest.raises(RunNotFound):
        await backend.store.get(run.id, or_last_saved=True)


async def test_a_total_counts_each_run_once_and_forgotten_ones_no_longer(backend: Any) -> None:
    first, second = a_run(), a_run()
    for run in (first, first, second, a_run(kind=Kind.USER_RUN), a_run(user_id="other")):
        await backend.store.create(run)
    await backend.store.save((await backend.store.get(first.id)).cancelled(NOW))
    assert await backend.store.count_runs(JOBS, at_most=10) == 2
    for status, total in ((Status.PENDING, 1), (Status.CANCELLED, 1), (Status.FAILED, 0)):
        for job_type in (None, first.job_type):
            filtered = replace(JOBS, status=status, job_type=job_type)
            assert await backend.store.count_runs(filtered, at_most=10) == total
    both = replace(JOBS, kinds=(Kind.JOB, Kind.USER_RUN))
    assert [await backend.store.count_runs(both, at_most=most) for most in (10, 2)] == [3, 2]
    for run in (first, first, second):
        await backend.store.forget(run)
    assert await backend.store.count_runs(JOBS, at_most=10) == 0
    if isinstance(backend, SqliteBackend):
        assert await rows(backend, "SELECT * FROM run_counts WHERE user_id = 'demo' AND kind = 'job'") == []


async def test_exactly_one_of_many_concurrent_saves_succeeds(backend: Any) -> None:
    await backend.store.create(run := a_run())
    read = await backend.store.get(run.id)
    writes = [backend.store.save(read.claimed(NOW + timedelta(seconds=n), lease=timedelta(0))) for n in range(16)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(outcome, StaleRun) for outcome in outcomes) == 15


async def test_of_concurrent_saves_with_the_same_content_exactly_one_succeeds(backend: Any) -> None:
    await backend.store.create(run := a_run())
    claimed = (await backend.store.get(run.id)).claimed(NOW, lease=timedelta(seconds=9))
    outcomes = await asyncio.gather(*[backend.store.save(claimed) for _ in range(4)], return_exceptions=True)
    assert sum(isinstance(outcome, StaleRun) for outcome in outcomes) == 3


@pytest.mark.parametrize("size", [10, 15 * 1024, 17 * 1024, 1024 * 1024])
async def test_an_input_of_any_size_is_loaded_completely(backend: Any, size: int) -> None:
    await backend.store.create(run := a_run(input={"full_input": "x" * size, "more": [None, {"a": "🙂"}]}))
    stored = await backend.store.get(run.id)
    assert await backend.store.load_input(stored) == run.input
    assert (stored.input == {}) == (size > 16 * 1024)
    saved = await backend.store.save(stored.cancelled(NOW))
    assert await backend.store.load_input(saved) == run.input


@pytest.mark.parametrize("size", [10, 300 * 1024, 3 * 1024 * 1024])
async def test_a_result_of_any_size_is_read_completely(backend: Any, size: int) -> None:
    await backend.store.create(run := a_run())
    pairs = ({"source": "a", "target": "ü" * 1000},)
    result = Result(text="🙂" * (size // 4), term_pairs=pairs, raw={"odd": [[1, [2]], 2**70]})
    done = (await backend.store.get(run.id)).completed(NOW, result=result, usage=Usage(), checks=1)
    saved = await backend.store.save(done)
    assert (await backend.store.get(run.id)) == saved == done
    [listed] = (await backend.store.list_runs(JOBS, limit=1)).runs
    is_large = size > 256 * 1024
    assert listed.lacks_result == is_large and listed.result == (None if is_large else result)


async def test_a_result_above_the_limit_raises_result_too_large_and_changes_nothing(backend: Any) -> None:
    await backend.store.create(run := a_run(), limits=Limits(open_runs=1))
    stored = await backend.store.get(run.id)
    huge = Result(text="", term_pairs=({"source": "a", "target": "b"},) * 400_000)
    with pytest.raises(ResultTooLarge):
        await backend.store.save(stored.completed(NOW, result=huge, usage=Usage(), checks=1))
    assert await backend.store.get(run.id) == stored
    failed = stored.failed(NOW, error=Failure(code="result_too_large", message="m"))
    saved = await backend.store.save(failed)
    assert saved == await backend.store.get(run.id)
    await backend.store.create(a_run(), limits=Limits(open_runs=1))


async def test_a_result_just_below_the_limit_is_stored(sqlite: SqliteBackend) -> None:
    """Not tested with Firestore, whose emulator takes at most 4 MiB."""
    await sqlite.store.create(run := a_run())
    text = "ü" * (9 * 512 * 1024 - 100)
    stored = await sqlite.store.get(run.id)
    await sqlite.store.save(stored.completed(NOW, result=Result(text=text), usage=Usage(), checks=1))
    assert (await sqlite.store.get(run.id)).result == Result(text=text)


async def test_a_commit_that_the_emulator_finds_too_large_raises_result_too_large(google_emulators: Any) -> None:
    async with store_behind_a_proxy(google_emulators) as (_, store):
        await store.create(run := a_run())
        stored = await store.get(run.id)
        with pytest.raises(ResultTooLarge):
            await store.save(stored.completed(NOW, result=Result(text="x" * 5_000_000), usage=Usage(), checks=1))
        assert await store.get(run.id) == stored


async def test_an_invalid_commit_an_exhausted_quota_and_another_writer_raise_different_errors(
    google_emulators: Any,
) -> None:
    def refuses_commits(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != COMMIT:
            return forward()
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT)

    def has_no_quota(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != COMMIT:
            return forward()
        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded.")

    async with store_behind_a_proxy(google_emulators) as (proxy, store):
        await store.create(run := a_run())
        first = await store.get(run.id)
        proxy.hook = refuses_commits
        with pytest.raises(ResultTooLarge):
            await store.save(first.cancelled(NOW))
        proxy.hook = has_no_quota
        with pytest.raises(StoreUnavailable):
            await store.save(first.cancelled(NOW))
        proxy.hook = None
        await store.save(first.claimed(NOW, lease=timedelta(seconds=9)))
        proxy.hook = refuses_commits
        with pytest.raises(StaleRun):
            await store.save(first.cancelled(NOW))


async def test_saving_a_run_that_was_read_without_its_large_result_keeps_the_result(backend: Any) -> None:
    await backend.store.create(run := a_run())
    large = Result(text="x" * 300_000)
    done = (await backend.store.get(run.id)).completed(NOW, result=large, usage=Usage(), checks=1)
    await backend.store.save(done.postponed(NOW))
    [due] = (await backend.store.due_runs([0], terminal=True, limit=10)).runs
    assert due.result is None and due.lacks_result
    assert (await backend.store.get(run.id, with_result=False)).lacks_result
    await backend.store.save(due.postponed(None))
    assert (await backend.store.get(run.id)).result == large
    [changed] = (await backend.store.changed_runs(Channel(name="user:demo"), since=NOW, limit=10)).runs
    assert changed.result is None and changed.lacks_result
    erased = await backend.store.erase(without_content(await backend.store.get(run.id), NOW))
    assert not erased.lacks_result and not (await backend.store.get(run.id)).lacks_result


@pytest.mark.parametrize("size", [10, 300 * 1024])
async def test_erasing_a_run_deletes_its_content_and_its_parts(backend: Any, size: int) -> None:
    await backend.store.create(run := a_run(input={"full_input": "canary" * size}, style_guide="canary"))
    done = (await backend.store.get(run.id)).completed(
        NOW, result=Result(text="canary" * size), usage=Usage(input_tokens=3), checks=1
    )
    done = await backend.store.save(done)
    await backend.store.save(done.with_late_result(NOW))
    with pytest.raises(StaleRun):
        await backend.store.erase(without_content(done, NOW))
    newest = await backend.store.get(run.id)
    erased = await backend.store.erase(without_content(newest, NOW))
    stored = await backend.store.get(run.id)
    assert stored == erased and "canary" not in repr(stored) and await backend.store.load_input(stored) == {}
    assert (stored.status, stored.usage, stored.deleted_at) == (Status.COMPLETED, Usage(input_tokens=3), NOW)
    with pytest.raises(StoreUnavailable):
        await backend.store.load_input(replace(stored, input_parts=1))


async def test_expired_runs_and_keys_are_deleted_with_their_parts(sqlite: SqliteBackend) -> None:
    """Tested on SQLite only: in Firestore, TTL policies delete them."""
    late, early = NOW + timedelta(days=40), NOW + timedelta(days=20)
    keys = ("old", "new")
    old = a_run(expires_at=early, input={"full_input": "x" * 20_000})
    for run, key in zip((old, a_run(expires_at=late)), keys, strict=True):
        record = IdempotencyRecord(key_hash=key, body_hash="b", run_id=run.id, expires_at=run.expires_at)
        await sqlite.store.create(run, idempotency=record)
    assert await sqlite.store.forget_expired(NOW + timedelta(days=30), limit=10) == 1
    remaining = [await rows(sqlite, f"SELECT * FROM {table}") for table in ("runs", "idempotency", "run_parts")]
    assert [len(rows) for rows in remaining] == [1, 1, 0] and remaining[1][0][0] == "new"
    assert await sqlite.store.count_runs(JOBS, at_most=10) == 1


async def delete_parts(backend: Any, run: Run) -> None:
    """Deletes parts while the run still exists, as Firestore's TTL may do."""
    if isinstance(backend, SqliteBackend):
        await backend.database.write(
            lambda connection: connection.execute("DELETE FROM run_parts WHERE run_id = ?", (run.id,))
        )
    else:
        await backend.store._reference(run.id).collection("parts").document("result-0000").delete()


async def test_a_run_with_missing_parts_does_not_hide_other_runs(backend: Any) -> None:
    good, broken = a_run(), a_run(due_at=NOW)
    large = Result(text="x" * 500_000)
    for run in (good, broken):
        await backend.store.create(run)
    stored = (await backend.store.get(broken.id)).completed(NOW, result=large, usage=Usage(), checks=1)
    await backend.store.save(stored.postponed(NOW))
    await delete_parts(backend, broken)
    channel = Channel(name="user:demo", tenant_id="acme")
    assert good.id in [run.id for run in (await backend.store.list_runs(JOBS, limit=10)).runs]
    assert good.id in [run.id for run in (await backend.store.due_runs([0], limit=10)).runs]
    assert good.id in [run.id for run in (await backend.store.changed_runs(channel, since=NOW, limit=10)).runs]
    with pytest.raises(StoreUnavailable):
        await backend.store.get(broken.id)


async def test_parts_expire_later_than_their_run(google_emulators: Any) -> None:
    """Firestore deletes each expired document by itself, within about a day."""
    clients = ClientsByLoop(endpoints(google_emulators))
    store = FirestoreRunStore(clients)
    await store.create(run := a_run(input={"full_input": "x" * 20_000}))
    done = (await store.get(run.id)).completed(NOW, result=Result(text="x" * 300_000), usage=Usage(), checks=1)
    await store.save(done)
    parts = [part.to_dict() async for part in store._reference(run.id).collection("parts").stream()]
    await clients().close()
    assert len(parts) == 3 and all(part["expires_at"] >= run.expires_at + timedelta(days=2) for part in parts)


@pytest.mark.parametrize(
    "odd", [{"__a__": "x"}, {"": "x"}, {"k" * 1600: "x"}, {"a.b`c": "x"}, {"n": 10**30}, {"l": [[1], [[2]]]}]
)
async def test_any_json_in_an_input_is_kept(backend: Any, odd: dict[str, Any]) -> None:
    await backend.store.create(run := a_run(input={"full_input": "hello", **odd}))
    stored = await backend.store.get(run.id)
    assert await backend.store.load_input(stored) == run.input
    assert (await backend.store.save(stored.cancelled(NOW))) == await backend.store.get(run.id)


async def test_exactly_one_of_many_concurrent_runs_with_the_same_key_is_created(backend: Any) -> None:
    runs = [a_run() for _ in range(50)]
    records = [
        IdempotencyRecord(key_hash="k", body_hash="b", run_id=run.id, expires_at=NOW + timedelta(days=1))
        for run in runs
    ]
    pairs = zip(runs, records, strict=True)
    answers = await asyncio.gather(*[backend.store.create(run, idempotency=record) for run, record in pairs])
    assert answers.count(None) == 1
    winner = runs[answers.index(None)]
    assert {answer.run_id for answer in answers if answer} == {winner.id}
    assert await backend.store.count_runs(JOBS, at_most=10) == 1


async def test_a_key_is_available_again_after_its_expiry_and_after_a_failed_run(backend: Any) -> None:
    def record(run_id: str) -> IdempotencyRecord:
        return IdempotencyRecord(key_hash="k", body_hash="b", run_id=run_id, expires_at=NOW + timedelta(days=1))

    first, second, third = a_run(), a_run(), a_run(created_at=NOW + timedelta(days=2))
    await backend.store.create(first, idempotency=record(first.id))
    stored = await backend.store.get(first.id)
    assert await backend.store.create(first, idempotency=record(first.id)) is None
    await backend.store.save(stored.failed(NOW, error=Failure(code="c", message="m")))
    assert await backend.store.create(second, idempotency=record(second.id)) is None
    assert await backend.store.create(third, idempotency=record(third.id)) is None


async def test_lists_are_newest_first_and_pages_neither_skip_nor_repeat_while_runs_are_inserted(backend: Any) -> None:
    runs = [a_run(created_at=NOW + timedelta(seconds=n // 2)) for n in range(10)]
    for run in runs:
        await backend.store.create(run)
    seen: list[str] = []
    after = None
    while (page := await backend.store.list_runs(JOBS, limit=3, after=after)).runs:
        seen += [run.id for run in page.runs]
        after = page.positions[-1]
        await backend.store.create(a_run(created_at=NOW + timedelta(days=1)))
    expected = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)
    assert seen == [run.id for run in expected]


async def test_filters_narrow_lists_and_counts(backend: Any) -> None:
    await backend.store.create(mine := a_run(question_id="q", job_type="review_colab"))
    await backend.store.create(a_run(user_id="other"))
    await backend.store.create(a_run(kind=Kind.USER_RUN, job_type=None))
    await backend.store.create(done := a_run(status=Status.COMPLETED, due_at=None))
    for wanted, ids in [
        (JOBS, {mine.id, done.id}),
        (RunFilter(user_id="demo", kinds=(Kind.JOB,), question_id="q"), {mine.id}),
        (RunFilter(user_id="demo", kinds=(Kind.JOB,), job_type="review_colab"), {mine.id}),
        (RunFilter(user_id="demo", kinds=(Kind.JOB,), status=Status.COMPLETED), {done.id}),
        (RunFilter(user_id="demo", kinds=(Kind.JOB,), status=Status.FAILED), set()),
    ]:
        assert {run.id for run in (await backend.store.list_runs(wanted, limit=100)).runs} == ids
        assert await backend.store.count_runs(wanted, at_most=10) == len(ids)
    assert await backend.store.count_runs(JOBS, at_most=1) == 1
    assert [run.id for run in (await backend.store.list_runs(JOBS, limit=100, offset=1)).runs]


async def test_due_runs_of_a_shard_are_listed_in_order_and_in_pages(backend: Any) -> None:
    runs = [a_run(due_at=NOW + timedelta(seconds=n // 2)) for n in range(7)]
    for run in [*runs, a_run(shard=1), a_run(due_at=None, status=Status.COMPLETED)]:
        await backend.store.create(run)
    seen: list[str] = []
    last = None
    while (page := await backend.store.due_runs([0], after=last, limit=2)).runs:
        seen += [run.id for run in page.runs]
        last = page.positions[-1]
    assert seen == [run.id for run in sorted(runs, key=lambda run: (run.due_at, run.id))]
    early = await backend.store.due_runs([0], before=NOW + timedelta(seconds=1), limit=100)
    assert {run.id for run in early.runs} == {run.id for run in runs[:4]}


async def test_due_runs_of_several_shards_are_listed_by_their_times(backend: Any) -> None:
    runs = [a_run(due_at=NOW + timedelta(seconds=n), shard=5 * n % SHARDS) for n in range(SHARDS)]
    for run in runs:
        await backend.store.create(run)
    for terminal in (False, True):
        due = partial(backend.store.due_runs, terminal=terminal, before=NOW + timedelta(hours=1))
        [*pages] = [await due(range(SHARDS), limit=5), await due([5, 2, 7], limit=5)]
        assert [[run.id for run in page.runs] for page in pages] == [
            [run.id for run in runs[:5] if not terminal],
            [run.id for run in runs if run.shard in (5, 2, 7) and not terminal],
        ]
        if not terminal:
            rest = await due(range(SHARDS), after=pages[0].positions[-1], limit=5)
            assert [run.id for run in rest.runs] == [run.id for run in runs[5:]]


async def test_a_complete_run_is_due_only_while_it_has_a_due_time(backend: Any) -> None:
    await backend.store.create(run := a_run())
    ended = (await backend.store.get(run.id)).cancelled(NOW)
    waiting = await backend.store.save(ended.postponed(NOW + timedelta(minutes=1)))
    [due] = (await backend.store.due_runs([0], terminal=True, before=NOW + timedelta(minutes=1), limit=10)).runs
    assert due == waiting and due.is_terminal
    assert (await backend.store.due_runs([0], terminal=True, before=NOW, limit=10)).positions == []
    await backend.store.save(due.postponed(None))
    assert (await backend.store.due_runs([0], terminal=True, limit=10)).positions == []


async def test_open_and_complete_due_runs_are_listed_separately(backend: Any) -> None:
    runs = {status: a_run(status=status, due_at=NOW + timedelta(seconds=n)) for n, status in enumerate(Status)}
    for run in runs.values():
        await backend.store.create(run)
    for terminal, due in ((False, list(runs.values())[:2]), (True, list(runs.values())[2:])):
        first = await backend.store.due_runs([0], terminal=terminal, limit=1)
        others = await backend.store.due_runs([0], terminal=terminal, after=first.positions[0], limit=10)
        assert [run.id for run in [*first.runs, *others.runs]] == [run.id for run in due]


async def test_sqlite_finds_due_runs_with_an_index() -> None:
    sqlite = SqliteBackend(":memory:", SystemClock())
    statements: list[str] = []
    await sqlite.database.read(lambda connection: connection.set_trace_callback(statements.append))
    for terminal in (False, True):
        await sqlite.store.due_runs([0], terminal=terminal, before=NOW, after=RunPosition(at=NOW, run_id="r"), limit=10)
    plans = [
        await rows(sqlite, f"EXPLAIN QUERY PLAN {statement}")
        for statement in statements
        if statement.startswith("SELECT document")
    ]
    for plan, index in zip(plans, ("runs_due", "runs_not_shown"), strict=True):
        steps = " ".join(step[3] for step in plan)
        assert f"SEARCH runs USING INDEX {index} (shard=?" in steps and "TEMP B-TREE" not in steps
    sqlite.close()


async def test_changed_runs_of_a_channel_are_listed_in_the_order_of_their_changes(backend: Any) -> None:
    runs = [a_run(channel="desk", updated_at=NOW + timedelta(seconds=n)) for n in range(4)]
    for run in [*runs, a_run(channel="other"), a_run(channel="desk", tenant_id="globex")]:
        await backend.store.create(run)
    desk = Channel(name="desk", tenant_id="acme")
    changed = await backend.store.changed_runs(desk, since=NOW + timedelta(seconds=1), limit=2)
    assert [run.id for run in changed.runs] == [run.id for run in runs[1:3]]
    assert len((await backend.store.changed_runs(Channel(name="desk"), since=NOW, limit=10)).runs) == 5


async def make_unreadable(backend: Any, run: Run) -> None:
    """Gives the run a status of a later release, where its readers look for it; queries still find it."""
    if isinstance(backend, SqliteBackend):
        await backend.database.write(
            lambda connection: connection.execute(
                "UPDATE runs SET document = json_set(document, '$.status', 'paused') WHERE id = ?", (run.id,)
            )
        )
    else:
        await backend.store._reference(run.id).update({"fence": "not a number"})


async def test_a_document_that_cannot_be_read_ends_no_page_and_is_named(backend: Any) -> None:
    runs = [a_run(due_at=NOW + timedelta(seconds=n), created_at=NOW - timedelta(seconds=n)) for n in range(4)]
    for run in runs:
        await backend.store.create(run)
    await make_unreadable(backend, runs[1])
    first = await backend.store.due_runs([0], limit=2)
    second = await backend.store.due_runs([0], after=first.positions[-1], limit=2)
    assert [run.id for run in (*first.runs, *second.runs)] == [runs[0].id, runs[2].id, runs[3].id]
    assert (first.unreadable, second.unreadable) == ([runs[1].id], [])
    listed = await backend.store.list_runs(JOBS, limit=2)
    behind = await backend.store.list_runs(JOBS, limit=2, after=listed.positions[-1])
    assert [run.id for run in (*listed.runs, *behind.runs)] == [runs[0].id, runs[2].id, runs[3].id]
    with pytest.raises(StoreUnavailable):
        await backend.store.get(runs[1].id)


async def test_a_forgotten_run_is_gone_with_its_parts_whatever_was_saved_meanwhile(backend: Any) -> None:
    run, other = a_run(input={"full_input": "x" * 40_000}), a_run()
    for one in (run, other):
        await backend.store.create(one)
    read = await backend.store.get(run.id)
    await backend.store.save(read.postponed(NOW))
    for _ in range(2):
        await backend.store.forget(read)
    with pytest.raises(RunNotFound):
        await backend.store.get(run.id)
    await backend.store.create(replace(run, input_parts=0, input={"full_input": "again"}))
    again = await backend.store.get(run.id)
    assert await backend.store.load_input(again) == {"full_input": "again"}
    assert (await backend.store.get(other.id)).id == other.id
