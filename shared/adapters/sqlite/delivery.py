"""What the queue and the re-check scheduler share: rows that are leased, delivered, and delivered again until done.

The delivering side is the local host's, which speaks to the functions as Pub/Sub and Cloud Tasks do.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.adapters.sqlite.database import Database

DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: int
    data: str
    attributes: Mapping[str, str]
    published_at: float
    deliveries: int
    """This one counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    name: str
    body: str
    deliveries: int


class SqliteDeliveries:
    """Leases rows that are due: a row whose lease ends without `done` is delivered again. Times in epoch seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease_messages(self, topic: str, *, now: float, lease: float, limit: int) -> Sequence[Message]:
        rows = await self._database.write(
            lambda connection: connection.execute(
                "UPDATE messages SET deliver_at = ?, deliveries = deliveries + 1 WHERE id IN"
                " (SELECT id FROM messages WHERE topic = ? AND deliver_at <= ? ORDER BY deliver_at LIMIT ?)"
                " RETURNING id, data, attributes, published_at, deliveries",
                (now + lease, topic, now, limit),
            ).fetchall()
        )
        return [
            Message(
                id=key, data=data, attributes=json.loads(attributes), published_at=published_at, deliveries=deliveries
            )
            for key, data, attributes, published_at, deliveries in sorted(rows)
        ]

    async def lease_tasks(self, *, now: float, lease: float, limit: int) -> Sequence[Task]:
        rows = await self._database.write(
            lambda connection: connection.execute(
                "UPDATE tasks SET deliver_at = ?, deliveries = deliveries + 1 WHERE name IN"
                " (SELECT name FROM tasks WHERE deliver_at <= ? ORDER BY deliver_at LIMIT ?)"
                " RETURNING name, body, deliveries",
                (now + lease, now, limit),
            ).fetchall()
        )
        return [Task(name=name, body=body, deliveries=deliveries) for name, body, deliveries in rows]

    async def next_due(self, topics: Sequence[str]) -> float | None:
        """When the next message or task wants delivery; None when there is none."""
        marks = ", ".join("?" * len(topics))
        row = await self._database.read(
            lambda connection: connection.execute(
                f"SELECT min(due) FROM (SELECT min(deliver_at) AS due FROM messages WHERE topic IN ({marks})"
                " UNION ALL SELECT min(deliver_at) FROM tasks WHERE deliver_at IS NOT NULL)",
                list(topics),
            ).fetchone()
        )
        due: float | None = row[0]
        return due

    async def done(self, delivered: Sequence[Message | Task]) -> None:
        """Acknowledged. A task's name stays taken until it is forgotten."""
        messages = [(item.id,) for item in delivered if isinstance(item, Message)]
        tasks = [(item.name,) for item in delivered if isinstance(item, Task)]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM messages WHERE id = ?", messages)
            connection.executemany("UPDATE tasks SET deliver_at = NULL WHERE name = ?", tasks)

        await self._database.write(remove)

    async def message_again(self, message: Message, *, at: float) -> None:
        await self._do("UPDATE messages SET deliver_at = ? WHERE id = ?", at, message.id)

    async def message_dead(self, message: Message, *, now: float, attributes: Mapping[str, str]) -> None:
        """Moves it to the dead-letter topic, told where it comes from."""
        await self._do(
            "UPDATE messages SET topic = ?, attributes = ?, deliver_at = ?, deliveries = 0 WHERE id = ?",
            DEAD_LETTERS,
            json.dumps({**message.attributes, **attributes}),
            now,
            message.id,
        )

    async def task_again(self, task: Task, *, at: float) -> None:
        await self._do("UPDATE tasks SET deliver_at = ? WHERE name = ?", at, task.name)

    async def release_all(self, *, now: float) -> None:
        """The process that held the leases is gone: what it had in hand is due at once."""

        def release(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE messages SET deliver_at = ? WHERE deliveries > 0 AND deliver_at > ?", (now, now))
            connection.execute("UPDATE tasks SET deliver_at = ? WHERE deliveries > 0 AND deliver_at > ?", (now, now))

        await self._database.write(release)

    async def forget_names(self, *, now: float) -> None:
        await self._do("DELETE FROM tasks WHERE deliver_at IS NULL AND forget_at <= ?", now)

    async def _do(self, statement: str, *values: Any) -> None:
        await self._database.write(lambda connection: connection.execute(statement, values))
