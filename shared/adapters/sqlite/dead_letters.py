"""Stores messages that could not be handled as rows, so that operators can inspect them."""

import json
from collections.abc import Mapping

from shared.adapters.sqlite.database import Database
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
