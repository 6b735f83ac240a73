"""Messages that nobody could handle, kept as Firestore documents for people to look at."""

import json
from collections.abc import Mapping
from hashlib import sha256

from google.cloud.firestore import SERVER_TIMESTAMP

from shared.adapters.gcp.bounds import bounded, calling
from shared.adapters.gcp.clients import ClientsByLoop
from shared.errors import StoreUnavailable

MAX_CHARACTERS = 200_000


class FirestoreDeadLetters:
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        letter = {
            "message_id": message_id,
            "source": source,
            "reason": reason,
            "data": data[:MAX_CHARACTERS],
            "attributes": json.dumps(dict(attributes))[:MAX_CHARACTERS],
            "kept_at": SERVER_TIMESTAMP,
        }
        name = sha256(f"{source} {message_id}".encode()).hexdigest()
        async with calling(StoreUnavailable):
            await self._clients().firestore.collection("dead_letters").document(name).set(letter, **bounded())
