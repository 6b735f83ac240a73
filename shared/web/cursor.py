"""Encodes cursors as opaque texts: a position in a list or in a channel, with a fingerprint of that list or channel.

A list cursor is the JSON array [created_at, run id, fingerprint] in URL-safe base64 without padding. A channel cursor
is [watermark, fingerprint, delivered, read_to], where `delivered` is base64 of one DELIVERED entry per run, and
`read_to` is there only while a stream catches up.
"""

import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil
from re import fullmatch
from struct import Struct
from struct import error as StructError
from typing import Any

from shared.domain.channel import Channel, ChannelCursor, LastDelivered
from shared.domain.fields import read_uuid
from shared.errors import InvalidRequest
from shared.ports import DeliveryPosition, RunFilter, RunPosition

MAX_RUNS_PER_CURSOR = 250
"""A channel cursor keeps only the latest runs: a browser sends it in a header, which holds a few kilobytes."""
DELIVERED = Struct(">6sII")
"""One run: the last 6 bytes of its id, the sequence of its last delivered event (with the bit OVER if the run is over),
and how many milliseconds after the watermark the run changed last, at most MAX_MILLISECONDS."""
OVER = 1 << 31
MAX_MILLISECONDS = (1 << 32) - 1
MILLISECOND = timedelta(milliseconds=1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
"""Bounds of a cursor's time, so that calculations with an invented time cannot overflow."""
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError, StructError, OverflowError, InvalidRequest)


def encode_list_cursor(cursor: RunPosition, wanted: RunFilter) -> str:
    """Returns the `next_cursor` of a page. New runs do not move it, because it names a run and not a number of runs."""
    return _encode([cursor.at.isoformat(), cursor.run_id, _list_fingerprint(wanted)])


def decode_list_cursor(text: str, wanted: RunFilter) -> RunPosition:
    """Raises InvalidRequest when the text is no cursor, or a cursor of a list with other filters."""
    try:
        created_at, run_id, fingerprint = _decode(text)
        cursor = RunPosition(at=_parse_time(created_at), run_id=read_uuid("cursor", run_id))
    except _UNREADABLE:
        raise InvalidRequest("cursor is not one that we gave", field="cursor") from None
    if fingerprint != _list_fingerprint(wanted):
        raise InvalidRequest("cursor belongs to other filters than these", field="cursor")
    return cursor


def encode_position(cursor: RunPosition) -> str:
    """Returns the `next_cursor` of a search, which fits any search: it is the place of a run in the order of time."""
    return _encode([cursor.at.isoformat(), cursor.run_id])


def decode_position(text: str) -> RunPosition:
    """Raises InvalidRequest when the text is no cursor of a search."""
    try:
        created_at, run_id = _decode(text)
        return RunPosition(at=_parse_time(created_at), run_id=read_uuid("cursor", run_id))
    except _UNREADABLE:
        raise InvalidRequest("cursor is not one that we gave", field="cursor") from None


def encode_delivery_cursor(cursor: DeliveryPosition, endpoint_id: str) -> str:
    """Returns the `next_cursor` of a page of a webhook's deliveries."""
    return _encode([cursor.at.isoformat(), cursor.delivery_id, _fingerprint([endpoint_id])])


def decode_delivery_cursor(text: str, endpoint_id: str) -> DeliveryPosition:
    """Raises InvalidRequest when the text is no cursor, or a cursor of another webhook."""
    try:
        at, delivery_id, fingerprint = _decode(text)
        if fingerprint == _fingerprint([endpoint_id]) and fullmatch(r"\w[\w-]{0,199}", delivery_id):
            return DeliveryPosition(at=_parse_time(at), delivery_id=delivery_id)
    except _UNREADABLE:
        pass
    raise InvalidRequest("cursor is not one that we gave for this list", field="cursor")


def encode_channel_cursor(cursor: ChannelCursor, channel: Channel) -> str:
    """Returns the id of a server-sent event of the channel, from which a stream can resume."""
    latest = list(cursor.last_delivered.items())[-MAX_RUNS_PER_CURSOR:]
    delivered = b"".join(
        DELIVERED.pack(
            bytes.fromhex(run_key),
            last.sequence | (OVER if last.is_over else 0),
            min(ceil((last.at - cursor.watermark) / MILLISECOND), MAX_MILLISECONDS),
        )
        for run_key, last in latest
    )
    values = [cursor.watermark.isoformat(), _channel_fingerprint(channel), b64encode(delivered).decode()]
    return _encode([*values, cursor.read_to.isoformat()] if cursor.read_to else values)


def decode_channel_cursor(text: str, channel: Channel) -> ChannelCursor:
    """Raises InvalidRequest when the text is no cursor, or a cursor of another channel."""
    try:
        time, fingerprint, delivered, *read_to = _decode(text)
        watermark = _parse_time(time)
        last_delivered = {
            run_key.hex(): LastDelivered(
                sequence=sequence & ~OVER, at=watermark + milliseconds * MILLISECOND, is_over=bool(sequence & OVER)
            )
            for run_key, sequence, milliseconds in DELIVERED.iter_unpack(b64decode(delivered, validate=True))
        }
        reached = _parse_time(*read_to) if read_to else None
    except _UNREADABLE:
        raise InvalidRequest("this is no id of an update of a channel", field="starting_after") from None
    if fingerprint != _channel_fingerprint(channel):
        raise InvalidRequest("this is the id of another channel's update", field="starting_after")
    return ChannelCursor(watermark=watermark, last_delivered=last_delivered, read_to=reached)


def _encode(values: Sequence[Any]) -> str:
    return urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(text: str) -> Any:
    padded = text + "=" * (-len(text) % 4)
    return json.loads(urlsafe_b64decode(padded.encode("ascii")))


def _parse_time(text: str) -> datetime:
    """Reads an ISO 8601 time with an offset from UTC. Raises ValueError, also when it is out of bounds."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or not EARLIEST < time < LATEST:
        raise ValueError(text)
    return time


def _list_fingerprint(wanted: RunFilter) -> str:
    return _fingerprint([wanted.user_id, list(wanted.kinds), wanted.status, wanted.job_type, wanted.question_id])


def _channel_fingerprint(channel: Channel) -> str:
    return _fingerprint([channel.name, channel.tenant_id])


def _fingerprint(values: list[Any]) -> str:
    return sha256(json.dumps(values).encode()).hexdigest()[:16]
