"""Reads users, organizations and models from Firestore documents."""

import re
from collections.abc import Mapping
from typing import Any

from shared.adapters.gcp.bounds import bounded, google_errors_as
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.storage.document_directory import DocumentDirectory
from shared.errors import StoreUnavailable

MAX_ID_BYTES = 1500


class FirestoreDirectory(DocumentDirectory):
    def __init__(self, clients: ClientsByLoop) -> None:
        self._clients = clients

    async def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        async with google_errors_as(StoreUnavailable):
            await (
                self._clients().firestore.collection(collection).document(document_id).set(dict(document), **bounded())
            )

    async def _collection(self, collection: str) -> Mapping[str, Mapping[str, Any]]:
        async with google_errors_as(StoreUnavailable):
            found = self._clients().firestore.collection(collection).stream(**bounded())
            return {snapshot.id: snapshot.to_dict() or {} async for snapshot in found}

    async def _delete(self, collection: str, document_id: str) -> None:
        async with google_errors_as(StoreUnavailable):
            await self._clients().firestore.collection(collection).document(document_id).delete(**bounded())

    async def _document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        if not _is_document_id(document_id):
            return None
        async with google_errors_as(StoreUnavailable):
            snapshot = await self._clients().firestore.collection(collection).document(document_id).get(**bounded())
        found: dict[str, Any] | None = snapshot.to_dict()
        return found


def _is_document_id(name: str) -> bool:
    """Returns True when Firestore allows a document with this id.

    https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
    """
    is_reserved = name in ("", ".", "..") or re.fullmatch(r"__.*__", name, re.DOTALL)
    return not is_reserved and "/" not in name and len(name.encode()) <= MAX_ID_BYTES
