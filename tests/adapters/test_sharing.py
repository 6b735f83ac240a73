"""Tests that listeners share one watch of the store, and that none of them misses or repeats a change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from math import inf

import pytest

from shared.adapters.sharing.feeds import SharedChannelFeed
from shared.adapters.sharing.watcher import SharedRunWatcher
from shared.domain.channel import Channel
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.errors import RunNotFound, StoreUnavailable
from shared.ports import RunPage, RunPosition
from tests.contract.runs import NOW, a_run
from tests.simulation import loop

DESK = Channel(name="desk", tenant_id="acme")


class Store:
    """A store and its watcher: `change` puts a run into both, `watched` counts the open feeds, `reads` the pages."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.feeds: list[asyncio.Queue[Run | Exception]] = []
        self.opened = self.reads = 0
        self.reads_end = asyncio.Event()
        self.reads_end.set()

    def change(self, run: Run, *, is_noticed: bool = True) -> Run:
        self.runs[run.id] = run
        for feed in self.feeds if is_noticed else ():
            feed.put_nowait(run)
        return run

    def watch(self, run_id: str) -> "Opened":
        return Opened(self, [self.runs[run_id]])

    def watch_channel(self, channel: Channel, *, since: datetime) -> "Opened":
        return Opened(self, [run for run in self.runs.values() if run.updated_at >= since])

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        self.reads += 1
        found = sorted((run for run in self.runs.values() if run.updated_at >= since), key=position_of)
        page = [run for run in found if after is None or position_of(run) > (after.at, after.run_id)][:limit]
        await self.reads_end.wait()
        return RunPage(runs=page, positions=[RunPosition(at=run.updated_at, run_id=run.id) for run in page])


class Opened:
    def __init__(self, store: Store, runs: list[Run]) -> None:
        self._store = store
        self.caught_up_at = -inf
        self._queue: asyncio.Queue[Run | Exception] = asyncio.Queue()
        for run in runs:
            self._queue.put_nowait(run)

    async def __aenter__(self) -> "Opened":
        self._store.opened += 1
        self._store.feeds.append(self._queue)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._store.feeds.remove(self._queue)

    async def next(self, *, timeout: float) -> Run | None:
        if self._queue.empty():
            self.caught_up_at = asyncio.get_running_loop().time()
        found = await asyncio.wait_for(self._queue.get(), 999)
        if isinstance(found, Exception):
            raise found
        return found


def position_of(run: Run) -> tuple[datetime, str]:
    return run.updated_at, run.id


def of_desk(number: int = 0, *, seconds: float = 0.0, revision: int = 1) -> Run:
    run_id = f"00000000-0000-4000-8000-{number:012}"
    return replace(a_run(id=run_id, channel="desk", updated_at=NOW + timedelta(seconds=seconds)), revision=revision)


def watcher_of(store: Store, *, max_waiting_bytes: int = 10**9) -> SharedRunWatcher:
    return SharedRunWatcher(store, store, max_waiting_bytes=max_waiting_bytes)  # type: ignore[arg-type]


@asynccontextmanager
async def listening(
    watcher: SharedRunWatcher, count: int, *, since: datetime = NOW
) -> AsyncIterator[list[SharedChannelFeed]]:
    """Feeds of the channel that have read what there was."""
    async with AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(watcher.watch_channel(DESK, since=since)) for _ in range(count)]
        for found in await asyncio.gather(*[feed.next(timeout=0.05) for feed in feeds]):
            assert found is None
        yield feeds


async def test_all_listeners_of_a_run_share_one_feed_and_each_gets_each_state() -> None:
    store = Store()
    watcher, run = watcher_of(store), store.change(of_desk())
    async with AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(watcher.watch(run.id)) for _ in range(100)]
        assert await asyncio.gather(*[feed.next(timeout=9) for feed in feeds]) == [run] * 100
        following = [asyncio.create_task(feed.next(timeout=9)) for feed in feeds]
        await asyncio.sleep(0)
        changed = store.change(of_desk(revision=2))
        assert await asyncio.gather(*following) == [changed] * 100
        late = await stack.enter_async_context(watcher.watch(run.id))
        assert await late.next(timeout=9) == changed
        assert await late.next(timeout=0.01) is None
    assert store.opened == 1


async def test_the_last_listener_that_leaves_closes_the_feed_and_the_next_one_opens_another() -> None:
    store = Store()
    watcher, run = watcher_of(store), store.change(of_desk())
    for opened in (1, 2):
        async with watcher.watch(run.id) as first, watcher.watch(run.id) as second:
            assert await first.next(timeout=9) == await second.next(timeout=9) == run
        await asyncio.sleep(0.01)
        assert (store.opened, store.feeds) == (opened, [])


async def test_an_error_of_the_feed_reaches_every_listener_and_later_ones_begin_anew() -> None:
    store = Store()
    watcher, run = watcher_of(store), store.change(of_desk())
    async with watcher.watch(run.id) as first, watcher.watch(run.id) as second:
        assert await first.next(timeout=9) == run
        store.feeds[0].put_nowait(RunNotFound())
        assert await second.next(timeout=9) == run
        for feed in (first, second):
            with pytest.raises(RunNotFound):
                await feed.next(timeout=9)
        async with watcher.watch(run.id) as later:
            assert await later.next(timeout=9) == run


async def test_a_listener_that_was_busy_gets_the_newest_state_of_its_run() -> None:
    store = Store()
    watcher, run = watcher_of(store), store.change(of_desk())
    async with watcher.watch(run.id) as feed:
        assert await feed.next(timeout=9) == run
        store.change(of_desk(revision=2))
        newest = store.change(of_desk(revision=3))
        await asyncio.sleep(0.01)
        assert await feed.next(timeout=9) == newest
        assert await feed.next(timeout=0.01) is None


async def test_all_listeners_of_a_channel_share_its_feed_and_the_pages_before() -> None:
    store = Store()
    watcher = watcher_of(store)
    async with listening(watcher, 100) as feeds:
        assert store.reads <= 4
        run = store.change(of_desk())
        assert await asyncio.gather(*[feed.next(timeout=9) for feed in feeds]) == [run] * 100
    assert store.opened == 1


async def test_earlier_changes_of_a_channel_come_first_in_pages_and_each_once() -> None:
    store = Store()
    watcher = watcher_of(store)
    store.change(of_desk(999, seconds=-1))
    runs = [store.change(of_desk(number, seconds=number)) for number in range(450)]
    async with watcher.watch_channel(DESK, since=NOW) as feed:
        assert [await feed.next(timeout=9) for _ in runs] == runs
        assert await feed.next(timeout=0.01) is None
        late = store.change(of_desk(500, seconds=500))
        assert await feed.next(timeout=9) == late


async def test_a_change_between_the_last_page_and_the_joining_of_a_channel_is_not_missed() -> None:
    store = Store()
    watcher = watcher_of(store)
    async with listening(watcher, 1), watcher.watch_channel(DESK, since=NOW) as feed:
        store.reads_end.clear()
        next_run = asyncio.create_task(feed.next(timeout=9))
        while store.reads == 2:
            await asyncio.sleep(0)
        run = store.change(of_desk())
        await asyncio.sleep(0.01)
        store.reads_end.set()
        assert await next_run == run
        assert await feed.next(timeout=0.01) is None


async def test_a_listener_that_does_not_read_is_cut_and_the_others_go_on() -> None:
    store = Store()
    watcher = watcher_of(store, max_waiting_bytes=100_000)
    async with listening(watcher, 2) as (slow, quick):
        for number in range(60):
            run = store.change(of_desk(number, seconds=number))
            assert await quick.next(timeout=9) == run
            await asyncio.sleep(0.005)
        with pytest.raises(StoreUnavailable, match="faster than they are read"):
            await slow.next(timeout=9)
        assert list(slow.waiting) == []


def test_a_listener_of_a_channel_knows_since_when_it_is_behind() -> None:
    """Under a virtual clock."""

    async def read_late() -> None:
        store, clock = Store(), asyncio.get_running_loop().time
        store.change(of_desk())
        async with watcher_of(store).watch_channel(DESK, since=NOW) as feed:
            assert await feed.next(timeout=9)
            assert feed.caught_up_at == -inf, "it has not read all pages yet"
            assert await feed.next(timeout=1) is None
            noticed_at = clock()
            for number in (1, 2):
                store.change(of_desk(number, seconds=number))
                await asyncio.sleep(60)
            for _ in range(2):
                assert await feed.next(timeout=9)
                assert clock() - 120 - 1 <= feed.caught_up_at <= noticed_at
            store.change(of_desk(3, seconds=3))
            assert await feed.next(timeout=9)
            assert feed.caught_up_at > clock() - 61

    loop.run(read_late)
