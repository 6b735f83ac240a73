"""Stores messages that could not be handled as Firestore documents, so that operators can inspect them.

A message's document is `dead_letters/{hash of its source and id}`: storing the same message twice leaves one document.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from google.cloud.firestore import SERVER_TIMESTAMP, AsyncCollectionReference

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.domain.dead_letter import DeadLetter
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
        async with google_errors_as(StoreUnavailable):
            await self._letters.document(_document_id(source, message_id)).set(letter, **bounded())

    async def kept(self, *, after: DeadLetter | None = None, limit: int) -> Sequence[DeadLetter]:
        """They are ordered by their documents' ids."""
        query = self._letters.order_by("__name__").limit(limit)
        if after is not None:
            query = query.start_after(
                {"__name__": self._letters.document(_document_id(after.source, after.message_id))}
            )
        async with google_errors_as(StoreUnavailable):
            return [_letter(snapshot.to_dict() or {}) for snapshot in await query.get(**bounded())]

    async def get(self, *, source: str, message_id: str) -> DeadLetter | None:
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._letters.document(_document_id(source, message_id)).get(**bounded())
        return _letter(snapshot.to_dict() or {}) if snapshot.exists else None

    async def remove(self, letter: DeadLetter) -> None:
        async with google_errors_as(StoreUnavailable):
            await self._letters.document(_document_id(letter.source, letter.message_id)).delete(**bounded())

    @property
    def _letters(self) -> AsyncCollectionReference:
        return self._clients().firestore.collection("dead_letters")


def _document_id(source: str, message_id: str) -> str:
    return sha256(f"{source} {message_id}".encode()).hexdigest()


def _letter(document: Mapping[str, Any]) -> DeadLetter:
    try:
        attributes = json.loads(document["attributes"])
    except ValueError:  # the text was cut
        attributes = {}
    names = ("source", "message_id", "reason", "data")
    kept_at = datetime.fromtimestamp(document["kept_at"].timestamp(), UTC)
    return DeadLetter(**{name: document[name] for name in names}, attributes=attributes, kept_at=kept_at)
