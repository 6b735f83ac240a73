"""Stores endpoints and deliveries of webhooks as JSON documents in SQLite."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.webhook_documents import from_webhook_document, to_webhook_document
from shared.domain.frozen import replace
from shared.domain.webhook import OrganizationWebhooks
from shared.domain.webhook_delivery import Delivery
from shared.ports import DeliveryPosition

_ORGANIZATION = "SELECT document FROM webhooks WHERE organization_id = ?"
_BEFORE_ALL = ("9999", "")
"""Is greater than every (time, id) of a delivery."""


class SqliteWebhookStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def organization(self, organization_id: str) -> OrganizationWebhooks:
        return _read_organization(organization_id, await self._database.look_up(_ORGANIZATION, organization_id))

    async def change(
        self, organization_id: str, change: Callable[[OrganizationWebhooks], OrganizationWebhooks]
    ) -> OrganizationWebhooks:
        def update(connection: sqlite3.Connection) -> OrganizationWebhooks:
            current = _read_organization(
                organization_id, connection.execute(_ORGANIZATION, (organization_id,)).fetchone()
            )
            changed = change(current)
            if changed != current:
                row = (organization_id, _text(changed))
                connection.execute("INSERT OR REPLACE INTO webhooks VALUES (?, ?)", row)
            return changed

        return await self._database.write(update)

    async def add(self, delivery: Delivery) -> None:
        await self._database.write(lambda connection: put_deliveries(connection, [delivery]))

    async def delivery(self, delivery_id: str) -> Delivery | None:
        found = await self._select("WHERE id = ?", delivery_id)
        return found[0] if found else None

    async def save(self, delivery: Delivery) -> Delivery | None:
        revision = delivery.revision + 1
        row = (revision, _text(delivery), _time(delivery.due_at), delivery.id, delivery.revision)
        statement = "UPDATE webhook_deliveries SET revision = ?, document = ?, due_at = ? WHERE id = ? AND revision = ?"
        updated = await self._database.write(lambda connection: connection.execute(statement, row).rowcount)
        return replace(delivery, revision=revision) if updated else None

    async def chain(self, delivery: Delivery) -> Sequence[Delivery]:
        return await self._select("WHERE chain = ? ORDER BY sequence", delivery.chain)

    async def due(self, shards: Sequence[int], *, before: datetime, limit: int) -> Sequence[Delivery]:
        of_shard = "SELECT due_at, id FROM webhook_deliveries WHERE due_at IS NOT NULL AND shard = ? AND due_at <= ?"
        page = " UNION ALL ".join([of_shard] * len(shards))  # SQLite merges them in the order of their index
        where = f"WHERE id IN (SELECT id FROM ({page} ORDER BY due_at, id LIMIT ?))"
        values = [value for shard in shards for value in (shard, before.isoformat())]
        found = await self._select(where, *values, limit)
        return sorted(found, key=lambda one: (one.due_at or one.at, one.id))

    async def page(
        self, organization_id: str, endpoint_id: str, *, limit: int, after: DeliveryPosition | None = None
    ) -> Sequence[Delivery]:
        position = (after.at.isoformat(), after.delivery_id) if after else _BEFORE_ALL
        where = "WHERE organization_id = ? AND endpoint_id = ? AND (at, id) < (?, ?) ORDER BY at DESC, id DESC LIMIT ?"
        return await self._select(where, organization_id, endpoint_id, *position, limit)

    async def of_run(self, run_id: str) -> Sequence[Delivery]:
        return await self._select("WHERE run_id = ?", run_id)

    async def forget_run(self, run_id: str) -> None:
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM webhook_deliveries WHERE run_id = ?", (run_id,))
        )

    async def _select(self, where: str, *values: Any) -> Sequence[Delivery]:
        """`where` never contains text of a caller."""
        query = f"SELECT document, revision FROM webhook_deliveries {where}"
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        return [from_webhook_document(Delivery, json.loads(text), revision=revision) for text, revision in rows]


def put_deliveries(connection: sqlite3.Connection, deliveries: Sequence[Delivery]) -> None:
    """Stores new deliveries, of which most runs have none; one that is there stays as it is."""
    if not deliveries:
        return
    rows = [
        (
            delivery.id,
            1,
            _text(delivery),
            delivery.organization_id,
            delivery.endpoint_id,
            delivery.run_id,
            delivery.chain,
            delivery.sequence,
            delivery.at.isoformat(),
            delivery.shard,
            _time(delivery.due_at),
            delivery.expires_at.isoformat(),
        )
        for delivery in deliveries
    ]
    placeholders = ", ".join("?" * 12)
    connection.executemany(f"INSERT INTO webhook_deliveries VALUES ({placeholders}) ON CONFLICT DO NOTHING", rows)


def forget_expired_deliveries(connection: sqlite3.Connection, now: datetime) -> None:
    connection.execute("DELETE FROM webhook_deliveries WHERE expires_at <= ?", (now.isoformat(),))


def _read_organization(organization_id: str, row: tuple[Any, ...] | None) -> OrganizationWebhooks:
    if row is None:
        return OrganizationWebhooks(organization_id=organization_id)
    return from_webhook_document(OrganizationWebhooks, json.loads(row[0]), revision=None)


def _text(record: OrganizationWebhooks | Delivery) -> str:
    return json.dumps(to_webhook_document(record), default=datetime.isoformat)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
