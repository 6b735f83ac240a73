"""Live changes of runs in SQLite: told by this process's own store, and noticed when another process commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.pending_changes import PendingChanges
from shared.domain.channel import OVERLAP, Channel
from shared.domain.run import Run
from shared.errors import StoreUnavailable
from shared.ports import RunStore

LOOK_EVERY_SECONDS = 0.2
PAGE = 200


class SqliteRunFeed:
    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._revision: int | None = None
        self.changed = asyncio.Event()
        self.changed.set()

    async def next(self, *, timeout: float) -> Run | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:
                    await self.changed.wait()
                    self.changed.clear()
                    run = await self._read()
                    if run.revision != self._revision:
                        self._revision = run.revision
                        return run
        return None

    async def _read(self) -> Run:
        """A read that is broken off by the timeout leaves the news where it was."""
        try:
            return await self._store.get(self._run_id)
        except BaseException:
            self.changed.set()
            raise


class SqliteChannelFeed:
    """Looks a little further back each time: what was changed first may have been committed last.

    One look goes page by page, each when the one before has been taken.
    """

    def __init__(self, store: RunStore, channel: Channel, since: datetime) -> None:
        self._store = store
        self._channel = channel
        self._since = since
        self._last: Run | None = None
        """Of the page before, while a look goes on."""
        self._changed = PendingChanges()
        self.changed = asyncio.Event()
        self.changed.set()

    async def next(self, *, timeout: float) -> Run | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (run := self._changed.take()) is None:
                    if self._last is None:
                        await self.changed.wait()
                        self.changed.clear()
                    await self._read_page()
                return run
        return None

    async def _read_page(self) -> None:
        try:
            runs = await self._store.changed_runs(self._channel, since=self._since, after=self._last, limit=PAGE)
        except BaseException:
            self.changed.set()
            raise
        self._changed.add(runs)
        self._last = runs[-1] if len(runs) == PAGE else None
        if runs and self._last is None:
            self._since = max(self._since, runs[-1].updated_at - OVERLAP)


class SqliteRunWatcher:
    """While anybody watches, `PRAGMA data_version` tells of other processes' writes (sqlite.org/pragma.html)."""

    def __init__(self, database: Database, store: RunStore) -> None:
        self._database = database
        self._store = store
        self._feeds: dict[str, set[SqliteRunFeed]] = {}
        self._channel_feeds: set[SqliteChannelFeed] = set()
        self._looking: asyncio.Task[None] | None = None

    def on_change(self, run_id: str) -> None:
        for feed in (*self._feeds.get(run_id, ()), *self._channel_feeds):
            feed.changed.set()

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[SqliteRunFeed]:
        feed = SqliteRunFeed(self._store, run_id)
        self._feeds.setdefault(run_id, set()).add(feed)
        self._start_looking()
        try:
            yield feed
        finally:
            self._feeds[run_id].discard(feed)
            if not self._feeds[run_id]:
                del self._feeds[run_id]

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[SqliteChannelFeed]:
        feed = SqliteChannelFeed(self._store, channel, since)
        self._channel_feeds.add(feed)
        self._start_looking()
        try:
            yield feed
        finally:
            self._channel_feeds.discard(feed)

    def _start_looking(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        seen: int | None = None
        while self._feeds or self._channel_feeds:
            version = seen
            with suppress(StoreUnavailable):  # looks again; whoever reads is told by the read itself
                version = await self._data_version()
            if version != seen:
                seen = version
                for run_id in list(self._feeds):
                    self.on_change(run_id)
                for feed in self._channel_feeds:
                    feed.changed.set()
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _data_version(self) -> int:
        row = await self._database.read(lambda connection: connection.execute("PRAGMA data_version").fetchone())
        version: int = row[0]
        return version
