"""Defines what is stored of a client's idempotency key."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """Tells which run a client's idempotency key belongs to. It has hashes only; the key itself is not stored."""

    key_hash: str
    body_hash: str
    run_id: str
    expires_at: datetime
