"""Tests the RunWatcher port: feeds return each change of a run, from any process, and None without a change."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest
from google.cloud.firestore_v1.types import ListenResponse, TargetChange

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.listen_targets import ChannelListenTarget, ListenTarget
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.gcp.run_watcher import FirestoreRunWatcher
from shared.adapters.sharing.watcher import SharedRunWatcher
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.run_watcher import SqliteRunFeed
from shared.adapters.storage.pending_changes import MAX_PENDING, PendingChanges
from shared.domain.channel import Channel
from shared.domain.frozen import replace
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.errors import RunNotFound, StoreUnavailable
from tests.contract.runs import NOW, a_run
from tests.google import endpoints
from tests.grpc_proxy import Forward, GrpcProxy, Requests, Unavailable, down


@pytest.fixture
def watcher(request: pytest.FixtureRequest, backend: Any) -> Any:
    """The watcher of a back end as the functions use it, shared by all listeners; of SQLite's file, the bare one."""
    is_bare = "sqlite-file" in request.node.name
    return backend.watcher if is_bare else SharedRunWatcher(backend.watcher, backend.store)


async def test_a_feed_returns_the_current_run_first_and_then_each_change(backend: Any, watcher: Any) -> None:
    await backend.store.create(run := a_run())
    async with watcher.watch(run.id) as feed:
        first = await feed.next(timeout=60)
        assert first == run
        assert await feed.next(timeout=0.05) is None
        next_run = asyncio.create_task(feed.next(timeout=60))
        await asyncio.sleep(0.01)
        saved = await backend.store.save(first.claimed(NOW, lease=timedelta(seconds=9)))
        assert await next_run == saved


async def test_many_feeds_of_many_runs_all_receive_the_changes(backend: Any, watcher: Any) -> None:
    runs = [a_run() for _ in range(20)]
    for run in runs:
        await backend.store.create(run)

    async def follow(run_id: str) -> str:
        async with watcher.watch(run_id) as feed:
            while not (run := await feed.next(timeout=60)).is_terminal:
                pass
            return str(run.id)

    watching = [asyncio.create_task(follow(run.id)) for run in runs for _ in range(3)]
    await asyncio.sleep(0.05)
    for run in runs:
        await backend.store.save((await backend.store.get(run.id)).cancelled(NOW))
    assert sorted(await asyncio.gather(*watching)) == sorted([run.id for run in runs] * 3)


async def test_a_change_is_delivered_later_when_its_read_was_cancelled() -> None:
    run = replace(a_run(), revision=1)

    class SlowStore:
        is_slow = False

        async def get(self, run_id: str) -> Run:
            if self.is_slow:
                self.is_slow = False
                await asyncio.sleep(5)
            return run

    store = SlowStore()
    feed = SqliteRunFeed(store, run.id)  # type: ignore[arg-type]
    assert await feed.next(timeout=60) == run
    run, store.is_slow = replace(run, revision=2), True
    feed.changed.set()
    assert await feed.next(timeout=0.05) is None
    changed = await feed.next(timeout=60)
    assert changed is not None and changed.revision == 2


async def test_watching_an_unknown_run_raises_run_not_found(backend: Any, watcher: Any) -> None:
    async with watcher.watch(a_run().id) as feed:
        with pytest.raises(RunNotFound):
            await feed.next(timeout=60)


async def test_changes_by_another_process_are_noticed(tmp_path: Path) -> None:
    here, there = (SqliteBackend(tmp_path / "runs.db", SystemClock()) for _ in range(2))
    await there.store.create(run := a_run())
    async with here.watcher.watch(run.id) as feed:
        first = await feed.next(timeout=60)
        assert first is not None
        await there.store.save((await there.store.get(run.id)).cancelled(NOW))
        changed = await feed.next(timeout=60)
        assert changed is not None and changed.is_terminal
    here.close()
    there.close()


async def test_a_channel_feed_returns_each_change_of_its_runs_once(backend: Any, watcher: Any) -> None:
    recent, other = a_run(channel="desk"), a_run(channel="other")
    old = a_run(channel="desk", updated_at=NOW - timedelta(hours=1))
    for run in (recent, other, old):
        await backend.store.create(run)
    async with watcher.watch_channel(Channel(name="desk", tenant_id="acme"), since=NOW) as feed:
        assert await feed.next(timeout=60) == recent
        assert await feed.next(timeout=0.2) is None
        await backend.store.create(new := a_run(channel="desk", updated_at=NOW + timedelta(seconds=1)))
        assert await feed.next(timeout=60) == new
        await backend.store.save((await backend.store.get(recent.id)).cancelled(NOW + timedelta(seconds=2)))
        changed = await feed.next(timeout=60)
        assert changed is not None and (changed.id, changed.is_terminal) == (recent.id, True)
        assert await feed.next(timeout=0.2) is None


async def test_a_channel_feed_tells_until_when_it_has_returned_all_changes(backend: Any, watcher: Any) -> None:
    clock = asyncio.get_running_loop().time
    await backend.store.create(a_run(channel="desk"))
    async with watcher.watch_channel(Channel(name="desk", tenant_id="acme"), since=NOW) as feed:
        assert await feed.next(timeout=60) and feed.caught_up_at == -inf
        later: list[float] = []
        while not later or feed.caught_up_at < later[0]:
            assert await feed.next(timeout=0.2) is None
            later.append(clock())
            await backend.store.create(a_run(channel="desk", updated_at=NOW + timedelta(seconds=len(later))))
            assert await feed.next(timeout=60) and len(later) < 100
            assert feed.caught_up_at <= clock()


async def test_more_changes_than_a_page_are_all_delivered_and_later_ones_too(backend: Any, watcher: Any) -> None:
    runs = [a_run(channel="desk", updated_at=NOW + timedelta(milliseconds=n // 2)) for n in range(450)]
    for start in range(0, len(runs), 50):
        await asyncio.gather(*[backend.store.create(run) for run in runs[start : start + 50]])
    async with watcher.watch_channel(Channel(name="desk", tenant_id="acme"), since=NOW) as feed:
        seen = [(await feed.next(timeout=60)).id for _ in runs]
        assert sorted(seen) == sorted(run.id for run in runs)
        await backend.store.create(late := a_run(channel="desk", updated_at=NOW + timedelta(seconds=1)))
        assert await feed.next(timeout=60) == late
        assert await feed.next(timeout=0.2) is None


async def test_a_firestore_watcher_that_reads_too_slowly_gets_store_unavailable() -> None:
    async def start_listening(target: ListenTarget) -> None:
        raise AssertionError

    store = FirestoreRunStore(ClientsByLoop(GoogleEndpoints(project="p", firestore_emulator="127.0.0.1:1")))
    target = ChannelListenTarget(store, Channel(name="desk", tenant_id="acme"), NOW, start_listening)
    for _ in range(MAX_PENDING + 1):
        target.on_change(replace(a_run(), revision=1))
    with pytest.raises(StoreUnavailable):
        for _ in range(MAX_PENDING + 2):
            assert await target.next(timeout=60)


def test_pending_changes_take_each_state_once_and_refuse_too_many_runs() -> None:
    changes = PendingChanges()
    first = replace(a_run(), revision=1)
    assert changes.add([first]) and not changes.add([first])
    assert changes.add([replace(first, revision=2)]) and changes.pop() == first and changes.pop() is None
    assert not changes.add([replace(first, revision=2)])
    with pytest.raises(StoreUnavailable):
        changes.add([replace(a_run(), revision=1) for _ in range(MAX_PENDING + 1)])


async def test_more_targets_than_a_stream_allows_use_several_streams(backend: Any, watcher: Any) -> None:
    runs = [a_run() for _ in range(120)]
    await asyncio.gather(*[backend.store.create(run) for run in runs])

    async def follow(run_id: str) -> None:
        async with watcher.watch(run_id) as feed:
            while not (await feed.next(timeout=60)).is_terminal:
                pass

    watching = [asyncio.create_task(follow(run.id)) for run in runs]
    await asyncio.sleep(0.5)
    for run in runs:
        await backend.store.save((await backend.store.get(run.id)).cancelled(NOW))
    await asyncio.gather(*watching)


async def test_a_firestore_stream_that_breaks_or_stays_silent_is_opened_again(google_emulators: Any) -> None:
    """A proxy first breaks each stream after one response, and later drops all responses."""
    google = endpoints(google_emulators)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    store = FirestoreRunStore(clients)
    watcher = FirestoreRunWatcher(clients, store, max_silence_seconds=1.0)
    await store.create(run := a_run())
    is_breaking = threading.Event()

    def breaks(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        for answer in forward():
            yield answer
            if method == "Listen" and is_breaking.is_set():
                raise Unavailable

    def stays_silent(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        for answer in forward():
            if method != "Listen":
                yield answer

    proxy.hook = breaks
    async with watcher.watch(run.id) as feed:
        assert await feed.next(timeout=60) == run
        is_breaking.set()
        claimed = await store.save((await store.get(run.id)).claimed(NOW, lease=timedelta(seconds=9)))
        assert await feed.next(timeout=60) == claimed
        is_breaking.clear()
        proxy.hook = stays_silent
        done = await store.save(claimed.cancelled(NOW))
        seen = await feed.next(timeout=60)
        assert seen == done
        assert feed.caught_up_at == -inf, "changes may have been lost"
    await clients().close()
    proxy.close()


async def test_a_watcher_receives_a_large_result_completely(backend: Any, watcher: Any) -> None:
    await backend.store.create(run := a_run())
    result = Result(text="x" * 600_000)
    async with watcher.watch(run.id) as feed:
        first = await feed.next(timeout=60)
        await backend.store.save(first.completed(NOW, result=result, usage=Usage(), checks=1))
        done = await feed.next(timeout=60)
        assert done is not None and done.result == result


@asynccontextmanager
async def behind_a_proxy(
    google_emulators: Any,
) -> AsyncIterator[tuple[GrpcProxy, FirestoreRunStore, FirestoreRunWatcher]]:
    google = endpoints(google_emulators)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    store = FirestoreRunStore(clients)
    yield proxy, store, FirestoreRunWatcher(clients, store, max_silence_seconds=1.0)
    await clients().close()
    proxy.close()


async def test_a_watch_that_starts_while_firestore_is_down_continues_when_it_is_back(google_emulators: Any) -> None:
    async with behind_a_proxy(google_emulators) as (proxy, store, watcher):
        await store.create(run := a_run())
        proxy.hook = down
        async with watcher.watch(run.id) as feed:
            assert await feed.next(timeout=1.5) is None
            proxy.hook = None
            assert await feed.next(timeout=60) == run


async def test_an_unreadable_document_does_not_affect_other_watchers(google_emulators: Any) -> None:
    async with behind_a_proxy(google_emulators) as (_, store, watcher):
        await store.create(good := a_run())
        await store.create(unreadable := a_run())
        await store._reference(unreadable.id).update({"kind": "of another release"})
        async with watcher.watch(unreadable.id) as unreadable_feed, watcher.watch(good.id) as feed:
            with pytest.raises(RunNotFound):
                await unreadable_feed.next(timeout=60)
            assert await feed.next(timeout=60) == good
            cancelled = await store.save((await store.get(good.id)).cancelled(NOW))
            assert await feed.next(timeout=60) == cancelled
        page = await store.due_runs([0], limit=10)
        assert page.runs == []


async def test_a_target_that_firestore_removes_is_requested_again_with_pauses(google_emulators: Any) -> None:
    def removes_target(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != "Listen":
            return forward()
        removed = TargetChange(target_change_type=TargetChange.TargetChangeType.REMOVE, target_ids=[1])
        return [ListenResponse.serialize(ListenResponse(target_change=removed)) for _ in requests]

    async with behind_a_proxy(google_emulators) as (proxy, store, watcher):
        await store.create(run := a_run())
        proxy.hook = removes_target
        async with watcher.watch(run.id) as feed:
            assert await feed.next(timeout=60) == run, "the run is read from the store"
            await asyncio.sleep(1)
        assert proxy.calls["Listen"] < 8


async def test_a_stream_that_stops_before_a_target_is_current_is_opened_again(google_emulators: Any) -> None:
    """A proxy drops what the first stream sends after its acknowledgement of the target."""

    def stops_once(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        is_stopped = method == "Listen" and not stopped
        if is_stopped:
            stopped.append(method)
        for answer in forward():
            if not is_stopped or "ADD" in str(ListenResponse.deserialize(answer)):
                yield answer

    stopped: list[str] = []
    async with behind_a_proxy(google_emulators) as (proxy, store, _):
        watcher = FirestoreRunWatcher(store._clients, store, max_silence_before_current_seconds=1.0)
        await store.create(run := a_run())
        proxy.hook = stops_once
        async with watcher.watch(run.id) as feed:
            assert await feed.next(timeout=60) == run
