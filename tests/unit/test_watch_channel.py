"""Tests that the stream of a channel delivers everything, also while it is behind with what happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pytest

from shared.domain.channel import OVERLAP, Channel, ChannelCursor
from shared.domain.event import Event
from shared.domain.run import Run
from shared.usecases.watch import MAX_BEHIND_SECONDS, WatchChannel
from tests.contract.runs import NOW, a_run

DESK = Channel(name="desk", tenant_id="acme")


class Changes:
    """Returns the given runs, each a second after its last change. The reader has been behind for so many seconds."""

    def __init__(self, *runs: Run, behind: float = 0.0) -> None:
        self._runs = list(runs)
        self._behind = behind
        self._now = NOW

    def now(self) -> datetime:
        return self._now

    @property
    def caught_up_at(self) -> float:
        return asyncio.get_running_loop().time() - self._behind

    async def next(self, *, timeout: float) -> Run | None:
        if not self._runs:
            return None
        run = self._runs.pop(0)
        self._now = run.updated_at + timedelta(seconds=1)
        return run

    @asynccontextmanager
    async def watch_channel(self, channel: Channel, *, since: datetime) -> AsyncIterator["Changes"]:
        yield self


def watch(changes: Any) -> WatchChannel:
    return WatchChannel(watcher=changes, clock=changes, retention=timedelta(days=30))


def stream_of(changes: Any) -> AsyncIterator[Any]:
    return watch(changes)(DESK)


def changed(*seconds: float) -> Run:
    """Returns a run with an event at each of these times."""
    times = [NOW + timedelta(seconds=each) for each in seconds]
    events = tuple(Event(sequence=number, type="run.progress", at=at) for number, at in enumerate(times, 1))
    return a_run(channel="desk", events=events, updated_at=times[-1])


async def heard(changes: Changes) -> tuple[list[int], ChannelCursor]:
    """Returns the sequences of all events of the stream, and its last cursor."""
    sequences = []
    async for update in stream_of(changes):
        if update is None:
            break
        event, _, cursor = update
        sequences.append(event.sequence)
    return sequences, cursor


@pytest.mark.parametrize("behind", [MAX_BEHIND_SECONDS + 1, inf])
async def test_a_stream_that_is_behind_delivers_what_happened_long_before_its_last_event(behind: float) -> None:
    sequences, cursor = await heard(Changes(changed(200), changed(5, 100, 200), behind=behind))
    assert sequences == [1, 1, 2, 3]
    assert cursor.watermark == NOW - OVERLAP


async def test_a_stream_that_keeps_up_tracks_only_the_events_of_the_last_moments() -> None:
    sequences, cursor = await heard(Changes(changed(100), changed(200)))
    assert sequences == [1, 1]
    assert cursor.watermark == NOW + timedelta(seconds=200) - OVERLAP and len(cursor.last_delivered) == 1


async def test_a_run_that_has_expired_and_is_not_deleted_yet_is_not_shown() -> None:
    expired = a_run(channel="desk", updated_at=NOW, expires_at=NOW + timedelta(seconds=1))
    assert await anext(stream_of(Changes(expired))) is None
    kept = a_run(channel="desk", updated_at=NOW, expires_at=NOW + timedelta(seconds=2))
    assert await anext(stream_of(Changes(kept))) is not None


def test_a_cursor_is_too_old_when_runs_that_changed_after_it_may_be_deleted() -> None:
    watching = watch(Changes())
    for read_to, age, is_too_old in ((None, 30, False), (None, 31, True), (NOW - timedelta(days=30), 99, False)):
        cursor = ChannelCursor(watermark=NOW - timedelta(days=age), read_to=read_to and read_to + OVERLAP)
        assert watching.is_too_old(cursor) is is_too_old
