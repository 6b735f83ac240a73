"""Stores idempotency keys as Firestore documents, `idempotency_keys/{key hash}`, each with the run that holds it."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.async_batch import AsyncWriteBatch
from msgspec.structs import asdict

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.domain.idempotency import IdempotencyRecord
from shared.errors import StoreUnavailable

KEYS = "idempotency_keys"


class IdempotencyKey:
    """The key of one new run. The commit that creates the run also acquires the key."""

    def __init__(
        self, firestore: AsyncClient, record: IdempotencyRecord, *, has_failed: Callable[[str], Awaitable[bool]]
    ) -> None:
        """`record` is what to store. `has_failed(run id)` tells whether that run failed or does not exist."""
        self._firestore = firestore
        self._record = record
        self._has_failed = has_failed
        self._reference = firestore.collection(KEYS).document(record.key_hash)
        self._stored_at: Any = None
        """The update time of the stored record; None while no record is known."""
        self.is_busy = False
        """True when the stored record changed between the last two reads: other requests use the same key now."""

    def acquire_in(self, batch: AsyncWriteBatch) -> None:
        """Adds a write that makes the commit fail when somebody else has written the key since it was read."""
        if self._stored_at is None:
            batch.create(self._reference, asdict(self._record))
        else:
            option = self._firestore.write_option(last_update_time=self._stored_at)
            batch.update(self._reference, asdict(self._record), option=option)

    async def find_holder(self, *, now: datetime) -> IdempotencyRecord | None:
        """Reads the key and returns the record of the run that holds it.

        Returns None when the key is available: it has no record, the record has expired, or its run has failed.
        """
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._reference.get(**bounded())
        stored_at = snapshot.update_time if snapshot.exists else None
        self.is_busy = stored_at != self._stored_at
        self._stored_at = stored_at
        if not snapshot.exists:
            return None
        holder = IdempotencyRecord(**(snapshot.to_dict() or {}))
        is_available = holder.expires_at <= now or await self._has_failed(holder.run_id)
        return None if is_available else holder
