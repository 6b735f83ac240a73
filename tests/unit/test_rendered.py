"""Tests that an update is rendered once for all who want it, and that few bytes are kept."""

import asyncio
from datetime import timedelta

import pytest

from shared.domain.channel import OVERLAP, ChannelCursor
from shared.errors import StoreUnavailable
from shared.usecases.rendered import RenderedUpdates
from shared.usecases.shared_cursors import SharedCursors
from tests.contract.runs import NOW, a_run


class Renderer:
    def __init__(self, text: bytes = b"text") -> None:
        self.calls = 0
        self.error: Exception | None = None
        self._text = text

    async def __call__(self) -> bytes:
        self.calls += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self._text


async def test_one_of_many_who_want_an_update_renders_it() -> None:
    updates, render = RenderedUpdates(), Renderer()
    assert await asyncio.gather(*[updates.get("key", render) for _ in range(100)]) == [b"text"] * 100
    assert render.calls == 1


async def test_a_rendering_that_fails_or_is_cancelled_is_left_to_the_next() -> None:
    updates, render = RenderedUpdates(), Renderer()
    render.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await updates.get("key", render)
    render.error = None
    first, second = (asyncio.create_task(updates.get("key", render)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"text"
    assert render.calls == 3


async def test_the_oldest_updates_go_when_there_are_too_many_bytes() -> None:
    updates, renderers = RenderedUpdates(max_bytes=10), [Renderer(b"12345") for _ in range(3)]
    for number, render in enumerate(renderers):
        await updates.get(number, render)
    for number, render in reversed(list(enumerate(renderers))):
        await updates.get(number, render)
    assert [render.calls for render in renderers] == [2, 1, 1]


def test_streams_of_a_channel_that_have_delivered_the_same_share_one_cursor() -> None:
    cursors, run = SharedCursors(), a_run()
    opened = [NOW - OVERLAP - timedelta(seconds=seconds) for seconds in (1, 2)]
    starts = [ChannelCursor(watermark=at - OVERLAP) for at in opened]
    first, second = (
        cursors.after_delivery(start, run, run.events[0], opened_at=at, live_since=at)
        for start, at in zip(starts, opened, strict=True)
    )
    assert first == starts[0].after_delivery(run, run.events[0], opened_at=opened[0], live_since=opened[0])
    assert first is second
    young = cursors.after_delivery(starts[0], run, run.events[0], opened_at=NOW, live_since=NOW)
    assert young == starts[0].after_delivery(run, run.events[0], opened_at=NOW, live_since=NOW) != first
