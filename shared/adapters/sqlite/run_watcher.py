"""Watches runs in SQLite: this process's store reports its changes, and polling notices commits of other processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from math import inf

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.pending_changes import PendingChanges
from shared.domain.channel import OVERLAP, Channel
from shared.domain.run import Run
from shared.errors import StoreUnavailable
from shared.ports import RunPosition, RunStore

POLL_INTERVAL_SECONDS = 0.2
PAGE_SIZE = 200


class SqliteRunFeed:
    """Reads one run each time it may have changed."""

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._delivered_revision: int | None = None
        self.caught_up_at = -inf
        self.changed = asyncio.Event()
        """The watcher sets it when the run may have changed. It is set at first, so that `next` returns the run."""
        self.changed.set()

    async def next(self, *, timeout: float) -> Run | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._next_change()
        return None

    async def _next_change(self) -> Run:
        while True:
            if not self.changed.is_set():
                self.caught_up_at = asyncio.get_running_loop().time()
            await self.changed.wait()
            self.changed.clear()
            run = await self._read()
            if run.revision != self._delivered_revision:
                self._delivered_revision = run.revision
                return run

    async def _read(self) -> Run:
        """Sets `changed` again when the read fails or the timeout cancels it, so that `next` reads later."""
        try:
            return await self._store.get(self._run_id)
        except BaseException:
            self.changed.set()
            raise


class SqliteChannelFeed:
    """Reads the changed runs of a channel page by page, each page after the runs of the page before were delivered.

    Each read begins OVERLAP before the newest known change, because an earlier change may be committed later.
    """

    def __init__(self, store: RunStore, channel: Channel, since: datetime) -> None:
        self._store = store
        self._channel = channel
        self._since = since
        self._last_read: RunPosition | None = None
        """The last position of a full page; the next page starts after it. None when there are no more pages."""
        self._pending = PendingChanges()
        self.caught_up_at = -inf
        self.changed = asyncio.Event()
        """The watcher sets it when a run may have changed. It is set at first, so that `next` reads earlier changes."""
        self.changed.set()

    async def next(self, *, timeout: float) -> Run | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._next_change()
        return None

    async def _next_change(self) -> Run:
        while (run := self._pending.pop()) is None:
            if self._last_read is None:
                if not self.changed.is_set():
                    self.caught_up_at = asyncio.get_running_loop().time()
                await self.changed.wait()
                self.changed.clear()
            await self._read_page()
        return run

    async def _read_page(self) -> None:
        try:
            page = await self._store.changed_runs(
                self._channel, since=self._since, after=self._last_read, limit=PAGE_SIZE
            )
        except BaseException:
            self.changed.set()
            raise
        self._pending.add(page.runs)
        self._last_read = page.positions[-1] if len(page.positions) == PAGE_SIZE else None
        if page.positions and self._last_read is None:
            self._since = max(self._since, page.positions[-1].at - OVERLAP)


class SqliteRunWatcher:
    """While there are feeds, polls whether another process has written."""

    def __init__(self, database: Database, store: RunStore) -> None:
        self._database = database
        self._store = store
        self._run_feeds: dict[str, set[SqliteRunFeed]] = {}
        """{run id: its feeds}"""
        self._channel_feeds: dict[str, set[SqliteChannelFeed]] = {}
        """{name of a channel: its feeds}"""
        self._polling: asyncio.Task[None] | None = None

    def on_change(self, run: Run) -> None:
        """Notifies the feeds of the run and those of its channel."""
        for feed in (*self._run_feeds.get(run.id, ()), *self._channel_feeds.get(run.channel, ())):
            feed.changed.set()

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[SqliteRunFeed]:
        feed = SqliteRunFeed(self._store, run_id)
        self._run_feeds.setdefault(run_id, set()).add(feed)
        self._start_polling()
        try:
            yield feed
        finally:
            self._run_feeds[run_id].discard(feed)
            if not self._run_feeds[run_id]:
                del self._run_feeds[run_id]

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[SqliteChannelFeed]:
        feed = SqliteChannelFeed(self._store, channel, since)
        self._channel_feeds.setdefault(channel.name, set()).add(feed)
        self._start_polling()
        try:
            yield feed
        finally:
            self._channel_feeds[channel.name].discard(feed)
            if not self._channel_feeds[channel.name]:
                del self._channel_feeds[channel.name]

    def _start_polling(self) -> None:
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        """Notifies all feeds when the data version has changed; ends when there are no feeds."""
        known_version: int | None = None
        while self._run_feeds or self._channel_feeds:
            version = known_version
            with suppress(StoreUnavailable):  # polls again; a feed reports the failure when it reads
                version = await self._database.data_version()
            if version != known_version:
                known_version = version
                changed = [feed.changed for feeds in self._run_feeds.values() for feed in feeds]
                changed += [feed.changed for feeds in self._channel_feeds.values() for feed in feeds]
                for event in changed:
                    event.set()
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
