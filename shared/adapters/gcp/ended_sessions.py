"""Stores ended sessions as Firestore documents. Firestore's TTL deletes them after their cookies have expired."""

from datetime import datetime

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.errors import StoreUnavailable

COLLECTION = "ended_sessions"


class FirestoreEndedSessions:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def end(self, session_hash: str, *, expires_at: datetime) -> None:
        async with google_errors_as(StoreUnavailable):
            document = self._clients().firestore.collection(COLLECTION).document(session_hash)
            await document.set({"expires_at": expires_at}, **bounded())

    async def has_ended(self, session_hash: str) -> bool:
        async with google_errors_as(StoreUnavailable):
            document = self._clients().firestore.collection(COLLECTION).document(session_hash)
            snapshot = await document.get(**bounded())
        return bool(snapshot.exists)
