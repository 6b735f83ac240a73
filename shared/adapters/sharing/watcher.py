"""Lets all streams of one run, and all of one channel, share one watch, so that one read of a run serves them all."""

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf
from typing import TypeVar

from shared import log
from shared.adapters.sharing.broadcast import Broadcast, Listener
from shared.adapters.sharing.feeds import SharedChannelFeed, SharedRunFeed
from shared.adapters.sharing.pages import SharedPages
from shared.adapters.storage.pending_changes import size_of
from shared.domain.channel import Channel
from shared.errors import StoreUnavailable
from shared.ports import RunStore, RunWatcher

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of all changed runs that wait for listeners of channels. A run that waits for many of them counts once."""
COUNTED_EVERY_SECONDS = 0.1

_Loop = asyncio.AbstractEventLoop
L = TypeVar("L", bound=Listener)
K = TypeVar("K", bound=Hashable)


class SharedRunWatcher:
    """A RunWatcher that opens one feed of another one for all listeners of the same run or channel."""

    def __init__(self, watcher: RunWatcher, store: RunStore, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._watcher = watcher
        self._pages = SharedPages(store)
        self._max_waiting_bytes = max_waiting_bytes
        self._runs: dict[tuple[_Loop, str], Broadcast[SharedRunFeed]] = {}
        self._channels: dict[tuple[_Loop, Channel], Broadcast[SharedChannelFeed]] = {}
        self._counted_at = 0.0

    @asynccontextmanager
    async def watch(self, run_id: str) -> AsyncIterator[SharedRunFeed]:
        key = (asyncio.get_running_loop(), run_id)
        if (broadcast := self._runs.get(key)) is None:
            broadcast = self._runs[key] = Broadcast(
                lambda: self._watcher.watch(run_id), on_end=lambda ended: _forget(self._runs, key, ended)
            )
        feed = SharedRunFeed()
        broadcast.join(feed)
        if broadcast.latest is not None:
            feed.take(broadcast.latest, caught_up_at=-inf)
        try:
            yield feed
        finally:
            broadcast.leave(feed)

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator[SharedChannelFeed]:
        joined: list[Broadcast[SharedChannelFeed]] = []

        def join(feed: SharedChannelFeed) -> None:
            joined.append(self._channel(channel, since=feed.since))
            joined[0].join(feed)

        feed = SharedChannelFeed(self._pages, channel, since=since, join=join)
        try:
            yield feed
        finally:
            for broadcast in joined:
                broadcast.leave(feed)

    def _channel(self, channel: Channel, *, since: datetime) -> Broadcast[SharedChannelFeed]:
        key = (asyncio.get_running_loop(), channel)
        if (broadcast := self._channels.get(key)) is None:
            broadcast = self._channels[key] = Broadcast(
                lambda: self._watcher.watch_channel(channel, since=since),
                on_end=lambda ended: _forget(self._channels, key, ended),
                on_told=self._cut_the_slowest,
            )
        return broadcast

    def _cut_the_slowest(self) -> None:
        """Cuts those listeners of channels for whom most runs wait, until the rest is within the bound."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at < COUNTED_EVERY_SECONDS:
            return
        self._counted_at = now
        feeds = [feed for broadcast in self._channels.values() for feed in broadcast.listeners if feed.waiting]
        feeds.sort(key=lambda feed: len(feed.waiting))
        while feeds and _bytes_of(feeds) > self._max_waiting_bytes:
            feeds.pop().cut(StoreUnavailable("Updates come faster than they are read; connect again."))
            log.warning("a slow listener was cut", listeners=len(feeds))


def _forget(broadcasts: dict[K, Broadcast[L]], key: K, broadcast: Broadcast[L]) -> None:
    """Takes the broadcast out, unless another one has taken its place."""
    if broadcasts.get(key) is broadcast:
        del broadcasts[key]


def _bytes_of(feeds: Iterable[SharedChannelFeed]) -> int:
    """Returns about how many bytes wait for the feeds, each run counted once."""
    runs = {id(run): run for feed in feeds for run in feed.waiting}
    return sum(size_of(run) for run in runs.values())
