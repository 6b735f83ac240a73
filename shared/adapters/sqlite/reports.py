"""Reads the runs of a tenant or user by the time of their acceptance, and how full the tenant's limits are."""

from datetime import date, datetime
from typing import Any

from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.usage import read_balance
from shared.adapters.storage.readable import readable_runs
from shared.adapters.storage.run_document import from_json
from shared.domain.budget import Balance
from shared.domain.status import Kind
from shared.ports import Accepted, RunPage, RunPosition

_DOCUMENT = "json_set(document, '$.input', json('{}'), '$.result', NULL, '$.events', json('[]'))"
"""The document without what users and LLMs wrote."""


class SqliteRunReports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def accepted(self, wanted: Accepted, *, after: RunPosition | None = None, limit: int) -> RunPage:
        where = "created_at >= ? AND created_at < ? AND status = coalesce(?, status)"
        values: list[Any] = [wanted.since.isoformat(), wanted.until.isoformat(), wanted.status]
        if after is not None:
            where += " AND (created_at, id) < (?, ?)"
            values += [after.at.isoformat(), after.run_id]
        starts: list[tuple[str, list[Any]]] = [("tenant_id = ?", [wanted.tenant_id])]
        if wanted.user_id is not None:  # the index of a user's runs begins with the kind; SQLite merges the kinds
            starts = [("user_id = ? AND kind = ?", [wanted.user_id, kind]) for kind in Kind]
        select = f"SELECT {_DOCUMENT}, revision, created_at, id FROM runs WHERE"
        query = " UNION ALL ".join(f"{select} {start} AND {where}" for start, _ in starts)
        query += " ORDER BY created_at DESC, id DESC LIMIT ?"
        values = [value for _, own in starts for value in (*own, *values)]
        rows = await self._database.read(lambda connection: connection.execute(query, [*values, limit]).fetchall())
        runs = list(readable_runs(rows, lambda row: from_json(row[0], revision=row[1])))
        positions = [RunPosition(at=datetime.fromisoformat(at), run_id=run_id) for _, _, at, run_id in rows]
        return RunPage(runs=runs, positions=positions)

    async def count_open(self, tenant_id: str) -> int:
        query = "SELECT count(*) FROM runs WHERE tenant_id = ? AND status IN ('pending', 'processing')"
        row = await self._database.read(lambda connection: connection.execute(query, (tenant_id,)).fetchone())
        return int(row[0])

    async def balances(self, tenant_id: str, day: date) -> tuple[Balance, Balance]:
        periods = (f"{day:%Y-%m-%d}", f"{day:%Y-%m}")
        of_day, of_month = await self._database.read(
            lambda connection: [read_balance(connection, tenant_id, period) for period in periods]
        )
        return of_day, of_month
