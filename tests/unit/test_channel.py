"""Channels: whose they are, and that a stream resumes at any point without a gap or a repeat."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import submission
from shared.domain.channel import MAX_CURSOR_AGE, OVERLAP, Channel, ChannelCursor, channel_for
from shared.domain.event import Event
from shared.domain.run import Run
from shared.errors import ChannelNotFound, InvalidRequest
from shared.web.cursor import decode_channel_cursor, encode_channel_cursor
from tests.contract.runs import NOW, a_run
from tests.unit.world import DEMO, OTHER, World

DESK = Channel(name="desk", tenant_id="acme")


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("user:demo", Channel(name="user:demo")),
        ("org:acme", Channel(name="org:acme")),
        ("desk", DESK),
        ("user", Channel(name="user", tenant_id="acme")),
        ("team:user:other", Channel(name="team:user:other", tenant_id="acme")),
    ],
)
def test_a_name_of_ones_own_is_a_channel(name: str, channel: Channel) -> None:
    assert channel_for(DEMO, name) == channel


@pytest.mark.parametrize("name", ["user:other", "org:globex", "user:", "org:", "user:demo "])
async def test_another_users_channel_is_not_found_and_takes_no_run(world: World, name: str) -> None:
    with pytest.raises(ChannelNotFound):
        channel_for(DEMO, name)
    with pytest.raises(ChannelNotFound):
        await world.submit(channel=name)
    assert not world.store.writes


async def test_a_run_for_an_end_client_is_on_its_callers_channel(world: World) -> None:
    run = await world.submit(end_client_id="acme-client", channel="desk")
    theirs, _ = await world.services.submit(OTHER, submission.user_run({"input_text": "x", "channel": "desk"}))
    desk = await world.sqlite.store.changed_runs(DESK, since=world.clock.now(), limit=10)
    assert [found.id for found in desk.runs] == [run.id] and theirs.id != run.id


Step = tuple[Run, Event]


@st.composite
def histories(draw: Any) -> list[Step]:
    """Runs whose events come one after another, as a channel shows them: (the run by then, its new event)."""
    runs = [a_run(events=(), id=f"00000000-0000-4000-8000-{n:012}") for n in range(draw(st.integers(1, 4)))]
    steps, at = [], NOW
    for index in draw(st.lists(st.integers(0, len(runs) - 1), max_size=25)):
        at += timedelta(milliseconds=draw(st.sampled_from([0, 1, 500, 12_000, 90_000])))
        sequence = len(runs[index].events) + 1
        event = Event(sequence=sequence, type="run.progress", at=at)
        runs[index] = replace(runs[index], updated_at=at, events=(*runs[index].events, event))
        steps.append((runs[index], event))
    return steps


def heard(cursor: ChannelCursor, run: Run, opened_at: datetime) -> tuple[ChannelCursor, list[tuple[str, int]]]:
    """What a stream, opened then, does with a run that is given to it."""
    told = []
    for event in run.events:
        if cursor.is_undelivered(run, event):
            cursor = cursor.after_delivery(run, event, opened_at=opened_at)
            told.append((run.id, event.sequence))
    return cursor, told


@settings(max_examples=500)
@given(histories(), st.integers(0, 25), st.integers(0, 25))
def test_a_stream_that_is_cut_anywhere_gives_each_event_once(steps: list[Step], cut: int, more_steps: int) -> None:
    cursor, told = ChannelCursor(watermark=NOW - OVERLAP), []
    for run, _ in steps[:cut]:
        cursor, more = heard(cursor, run, NOW)
        told += more
    opened_at = steps[: cut + more_steps][-1][1].at if steps[: cut + more_steps] else NOW
    cursor = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK, now=opened_at)
    newest = {run.id: run for run, _ in steps[: cut + more_steps]}
    for run in sorted(newest.values(), key=lambda run: run.updated_at):
        if run.updated_at >= cursor.watermark:
            cursor, more = heard(cursor, run, opened_at)
            told += more
    for run, _ in steps[cut + more_steps :]:
        cursor, more = heard(cursor, run, opened_at)
        told += more
    assert sorted(told) == sorted((run.id, event.sequence) for run, event in steps)


def test_an_event_with_an_earlier_time_than_the_one_before_is_delivered_and_its_id_resumes() -> None:
    watermark = NOW - OVERLAP
    times = [watermark + timedelta(seconds=8), watermark - timedelta(seconds=2)]
    events = tuple(Event(sequence=number, type="run.progress", at=at) for number, at in enumerate(times, 1))
    run = a_run(events=events)
    cursor, told = heard(ChannelCursor(watermark=watermark), run, NOW)
    assert told == [(run.id, 1), (run.id, 2)]
    resumed = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK, now=NOW)
    other = a_run(events=(Event(sequence=1, type="run.queued", at=NOW),))
    resumed, _ = heard(resumed, other, NOW)
    assert heard(resumed, run, NOW)[1] == [], "no event comes twice"


@given(st.one_of(st.text(max_size=40), st.binary(max_size=60).map(lambda raw: raw.hex())))
def test_any_text_as_an_id_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_channel_cursor(text, DESK, now=NOW)


def test_an_id_belongs_to_its_channel() -> None:
    text = encode_channel_cursor(ChannelCursor(watermark=NOW), DESK)
    with pytest.raises(InvalidRequest):
        decode_channel_cursor(text, Channel(name="desk", tenant_id="globex"), now=NOW)


def test_an_id_of_long_ago_is_refused_with_what_to_do() -> None:
    text = encode_channel_cursor(ChannelCursor(watermark=NOW), DESK)
    assert decode_channel_cursor(text, DESK, now=NOW + MAX_CURSOR_AGE) == ChannelCursor(watermark=NOW)
    with pytest.raises(InvalidRequest, match="list the runs and connect without it"):
        decode_channel_cursor(text, DESK, now=NOW + MAX_CURSOR_AGE + timedelta(seconds=1))
