"""Stores users, organizations and models as JSON documents in SQLite."""

import json
from collections.abc import Mapping
from typing import Any

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.document_directory import DocumentDirectory


class SqliteDirectory(DocumentDirectory):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, collection: str, document_id: str, document: Mapping[str, Any]) -> None:
        row = (collection, document_id, json.dumps(document))
        await self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO directory VALUES (?, ?, ?)", row)
        )

    async def _collection(self, collection: str) -> Mapping[str, Mapping[str, Any]]:
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT id, document FROM directory WHERE collection = ?", (collection,)
            ).fetchall()
        )
        return {document_id: json.loads(document) for document_id, document in rows}

    async def _delete(self, collection: str, document_id: str) -> None:
        row = (collection, document_id)
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM directory WHERE collection = ? AND id = ?", row)
        )

    async def _document(self, collection: str, document_id: str) -> dict[str, Any] | None:
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT document FROM directory WHERE collection = ? AND id = ?", (collection, document_id)
            ).fetchone()
        )
        return None if row is None else json.loads(row[0])
