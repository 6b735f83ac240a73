"""Stores ended sessions as rows. Ending a session deletes the rows whose cookies have expired."""

from datetime import datetime

from shared.adapters.sqlite.database import Database
from shared.ports import Clock


class SqliteEndedSessions:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def end(self, session_hash: str, *, expires_at: datetime) -> None:
        row, now = (session_hash, expires_at.isoformat()), self._clock.now().isoformat()
        await self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM ended_sessions WHERE expires_at < ?", (now,)),
                connection.execute("INSERT INTO ended_sessions VALUES (?, ?) ON CONFLICT DO NOTHING", row),
            )
        )

    async def has_ended(self, session_hash: str) -> bool:
        query = "SELECT 1 FROM ended_sessions WHERE session_hash = ?"
        row = await self._database.read(lambda connection: connection.execute(query, (session_hash,)).fetchone())
        return row is not None
