"""Tests that the stream of a channel ends when its process has stood still, so that its client resumes elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain.channel import OVERLAP, Channel, ChannelCursor
from shared.domain.run import Run
from shared.errors import StoreUnavailable
from shared.usecases.watch import MAX_STANDSTILL, WatchChannel
from tests.contract.runs import NOW, a_run

DESK = Channel(name="desk", tenant_id="acme")


class Changes:
    """Returns one run at each look, which takes the given times by the clock."""

    def __init__(self, *looks: timedelta) -> None:
        self.now_ = NOW
        self._looks = list(looks)

    def now(self) -> datetime:
        return self.now_

    async def next(self, *, timeout: float) -> Run | None:
        self.now_ += self._looks.pop(0)
        return a_run(channel="desk", updated_at=self.now_)

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator["Changes"]:
        yield self


def watch(changes: Any) -> WatchChannel:
    return WatchChannel(watcher=changes, clock=changes, retention=timedelta(days=30))


def stream_of(changes: Any) -> AsyncIterator[Any]:
    return watch(changes)(DESK)


async def test_a_channel_that_is_looked_at_in_time_goes_on() -> None:
    stream = stream_of(Changes(MAX_STANDSTILL, MAX_STANDSTILL))
    assert await anext(stream) and await anext(stream)


async def test_a_channel_whose_process_stood_still_ends_before_it_delivers_out_of_order() -> None:
    stream = stream_of(Changes(timedelta(seconds=1), MAX_STANDSTILL + timedelta(seconds=1)))
    assert await anext(stream)
    with pytest.raises(StoreUnavailable, match="connect again"):
        await anext(stream)


class OneRun(Changes):
    """Returns the given run at the first look, and nothing at later ones."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._runs = [run]

    async def next(self, *, timeout: float) -> Run | None:
        return self._runs.pop() if self._runs else None


async def test_a_run_that_has_expired_and_is_not_deleted_yet_is_not_shown() -> None:
    expired = a_run(channel="desk", updated_at=NOW, expires_at=NOW)
    assert await anext(stream_of(OneRun(expired))) is None
    kept = a_run(channel="desk", updated_at=NOW, expires_at=NOW + timedelta(seconds=1))
    assert await anext(stream_of(OneRun(kept))) is not None


def test_a_cursor_is_too_old_when_runs_that_changed_after_it_may_be_deleted() -> None:
    watching = watch(Changes())
    for read_to, age, is_too_old in ((None, 30, False), (None, 31, True), (NOW - timedelta(days=30), 99, False)):
        cursor = ChannelCursor(watermark=NOW - timedelta(days=age), read_to=read_to and read_to + OVERLAP)
        assert watching.is_too_old(cursor) is is_too_old
