"""Stores messages that could not be handled as rows, so that operators can inspect them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.adapters.sqlite.database import Database
from shared.domain.dead_letter import DeadLetter
from shared.ports import Clock

_SELECT = "SELECT source, message_id, reason, data, attributes, kept_at FROM dead_letters"


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
                f"{_SELECT} WHERE (source, message_id) > (?, ?) ORDER BY source, message_id LIMIT ?",
                (*position, limit),
            ).fetchall()
        )
        return [_letter(row) for row in rows]

    async def get(self, *, source: str, message_id: str) -> DeadLetter | None:
        query, values = f"{_SELECT} WHERE source = ? AND message_id = ?", (source, message_id)
        row = await self._database.read(lambda connection: connection.execute(query, values).fetchone())
        return _letter(row) if row else None

    async def remove(self, letter: DeadLetter) -> None:
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM dead_letters WHERE source = ? AND message_id = ?", (letter.source, letter.message_id)
            )
        )


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    source, message_id, reason, data, attributes, kept_at = row
    return DeadLetter(
        source=source,
        message_id=message_id,
        reason=reason,
        data=data,
        attributes=json.loads(attributes),
        kept_at=datetime.fromtimestamp(kept_at, UTC),
    )
