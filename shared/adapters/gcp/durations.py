"""Stores sketches of durations in a few Firestore documents for each key, so that no document is written often.

Firestore sustains about one write a second to one document. Each call adds to one document, chosen at random, and
reading merges them all. When another instance has written the document since it was read, what was to be added is
dropped: a sketch needs most durations, not each. Firestore's TTL deletes documents that nothing was added to for long.

https://firebase.google.com/docs/firestore/best-practices#updates_to_a_single_document
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import randrange
from typing import Any

from google.api_core.exceptions import AlreadyExists, FailedPrecondition

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.domain.durations import MAX_JOBS, Durations
from shared.errors import StoreUnavailable

COLLECTION = "durations"
DOCUMENTS = 4
"""Documents of one key."""
KEPT_FOR = timedelta(days=90)


class FirestoreDurationStore:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def known(self, key: str) -> Durations:
        known = Durations()
        async with google_errors_as(StoreUnavailable):
            references = [self._document(key, number) for number in range(DOCUMENTS)]
            async for snapshot in self._clients().firestore.get_all(references, **bounded()):
                known = known.merged(_stored(snapshot))
        return known

    async def add(self, key: str, durations: Durations) -> None:
        reference = self._document(key, randrange(DOCUMENTS))
        async with google_errors_as(StoreUnavailable):
            snapshot = await reference.get(**bounded())
            updated = _stored(snapshot).updated(durations, most=MAX_JOBS // DOCUMENTS)
            values = {"key": key, "weights": updated.to_text(), "expires_at": datetime.now(UTC) + KEPT_FOR}
            try:
                await self._write(reference, snapshot, values)
            except (AlreadyExists, FailedPrecondition):
                return  # another instance was first

    async def _write(self, reference: Any, snapshot: Any, values: dict[str, Any]) -> None:
        if not snapshot.exists:
            await reference.create(values, **bounded())
            return
        unchanged = self._clients().firestore.write_option(last_update_time=snapshot.update_time)
        await reference.update(values, option=unchanged, **bounded())

    def _document(self, key: str, number: int) -> Any:
        """Returns a reference. A key may contain characters that a document id must not."""
        name = sha256(key.encode()).hexdigest()[:32]
        return self._clients().firestore.collection(COLLECTION).document(f"{name}-{number}")


def _stored(snapshot: Any) -> Durations:
    return Durations.from_text(snapshot.get("weights")) if snapshot.exists else Durations()
