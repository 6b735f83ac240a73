"""Delivers the rows of queue and scheduler: a row is leased, delivered, and delivered again until it is acknowledged.

The local broker uses it to call the functions as Pub/Sub and Cloud Tasks do.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from shared.adapters.sqlite.database import Database

DEAD_LETTERS = "dead-letters"


class Message(Struct, frozen=True, kw_only=True):
    """A queue message. `published_at` is in epoch seconds."""

    id: int
    data: str
    attributes: Mapping[str, str]
    published_at: float
    deliveries: int
    """The number of deliveries, including this one."""


class Task(Struct, frozen=True, kw_only=True):
    """A scheduled call. `body` is the JSON of a Recheck or DeliveryTask, or of a Cloud Tasks task in the emulator."""

    name: str
    queue: str
    body: str
    deliveries: int
    """The number of deliveries, including this one."""


class Ended(Struct, frozen=True, kw_only=True):
    """A delivery that has ended. `again_at` is when its row is due again, in epoch seconds; None acknowledges it."""

    row: Message | Task
    again_at: float | None = None


class Leased(Struct, frozen=True, kw_only=True):
    """Leased rows by topic and by queue, and when the next row of each is due, of those that have one."""

    messages: Mapping[str, Sequence[Message]]
    tasks: Mapping[str, Sequence[Task]]
    next_due: Mapping[str, float]


class SqliteDeliveries:
    """Leases the rows that are due. A row that is not acknowledged before its lease ends is due again.

    Times are in epoch seconds, leases in seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exchange(
        self,
        ended: Sequence[Ended],
        *,
        topics: Mapping[str, int],
        queues: Mapping[str, int],
        now: float,
        lease: float,
    ) -> Leased:
        """Records how deliveries have ended, and leases due rows until `now + lease`, all in one commit.

        `topics` and `queues` are {name: how many rows of it to lease at most}. Messages come in order of publishing. A
        task's name stays reserved until `delete_expired_names` deletes it.
        """

        def work(connection: sqlite3.Connection) -> Leased:
            _record(connection, ended)
            due = _next_due(connection, topics, queues)
            messages = {
                topic: _lease_messages(connection, topic, now, lease, limit)
                for topic, limit in topics.items()
                if limit > 0 and due.get(topic, math.inf) <= now
            }
            tasks = {
                queue: _lease_tasks(connection, queue, now, lease, limit)
                for queue, limit in queues.items()
                if limit > 0 and due.get(queue, math.inf) <= now
            }
            if messages or tasks:
                due = _next_due(connection, topics, queues)
            return Leased(messages=messages, tasks=tasks, next_due=due)

        return await self._database.write(work)

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


def _record(connection: sqlite3.Connection, ended: Sequence[Ended]) -> None:
    """Acknowledges rows, or makes them due again. A task that was deleted meanwhile stays deleted."""
    messages = [(each.again_at, each.row.id) for each in ended if isinstance(each.row, Message)]
    tasks = [(each.again_at, each.row.name) for each in ended if isinstance(each.row, Task)]
    again = [row for row in messages if row[0] is not None]
    connection.executemany("UPDATE messages SET deliver_at = ? WHERE id = ?", again)
    connection.executemany("DELETE FROM messages WHERE id = ?", [(key,) for at, key in messages if at is None])
    connection.executemany("UPDATE tasks SET deliver_at = ? WHERE name = ? AND deliver_at IS NOT NULL", tasks)


def _next_due(connection: sqlite3.Connection, topics: Iterable[str], queues: Iterable[str]) -> dict[str, float]:
    """Returns when the next row of each topic and queue is due."""
    # One search of an index for each name: min() over `topic IN (…)` would read all rows.
    searches = ["SELECT ? AS name, min(deliver_at) AS due FROM messages WHERE topic = ?" for _ in topics]
    searches += ["SELECT ?, min(deliver_at) FROM tasks WHERE queue = ? AND deliver_at IS NOT NULL" for _ in queues]
    if not searches:
        return {}
    names = [name for name in (*topics, *queues) for _ in range(2)]
    rows = connection.execute(" UNION ALL ".join(searches), names)
    return {name: due for name, due in rows if due is not None}


def _lease_messages(
    connection: sqlite3.Connection, topic: str, now: float, lease: float, limit: int
) -> Sequence[Message]:
    rows = connection.execute(
        "UPDATE messages SET deliver_at = ?, deliveries = deliveries + 1 WHERE id IN"
        " (SELECT id FROM messages WHERE topic = ? AND deliver_at <= ? ORDER BY deliver_at LIMIT ?)"
        " RETURNING id, data, attributes, published_at, deliveries",
        (now + lease, topic, now, limit),
    ).fetchall()
    return [
        Message(id=key, data=data, attributes=json.loads(attributes), published_at=published_at, deliveries=deliveries)
        for key, data, attributes, published_at, deliveries in sorted(rows)
    ]


def _lease_tasks(connection: sqlite3.Connection, queue: str, now: float, lease: float, limit: int) -> Sequence[Task]:
    rows = connection.execute(
        "UPDATE tasks SET deliver_at = ?, deliveries = deliveries + 1 WHERE name IN"
        " (SELECT name FROM tasks WHERE queue = ? AND deliver_at <= ? ORDER BY deliver_at LIMIT ?)"
        " RETURNING name, body, deliveries",
        (now + lease, queue, now, limit),
    ).fetchall()
    return [Task(name=name, queue=queue, body=body, deliveries=deliveries) for name, body, deliveries in rows]
