"""Follow what is written: a run's history from any point of it until it is complete, or all news of a channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from shared.domain.channel import OVERLAP, Channel, ChannelCursor
from shared.domain.run import Event, Run
from shared.ports import Clock, RunWatcher

SILENCE_SECONDS = 15.0
INTERNAL_EVENT = "run.late_result"
"""Of the history, but no update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRun:
    watcher: RunWatcher

    async def __call__(self, run_id: str, *, after: int = 0) -> AsyncIterator[tuple[Event, Run] | None]:
        """Each event behind sequence `after`, with the run as it was when read; None after 15 seconds of silence."""
        async with self.watcher.watch(run_id) as feed:
            while True:
                run = await feed.next(timeout=SILENCE_SECONDS)
                if run is None:
                    yield None
                    continue
                for event in updates(run, after=after):
                    after = event.sequence
                    yield event, run
                if run.is_terminal:
                    return

    async def until_terminal(self, run: Run, *, within: timedelta | None) -> Run:
        """The run as soon as it is complete, else as it is after that time, or when the server closes."""
        if run.is_terminal or not within:
            return run
        ends = asyncio.get_running_loop().time() + within.total_seconds()
        with suppress(asyncio.CancelledError):  # whoever waits still gets what there is
            async with self.watcher.watch(run.id) as feed:
                while not run.is_terminal and (left := ends - asyncio.get_running_loop().time()) > 0:
                    run = await feed.next(timeout=left) or run
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchChannel:
    watcher: RunWatcher
    clock: Clock

    async def __call__(
        self, channel: Channel, *, after: ChannelCursor | None = None
    ) -> AsyncIterator[tuple[Event, Run, ChannelCursor] | None]:
        """Each event behind `after`, else of the last seconds, and the place behind it; None after 15 s of silence."""
        opened_at = self.clock.now()
        cursor = after or ChannelCursor(watermark=opened_at - OVERLAP)
        async with self.watcher.watch_channel(channel, since=cursor.watermark) as feed:
            while True:
                run = await feed.next(timeout=SILENCE_SECONDS)
                if run is None:
                    yield None
                    continue
                for event in updates(run):
                    if cursor.is_undelivered(run, event):
                        cursor = cursor.after_delivery(run, event, opened_at=opened_at)
                        yield event, run, cursor


def updates(run: Run, *, after: int = 0) -> list[Event]:
    """What of the run's history behind that sequence is told."""
    return [event for event in run.events if event.sequence > after and event.type != INTERNAL_EVENT]
