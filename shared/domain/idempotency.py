"""Defines what is stored of a client's idempotency key."""

from datetime import datetime

from msgspec import Struct


class IdempotencyRecord(Struct, frozen=True, kw_only=True):
    """Tells which run a client's idempotency key belongs to. It has hashes only; the key itself is not stored."""

    key_hash: str
    body_hash: str
    run_id: str
    expires_at: datetime
