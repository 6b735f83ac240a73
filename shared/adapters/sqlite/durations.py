"""Stores sketches of durations as rows."""

import sqlite3

from shared.adapters.sqlite.database import Database
from shared.domain.durations import MAX_JOBS, Durations


class SqliteDurationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, key: str) -> Durations:
        return await self._database.read(lambda connection: _stored(connection, key))

    async def add(self, key: str, durations: Durations) -> None:
        await self._database.write(lambda connection: _add(connection, key, durations))


def _stored(connection: sqlite3.Connection, key: str) -> Durations:
    row = connection.execute("SELECT weights FROM durations WHERE key = ?", (key,)).fetchone()
    return Durations.from_text(row[0]) if row else Durations()


def _add(connection: sqlite3.Connection, key: str, durations: Durations) -> None:
    updated = _stored(connection, key).updated(durations, most=MAX_JOBS)
    connection.execute("INSERT OR REPLACE INTO durations VALUES (?, ?)", (key, updated.to_text()))
