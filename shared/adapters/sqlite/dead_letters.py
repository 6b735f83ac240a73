"""Stores messages that could not be handled as rows, so that operators can inspect them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from shared.adapters.sqlite.database import Database
from shared.domain.dead_letter import DeadLetter
from shared.ports import Clock


class SqliteDeadLetters:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def keep(
        self, *, message_id: str, source: str, reason: str, data: str, attributes: Mapping[str, str]
    ) -> None:
        row = (message_id, source, reason, data, json.dumps(dict(attributes)), self._clock.now().timestamp())
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
            )
        )

    async def kept(self, *, after: DeadLetter | None = None, limit: int) -> Sequence[DeadLetter]:
        """They are ordered by source and message id."""
        position = (after.source, after.message_id) if after else ("", "")
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT source, message_id, reason, data, attributes, kept_at FROM dead_letters"
                " WHERE (source, message_id) > (?, ?) ORDER BY source, message_id LIMIT ?",
                (*position, limit),
            ).fetchall()
        )
        return [
            DeadLetter(
                source=source,
                message_id=message_id,
                reason=reason,
                data=data,
                attributes=json.loads(attributes),
                kept_at=datetime.fromtimestamp(kept_at, UTC),
            )
            for source, message_id, reason, data, attributes, kept_at in rows
        ]

    async def remove(self, letter: DeadLetter) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM dead_letters WHERE source = ? AND message_id = ?", (letter.source, letter.message_id)
            )
        )
