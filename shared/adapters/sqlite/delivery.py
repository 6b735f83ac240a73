"""Delivers the rows of queue and scheduler: a row is leased, delivered, and delivered again until it is acknowledged.

The local broker uses it to call the functions as Pub/Sub and Cloud Tasks do.
"""

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.adapters.sqlite.database import Database

DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A queue message. `published_at` is in epoch seconds."""

    id: int
    data: str
    attributes: Mapping[str, str]
    published_at: float
    deliveries: int
    """The number of deliveries, including this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A scheduled call. `body` is the JSON of a Recheck or DeliveryTask, or of a Cloud Tasks task in the emulator."""

    name: str
    queue: str
    body: str
    deliveries: int
    """The number of deliveries, including this one."""


class SqliteDeliveries:
    """Leases the rows that are due. A row that is not acknowledged before its lease ends is due again.

    Times are in epoch seconds, leases in seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lease_messages(self, topic: str, *, now: float, lease: float, limit: int) -> Sequence[Message]:
        """Leases at most `limit` messages of the topic until `now + lease`, and returns them in order of publishing."""
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

    async def lease_tasks(self, queue: str, *, now: float, lease: float, limit: int) -> Sequence[Task]:
        """Leases at most `limit` tasks of the queue until `now + lease` and returns them."""
        rows = await self._database.write(
            lambda connection: connection.execute(
                "UPDATE tasks SET deliver_at = ?, deliveries = deliveries + 1 WHERE name IN"
                " (SELECT name FROM tasks WHERE queue = ? AND deliver_at <= ? ORDER BY deliver_at LIMIT ?)"
                " RETURNING name, body, deliveries",
                (now + lease, queue, now, limit),
            ).fetchall()
        )
        return [Task(name=name, queue=queue, body=body, deliveries=deliveries) for name, body, deliveries in rows]

    async def next_due(self, topics: Collection[str], queues: Collection[str]) -> float | None:
        """Returns when the next message of the topics or task of the queues is due; None when there is none."""
        # One search of an index for each name: min() over `topic IN (…)` would read all rows.
        searches = ["SELECT min(deliver_at) AS due FROM messages WHERE topic = ?"] * len(topics)
        searches += ["SELECT min(deliver_at) AS due FROM tasks WHERE queue = ? AND deliver_at IS NOT NULL"] * len(
            queues
        )
        if not searches:
            return None
        query = f"SELECT min(due) FROM ({' UNION ALL '.join(searches)})"
        row = await self._database.read(lambda connection: connection.execute(query, [*topics, *queues]).fetchone())
        due: float | None = row[0]
        return due

    async def acknowledge(self, delivered: Sequence[Message | Task]) -> None:
        """Ends the delivery of these rows. A task's name stays reserved until `delete_expired_names` deletes it."""
        messages = [(item.id,) for item in delivered if isinstance(item, Message)]
        tasks = [(item.name,) for item in delivered if isinstance(item, Task)]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM messages WHERE id = ?", messages)
            connection.executemany("UPDATE tasks SET deliver_at = NULL WHERE name = ?", tasks)

        await self._database.write(remove)

    async def retry_message(self, message: Message, *, at: float) -> None:
        """Makes the message due again at this time."""
        await self._execute("UPDATE messages SET deliver_at = ? WHERE id = ?", at, message.id)

    async def retry_task(self, task: Task, *, at: float) -> None:
        """Makes the task due again at this time."""
        await self._execute("UPDATE tasks SET deliver_at = ? WHERE name = ?", at, task.name)

    async def move_to_dead_letters(self, message: Message, *, now: float, attributes: Mapping[str, str]) -> None:
        """Moves the message to the topic of dead letters, where it is due at once; adds `attributes` to its own."""
        await self._execute(
            "UPDATE messages SET topic = ?, attributes = ?, deliver_at = ?, deliveries = 0 WHERE id = ?",
            DEAD_LETTERS,
            json.dumps({**message.attributes, **attributes}),
            now,
            message.id,
        )

    async def release_leases(self, *, now: float) -> None:
        """Makes all leased rows due at once, because the process that leased them has ended."""

        def release(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE messages SET deliver_at = ? WHERE deliveries > 0 AND deliver_at > ?", (now, now))
            connection.execute("UPDATE tasks SET deliver_at = ? WHERE deliveries > 0 AND deliver_at > ?", (now, now))

        await self._database.write(release)

    async def delete_expired_names(self, *, now: float) -> None:
        """Deletes acknowledged tasks whose names are no longer reserved."""
        await self._execute("DELETE FROM tasks WHERE deliver_at IS NULL AND forget_at <= ?", now)

    async def _execute(self, statement: str, *values: Any) -> None:
        await self._database.write(lambda connection: connection.execute(statement, values))
