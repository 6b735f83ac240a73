"""Stores messages that could not be handled as Firestore documents, so that operators can inspect them.

A message's document is `dead_letters/{hash of its source and id}`: storing the same message twice leaves one document.
"""

import json
from collections.abc import Mapping
from hashlib import sha256

from google.cloud.firestore import SERVER_TIMESTAMP

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.errors import StoreUnavailable

MAX_FIELD_CHARACTERS = 200_000
"""A character of `data` takes four bytes at most, one of `attributes` (ASCII) takes one: together they stay below
Firestore's limit of 1 MiB for a document.
"""


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
            "data": data[:MAX_FIELD_CHARACTERS],
            "attributes": json.dumps(dict(attributes))[:MAX_FIELD_CHARACTERS],
            "kept_at": SERVER_TIMESTAMP,
        }
        document_id = sha256(f"{source} {message_id}".encode()).hexdigest()
        async with google_errors_as(StoreUnavailable):
            await self._clients().firestore.collection("dead_letters").document(document_id).set(letter, **bounded())
