"""Follows what is written: the history of one run until it ends, or the events of all runs of a channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

from msgspec import Struct, field

from shared.domain.channel import OVERLAP, Channel, ChannelCursor
from shared.domain.event import Event, EventType
from shared.domain.run import Run
from shared.ports import Clock, RunWatcher
from shared.usecases.shared_cursors import SharedCursors

HEARTBEAT_SECONDS = 15.0
MAX_BEHIND_SECONDS = HEARTBEAT_SECONDS + 5.0
"""A feed that brings changes as they happen has had all of them so long ago at most, also when few come."""
INTERNAL_EVENT = EventType.LATE_RESULT
"""Stands in the history, and is not sent to clients."""


class WatchRun(Struct, frozen=True, kw_only=True):
    watcher: RunWatcher

    async def __call__(self, run_id: str, *, after: int = 0) -> AsyncIterator[tuple[Event, Run] | None]:
        """Yields each event whose sequence is above `after`, with the run as it was read, until the run has ended.

        Yields None after 15 seconds without an event. Raises RunNotFound.
        """
        async with self.watcher.watch(run_id) as feed:
            while True:
                run = await feed.next(timeout=HEARTBEAT_SECONDS)
                if run is None:
                    yield None
                    continue
                for event in public_events(run, after=after):
                    after = event.sequence
                    yield event, run
                if run.is_terminal:
                    return

    async def until_terminal(self, run: Run, *, within: timedelta | None) -> Run:
        """Returns the run as soon as it has ended, or as it is when the time is over or the server closes."""
        if run.is_terminal or not within:
            return run
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + within.total_seconds()
        with suppress(asyncio.CancelledError):  # the client still gets the run as it is
            async with self.watcher.watch(run.id) as feed:
                while not run.is_terminal and (remaining := give_up_at - clock()) > 0:
                    run = await feed.next(timeout=remaining) or run
        return run


class WatchChannel(Struct, frozen=True, kw_only=True):
    watcher: RunWatcher
    clock: Clock
    retention: timedelta
    """How long runs are kept after their deadlines: a stream can resume as far back."""
    cursors: SharedCursors = field(default_factory=SharedCursors)

    def start(self) -> ChannelCursor:
        """Returns the cursor of a stream that begins with the events of the last 30 s."""
        return ChannelCursor(watermark=self.clock.now() - OVERLAP)

    def is_too_old(self, cursor: ChannelCursor) -> bool:
        """Returns True when runs that changed after the cursor may have been deleted."""
        return self.clock.now() - cursor.since > self.retention

    async def __call__(
        self, channel: Channel, *, after: ChannelCursor | None = None
    ) -> AsyncIterator[tuple[Event, Run, ChannelCursor] | None]:
        """Yields each event after the cursor with its run and the cursor behind it; without `after`, of the last 30 s.

        Yields None after 15 seconds without an event. Raises StoreUnavailable.
        """
        opened_at = live_since = self.clock.now()
        loop_time = asyncio.get_running_loop().time
        cursor = after or self.start()
        async with self.watcher.watch_channel(channel, since=cursor.since) as feed:
            while True:
                run = await feed.next(timeout=HEARTBEAT_SECONDS)
                if run is None:
                    yield None
                    continue
                if loop_time() - feed.caught_up_at > MAX_BEHIND_SECONDS:
                    live_since = self.clock.now()
                if run.expires_at <= self.clock.now():
                    continue  # a store may delete an expired run a day later
                for event in public_events(run):
                    if cursor.is_undelivered(run, event):
                        cursor = self.cursors.after_delivery(
                            cursor, run, event, opened_at=opened_at, live_since=live_since
                        )
                        yield event, run, cursor


def public_events(run: Run, *, after: int = 0) -> list[Event]:
    """Returns the events that clients see, whose sequence is above `after`."""
    return [event for event in run.events if event.sequence > after and event.type != INTERNAL_EVENT]
