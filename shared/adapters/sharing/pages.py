"""Reads pages of changed runs once for all listeners that need the same page at the same time."""

import asyncio
from datetime import datetime, timedelta

from shared.domain.channel import Channel
from shared.ports import RunPage, RunPosition, RunStore

PAGE_SIZE = 200
ROUNDED_TO = timedelta(seconds=10)
"""A read begins at a multiple of it, so that listeners that connect one after the other need the same page."""
_Key = tuple[asyncio.AbstractEventLoop, Channel, datetime, RunPosition | None]


class SharedPages:
    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._reads: dict[_Key, asyncio.Task[RunPage]] = {}

    async def read(self, channel: Channel, *, since: datetime, after: RunPosition | None) -> RunPage:
        """Returns a page as `RunStore.changed_runs` does; it may also have runs changed up to 10 s before `since`.

        The read begins after this call, so that it sees whatever was committed before. When such a read is under way
        already, this call waits for the next one and shares it with all others that wait.
        """
        start = since - (since - datetime.min.replace(tzinfo=since.tzinfo)) % ROUNDED_TO
        key = (asyncio.get_running_loop(), channel, start, after)
        if (earlier := self._reads.get(key)) is not None:
            await asyncio.wait([earlier])
        if (task := self._reads.get(key)) is None:
            page = self._store.changed_runs(channel, since=start, after=after, limit=PAGE_SIZE)
            task = self._reads[key] = asyncio.ensure_future(page)
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: _Key, task: "asyncio.Task[RunPage]") -> None:
        """Takes a finished read out, and retrieves its exception, which its listeners may have stopped waiting for."""
        del self._reads[key]
        if not task.cancelled():
            task.exception()
