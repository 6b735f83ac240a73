"""Tests a channel's stream as it is sent: how far back it resumes, and that all its listeners are sent the same."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import cast

from shared.domain.channel import Channel, ChannelCursor
from shared.domain.directory import Profile
from shared.web import sse
from shared.web.cursor import decode_channel_cursor
from tests.unit.world import DEMO, World

DESK = Channel(name="desk", tenant_id="acme")


async def authenticate() -> Profile:
    return DEMO


async def first_events(world: World, count: int, *, after: ChannelCursor | None = None) -> list[dict[str, str]]:
    """Returns the fields of the first events that a new stream of the channel sends."""
    response = sse.stream_channel(world.services, DESK, authenticate, after=after)
    found: list[dict[str, str]] = []
    async with aclosing(cast("AsyncGenerator[bytes]", response.body_iterator)) as parts:
        async for part in parts:
            fields = dict(line.partition(": ")[::2] for line in part.decode().splitlines() if line)
            if "event" in fields:
                found.append(fields)
            if len(found) == count:
                break
    return found


async def test_a_stream_resumes_as_far_back_as_runs_are_kept(world: World) -> None:
    after = ChannelCursor(watermark=world.clock.now())
    world.clock.forward(1)
    run = await world.submit(channel="desk")
    world.clock.forward(timedelta(days=29).total_seconds())
    [event] = await first_events(world, 1, after=after)
    assert (event["event"], json.loads(event["data"])["run_uuid"]) == ("run.queued", run.id)


async def test_a_stream_that_resumes_before_the_oldest_run_says_so_and_goes_on(world: World) -> None:
    after = ChannelCursor(watermark=world.clock.now() - timedelta(days=31))
    run = await world.submit(channel="desk")
    reset, event = await first_events(world, 2, after=after)
    assert reset["event"] == "reset" and json.loads(reset["data"])["code"] == "update_too_old"
    assert json.loads(event["data"])["run_uuid"] == run.id
    resumed = await first_events(world, 1, after=decode_channel_cursor(reset["id"], DESK))
    assert [again["event"] for again in resumed] == ["run.queued"], "the id of `reset` resumes"


async def test_two_streams_of_a_channel_send_the_same_bytes(world: World) -> None:
    await world.submit(channel="desk")
    first, second = await first_events(world, 1), await first_events(world, 1)
    assert first == second
