"""Opaque cursors: a position in a list, tied to the filters that it came with, or in a channel."""

import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil
from struct import Struct
from struct import error as StructError
from typing import Any

from shared.domain.channel import RESUMABLE_FOR, Channel, ChannelCursor, LastDelivered
from shared.domain.fields import read_uuid
from shared.error_codes import ErrorCode
from shared.errors import InvalidRequest
from shared.ports import ListCursor, RunFilter

MAX_RUNS_PER_ID = 250
AHEAD_ENTRY = Struct(">6sII")
"""Of a run: the end of its id, its last event's sequence, and that one's time in milliseconds."""
MILLISECOND = timedelta(milliseconds=1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError, StructError, OverflowError, InvalidRequest)


def encode_list_cursor(position: ListCursor, wanted: RunFilter) -> str:
    """It survives inserts, for it names a place and not a number."""
    return _encoded([position.created_at.isoformat(), position.run_id, _fingerprint(_of_list(wanted))])


def decode_list_cursor(cursor: str, wanted: RunFilter) -> ListCursor:
    try:
        created_at, run_id, fingerprint = _decoded(cursor)
        position = ListCursor(created_at=_moment(created_at), run_id=read_uuid("cursor", run_id))
    except _UNREADABLE:
        raise InvalidRequest("cursor is not one that we gave", field="cursor") from None
    if fingerprint != _fingerprint(_of_list(wanted)):
        raise InvalidRequest("cursor belongs to other filters than these", field="cursor")
    return position


def encode_channel_cursor(cursor: ChannelCursor, channel: Channel) -> str:
    """The id of a channel's update, with the latest runs only: a header holds some kilobytes."""
    latest = list(cursor.ahead.items())[-MAX_RUNS_PER_ID:]
    ahead = b"".join(
        AHEAD_ENTRY.pack(bytes.fromhex(name), given.sequence, ceil((given.at - cursor.before) / MILLISECOND))
        for name, given in latest
    )
    return _encoded([cursor.before.isoformat(), _fingerprint(_of_channel(channel)), b64encode(ahead).decode()])


def decode_channel_cursor(text: str, channel: Channel, *, now: datetime) -> ChannelCursor:
    """Raises InvalidRequest, also for one of too long ago: a list tells more cheaply what has happened since."""
    try:
        moment, fingerprint, ahead = _decoded(text)
        before = _moment(moment)
        given = {
            name.hex(): LastDelivered(sequence=sequence, at=before + later * MILLISECOND)
            for name, sequence, later in AHEAD_ENTRY.iter_unpack(b64decode(ahead, validate=True))
        }
    except _UNREADABLE:
        raise InvalidRequest("this is no id of an update of a channel", field="starting_after") from None
    if fingerprint != _fingerprint(_of_channel(channel)):
        raise InvalidRequest("this is the id of another channel's update", field="starting_after")
    if now - before > RESUMABLE_FOR:
        raise InvalidRequest(
            "this update is too long ago to go on from; list the runs and connect without it",
            field="starting_after",
            code=ErrorCode.UPDATE_TOO_OLD,
        )
    return ChannelCursor(before=before, ahead=given)


def _encoded(values: Sequence[Any]) -> str:
    return urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


def _decoded(text: str) -> Any:
    padded = text + "=" * (-len(text) % 4)
    return json.loads(urlsafe_b64decode(padded.encode("ascii")))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or not EARLIEST < moment < LATEST:
        raise ValueError(text)
    return moment


def _of_list(wanted: RunFilter) -> list[Any]:
    return [wanted.user_id, list(wanted.kinds), wanted.status, wanted.job_type, wanted.question_id]


def _of_channel(channel: Channel) -> list[Any]:
    return [channel.name, channel.tenant_id]


def _fingerprint(of: list[Any]) -> str:
    return sha256(json.dumps(of).encode()).hexdigest()[:16]
