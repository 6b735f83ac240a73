"""Channels: whose they are, and that a stream resumes at any point without a gap or a repeat."""

import json
from base64 import urlsafe_b64decode
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import submission
from shared.domain.channel import OVERLAP, Channel, ChannelCursor, channel_for
from shared.domain.event import Event
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import ChannelNotFound, InvalidRequest
from shared.web.cursor import decode_channel_cursor, encode_channel_cursor
from tests.contract.runs import NOW, a_run
from tests.examples import examples
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
    order = draw(st.lists(st.integers(0, len(runs) - 1), max_size=25))
    for place, index in enumerate(order):
        at += timedelta(milliseconds=draw(st.sampled_from([0, 1, 500, 12_000, 90_000])))
        sequence = len(runs[index].events) + 1
        event = Event(sequence=sequence, type="run.progress", at=at)
        is_over = index % 2 == 0 and index not in order[place + 1 :]
        status = Status.COMPLETED if is_over else Status.PENDING
        runs[index] = replace(runs[index], status=status, updated_at=at, events=(*runs[index].events, event))
        steps.append((runs[index], event))
    return steps


def heard(cursor: ChannelCursor, run: Run, opened_at: datetime) -> tuple[ChannelCursor, list[tuple[str, int]]]:
    """What a stream, opened then, does with a run that is given to it."""
    told = []
    for event in run.events:
        if cursor.is_undelivered(run, event):
            cursor = cursor.after_delivery(run, event, opened_at=opened_at, live_since=opened_at)
            told.append((run.id, event.sequence))
    return cursor, told


@settings(max_examples=examples(500))
@given(histories(), st.integers(0, 25), st.integers(0, 25))
def test_a_stream_that_is_cut_anywhere_gives_each_event_once(steps: list[Step], cut: int, more_steps: int) -> None:
    cursor, told = ChannelCursor(watermark=NOW - OVERLAP), []
    for run, _ in steps[:cut]:
        cursor, more = heard(cursor, run, NOW)
        told += more
    opened_at = steps[: cut + more_steps][-1][1].at if steps[: cut + more_steps] else NOW
    cursor = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK)
    newest = {run.id: run for run, _ in steps[: cut + more_steps]}
    for run in sorted(newest.values(), key=lambda run: run.updated_at):
        if run.updated_at >= cursor.since:
            cursor, more = heard(cursor, run, opened_at)
            told += more
    for run, _ in steps[cut + more_steps :]:
        cursor, more = heard(cursor, run, opened_at)
        told += more
    assert sorted(told) == sorted((run.id, event.sequence) for run, event in steps)


@settings(max_examples=examples(500))
@given(histories(), st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12)), max_size=6))
def test_a_stream_that_is_cut_again_and_again_while_it_catches_up_gives_each_event_once(
    steps: list[Step], connections: list[tuple[int, int]]
) -> None:
    """Each connection begins after some more steps and hears some events; the last one hears the rest."""
    cursor, told, written = ChannelCursor(watermark=NOW - OVERLAP), [], 0
    for more_steps, events in [*connections, (25, 1000)]:
        written += more_steps
        opened_at = steps[:written][-1][1].at if steps[:written] else NOW
        newest = {run.id: run for run, _ in steps[:written]}
        found = [run for run in newest.values() if run.updated_at >= cursor.since]
        for run in sorted(found, key=lambda run: run.updated_at):
            for event in run.events:
                if events and cursor.is_undelivered(run, event):
                    cursor, events = (
                        cursor.after_delivery(run, event, opened_at=opened_at, live_since=opened_at),
                        events - 1,
                    )
                    told.append((run.id, event.sequence))
        cursor = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK)
    assert sorted(told) == sorted((run.id, event.sequence) for run, event in steps)


def test_a_stream_that_resumes_a_month_ago_keeps_short_cursors_and_resumes_where_it_was_cut() -> None:
    opened_at = NOW + timedelta(days=30)
    cursor = ChannelCursor(watermark=NOW - OVERLAP)
    for number in range(2000):
        at = NOW + timedelta(minutes=number)
        status = Status.PENDING if number == 0 else Status.COMPLETED
        run = replace(a_run(events=(Event(sequence=1, type="run.queued", at=at),), updated_at=at), status=status)
        assert cursor.since <= at and cursor.is_undelivered(run, run.events[0])
        cursor = cursor.after_delivery(run, run.events[0], opened_at=opened_at, live_since=opened_at)
        cursor = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK)
    assert at - cursor.since == OVERLAP and len(cursor.last_delivered) == 2, "the last run and the open one"
    live = a_run(events=(Event(sequence=1, type="run.queued", at=opened_at + OVERLAP),))
    cursor = cursor.after_delivery(live, live.events[0], opened_at=opened_at, live_since=opened_at)
    assert (cursor.watermark, cursor.since, cursor.read_to) == (opened_at, opened_at, None)


def test_an_id_of_the_release_before_resumes() -> None:
    text = encode_channel_cursor(ChannelCursor(watermark=NOW), DESK)
    assert len(json.loads(urlsafe_b64decode(text + "==="))) == 3
    assert decode_channel_cursor(text, DESK) == ChannelCursor(watermark=NOW)


def test_an_event_with_an_earlier_time_than_the_one_before_is_delivered_and_its_id_resumes() -> None:
    watermark = NOW - OVERLAP
    times = [watermark + timedelta(seconds=8), watermark - timedelta(seconds=2)]
    events = tuple(Event(sequence=number, type="run.progress", at=at) for number, at in enumerate(times, 1))
    run = a_run(events=events)
    cursor, told = heard(ChannelCursor(watermark=watermark), run, NOW)
    assert told == [(run.id, 1), (run.id, 2)]
    resumed = decode_channel_cursor(encode_channel_cursor(cursor, DESK), DESK)
    other = a_run(events=(Event(sequence=1, type="run.queued", at=NOW),))
    resumed, _ = heard(resumed, other, NOW)
    assert heard(resumed, run, NOW)[1] == [], "no event comes twice"


@given(st.one_of(st.text(max_size=40), st.binary(max_size=60).map(lambda raw: raw.hex())))
def test_any_text_as_an_id_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_channel_cursor(text, DESK)


def test_an_id_belongs_to_its_channel() -> None:
    text = encode_channel_cursor(ChannelCursor(watermark=NOW), DESK)
    with pytest.raises(InvalidRequest):
        decode_channel_cursor(text, Channel(name="desk", tenant_id="globex"))
