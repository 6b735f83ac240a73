"""What every watcher promises: each run's changes, whoever makes them, and silence in between."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.cloud.firestore_v1.types import ListenResponse, TargetChange

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.listen_targets import ChannelListenTarget, ListenTarget
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.gcp.run_watcher import FirestoreRunWatcher
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.run_watcher import SqliteRunFeed
from shared.adapters.storage.pending_changes import MAX_WAITING, PendingChanges
from shared.domain.channel import Channel
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.errors import RunNotFound, StoreUnavailable
from tests.contract.runs import NOW, a_run
from tests.google import endpoints
from tests.grpc_proxy import Forward, GrpcProxy, Requests, Unavailable, down


async def test_a_feed_starts_with_the_run_as_it_is_and_goes_on_with_each_change(backend: Any) -> None:
    await backend.store.create(run := a_run())
    async with backend.watcher.watch(run.id) as feed:
        first = await feed.next(timeout=5)
        assert first == run
        assert await feed.next(timeout=0.05) is None
        waiting = asyncio.create_task(feed.next(timeout=5))
        await asyncio.sleep(0.01)
        saved = await backend.store.save(first.claimed(NOW, lease=timedelta(seconds=9)))
        assert await waiting == saved


async def test_many_watch_one_run_and_one_watches_many(backend: Any) -> None:
    runs = [a_run() for _ in range(20)]
    for run in runs:
        await backend.store.create(run)

    async def follow(run_id: str) -> str:
        async with backend.watcher.watch(run_id) as feed:
            while not (run := await feed.next(timeout=5)).is_terminal:
                pass
            return str(run.id)

    watching = [asyncio.create_task(follow(run.id)) for run in runs for _ in range(3)]
    await asyncio.sleep(0.05)
    for run in runs:
        await backend.store.save((await backend.store.get(run.id)).cancelled(NOW))
    assert sorted(await asyncio.gather(*watching)) == sorted([run.id for run in runs] * 3)


async def test_a_change_is_not_forgotten_when_reading_it_was_broken_off() -> None:
    run = replace(a_run(), revision=1)

    class SlowAtFirst:
        slow = False

        async def get(self, run_id: str) -> Run:
            if self.slow:
                self.slow = False
                await asyncio.sleep(5)
            return run

    store = SlowAtFirst()
    feed = SqliteRunFeed(store, run.id)  # type: ignore[arg-type]
    assert await feed.next(timeout=1) == run
    run, store.slow = replace(run, revision=2), True
    feed.changed.set()
    assert await feed.next(timeout=0.05) is None
    changed = await feed.next(timeout=1)
    assert changed is not None and changed.revision == 2


async def test_a_run_that_is_not_there_is_not_found(backend: Any) -> None:
    async with backend.watcher.watch(a_run().id) as feed:
        with pytest.raises(RunNotFound):
            await feed.next(timeout=1)


async def test_changes_by_another_process_are_noticed(tmp_path: Path) -> None:
    here, there = (SqliteBackend(tmp_path / "runs.db", SystemClock()) for _ in range(2))
    await there.store.create(run := a_run())
    async with here.watcher.watch(run.id) as feed:
        read = await feed.next(timeout=5)
        assert read is not None
        await there.store.save((await there.store.get(run.id)).cancelled(NOW))
        changed = await feed.next(timeout=5)
        assert changed is not None and changed.is_terminal
    here.close()
    there.close()


async def test_a_channel_gives_each_change_of_its_runs_once(backend: Any) -> None:
    before, other = a_run(channel="desk"), a_run(channel="other")
    old = a_run(channel="desk", updated_at=NOW - timedelta(hours=1))
    for run in (before, other, old):
        await backend.store.create(run)
    async with backend.watcher.watch_channel(Channel(name="desk", tenant_id="acme"), since=NOW) as feed:
        assert await feed.next(timeout=5) == before
        assert await feed.next(timeout=0.2) is None
        await backend.store.create(new := a_run(channel="desk", updated_at=NOW + timedelta(seconds=1)))
        assert await feed.next(timeout=5) == new
        await backend.store.save((await backend.store.get(before.id)).cancelled(NOW + timedelta(seconds=2)))
        changed = await feed.next(timeout=5)
        assert changed is not None and (changed.id, changed.is_terminal) == (before.id, True)
        assert await feed.next(timeout=0.2) is None


async def test_a_burst_larger_than_a_page_comes_whole_and_what_follows_too(backend: Any) -> None:
    burst = [a_run(channel="desk", updated_at=NOW + timedelta(milliseconds=n // 2)) for n in range(450)]
    for start in range(0, len(burst), 50):
        await asyncio.gather(*[backend.store.create(run) for run in burst[start : start + 50]])
    async with backend.watcher.watch_channel(Channel(name="desk", tenant_id="acme"), since=NOW) as feed:
        seen = [(await feed.next(timeout=5)).id for _ in burst]
        assert sorted(seen) == sorted(run.id for run in burst)
        await backend.store.create(late := a_run(channel="desk", updated_at=NOW + timedelta(seconds=1)))
        assert await feed.next(timeout=5) == late
        assert await feed.next(timeout=0.2) is None


async def test_a_firestore_watcher_that_does_not_read_is_let_go_and_not_waited_for() -> None:
    async def listen(feed: ListenTarget) -> None:
        raise AssertionError

    store = FirestoreRunStore(ClientsByLoop(GoogleEndpoints(project="p", firestore_emulator="127.0.0.1:1")))
    feed = ChannelListenTarget(store, Channel(name="desk", tenant_id="acme"), NOW, listen)
    for _ in range(MAX_WAITING + 1):
        feed.on_change(replace(a_run(), revision=1))
    with pytest.raises(StoreUnavailable):
        for _ in range(MAX_WAITING + 2):
            assert await feed.next(timeout=5)


def test_many_news_that_nobody_takes_are_refused_and_each_state_enters_once() -> None:
    news = PendingChanges()
    first = replace(a_run(), revision=1)
    assert news.add([first]) and not news.add([first])
    assert news.add([replace(first, revision=2)]) and news.take() == first and news.take() is None
    assert not news.add([replace(first, revision=2)])
    with pytest.raises(StoreUnavailable):
        news.add([replace(a_run(), revision=1) for _ in range(MAX_WAITING + 1)])


async def test_more_than_a_stream_holds_is_watched_on_several(backend: Any) -> None:
    runs = [a_run() for _ in range(120)]
    await asyncio.gather(*[backend.store.create(run) for run in runs])

    async def follow(run_id: str) -> None:
        async with backend.watcher.watch(run_id) as feed:
            while not (await feed.next(timeout=10)).is_terminal:
                pass

    watching = [asyncio.create_task(follow(run.id)) for run in runs]
    await asyncio.sleep(0.5)
    for run in runs:
        await backend.store.save((await backend.store.get(run.id)).cancelled(NOW))
    await asyncio.gather(*watching)


async def test_a_firestore_stream_that_breaks_or_falls_silent_is_opened_again(google_emulators: Any) -> None:
    """Through a proxy that first breaks each stream after an answer, and later swallows all answers."""
    google = endpoints(google_emulators)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    store = FirestoreRunStore(clients)
    watcher = FirestoreRunWatcher(clients, store, silence_seconds=1.0)
    await store.create(run := a_run())
    broken = threading.Event()

    def breaks(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        for answer in forward():
            yield answer
            if method == "Listen" and broken.is_set():
                raise Unavailable

    def silent(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        for answer in forward():
            if method != "Listen":
                yield answer

    proxy.hook = breaks
    async with watcher.watch(run.id) as feed:
        assert await feed.next(timeout=5) == run
        broken.set()
        claimed = await store.save((await store.get(run.id)).claimed(NOW, lease=timedelta(seconds=9)))
        assert await feed.next(timeout=10) == claimed
        broken.clear()
        proxy.hook = silent
        done = await store.save(claimed.cancelled(NOW))
        seen = await feed.next(timeout=15)
        assert seen == done
    await clients().close()
    proxy.close()


async def test_a_large_result_reaches_a_watcher_whole(backend: Any) -> None:
    await backend.store.create(run := a_run())
    result = Result(text="x" * 600_000)
    async with backend.watcher.watch(run.id) as feed:
        first = await feed.next(timeout=5)
        await backend.store.save(first.completed(NOW, result=result, usage=Usage(), checks=1))
        done = await feed.next(timeout=5)
        assert done is not None and done.result == result


@asynccontextmanager
async def behind_a_proxy(
    google_emulators: Any,
) -> AsyncIterator[tuple[GrpcProxy, FirestoreRunStore, FirestoreRunWatcher]]:
    google = endpoints(google_emulators)
    proxy = GrpcProxy(str(google.firestore_emulator))
    clients = ClientsByLoop(replace(google, firestore_emulator=proxy.host))
    store = FirestoreRunStore(clients)
    yield proxy, store, FirestoreRunWatcher(clients, store, silence_seconds=1.0)
    await clients().close()
    proxy.close()


async def test_a_firestore_that_is_away_at_first_is_listened_to_when_it_is_back(google_emulators: Any) -> None:
    async with behind_a_proxy(google_emulators) as (proxy, store, watcher):
        await store.create(run := a_run())
        proxy.hook = down
        async with watcher.watch(run.id) as feed:
            assert await feed.next(timeout=1.5) is None
            proxy.hook = None
            assert await feed.next(timeout=10) == run


async def test_a_document_that_cannot_be_read_disturbs_no_other_watcher(google_emulators: Any) -> None:
    async with behind_a_proxy(google_emulators) as (_, store, watcher):
        await store.create(good := a_run())
        await store.create(odd := a_run())
        await store._run(odd.id).update({"kind": "of another release"})
        async with watcher.watch(odd.id) as odd_feed, watcher.watch(good.id) as feed:
            with pytest.raises(RunNotFound):
                await odd_feed.next(timeout=5)
            assert await feed.next(timeout=5) == good
            cancelled = await store.save((await store.get(good.id)).cancelled(NOW))
            assert await feed.next(timeout=5) == cancelled
        assert [run.id for run in await store.due_runs(0, limit=10)] == []


async def test_a_target_that_is_taken_away_is_asked_for_with_pauses(google_emulators: Any) -> None:
    def takes_away(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != "Listen":
            return forward()
        removed = TargetChange(target_change_type=TargetChange.TargetChangeType.REMOVE, target_ids=[1])
        return [ListenResponse.serialize(ListenResponse(target_change=removed)) for _ in requests]

    async with behind_a_proxy(google_emulators) as (proxy, store, watcher):
        await store.create(run := a_run())
        proxy.hook = takes_away
        async with watcher.watch(run.id) as feed:
            assert await feed.next(timeout=5) == run, "it is read anew"
            await asyncio.sleep(1)
        assert proxy.calls["Listen"] < 8
