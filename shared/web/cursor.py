"""The opaque cursor of lists: a place in the order, tied to the filters that it came with."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hashlib import sha256

from shared.domain.fields import read_uuid
from shared.errors import InvalidRequest
from shared.ports import Position, RunFilter


def make_cursor(position: Position, wanted: RunFilter) -> str:
    """It survives inserts, for it names a place and not a number."""
    place = [position.created_at.isoformat(), position.run_id, _fingerprint(wanted)]
    return urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str, wanted: RunFilter) -> Position:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, run_id, fingerprint = json.loads(urlsafe_b64decode(padded.encode("ascii")))
        position = Position(created_at=datetime.fromisoformat(created_at), run_id=read_uuid("cursor", run_id))
        position.created_at.astimezone()
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InvalidRequest("cursor is not one that we gave", field="cursor") from None
    if position.created_at.tzinfo is None:
        raise InvalidRequest("cursor is not one that we gave", field="cursor")
    if fingerprint != _fingerprint(wanted):
        raise InvalidRequest("cursor belongs to other filters than these", field="cursor")
    return position


def _fingerprint(wanted: RunFilter) -> str:
    parts = [wanted.user_id, list(wanted.kinds), wanted.status, wanted.job_type, wanted.question_id]
    return sha256(json.dumps(parts).encode()).hexdigest()[:16]
