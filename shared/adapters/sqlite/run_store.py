"""Runs as JSON documents in SQLite, with the columns that queries need beside them."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.adapters.parts import joined, without_large_input
from shared.adapters.readable import readable
from shared.adapters.sqlite.database import Database
from shared.domain.document import from_document, to_document
from shared.domain.limits import NO_LIMITS, Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run, Status
from shared.errors import RunNotFound, StaleRun
from shared.ports import Channel, IdempotencyRecord, Position, RunFilter

_LATEST = "9999"


class SqliteRunStore:
    def __init__(self, database: Database, *, on_change: Callable[[str], None] = lambda run_id: None) -> None:
        """`on_change` is told the id of each run that this process has changed."""
        self._database = database
        self._on_change = on_change

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        stored, parts = without_large_input(run)
        row = (run.id, *_changing(stored), *_fixed(stored))

        def insert(connection: sqlite3.Connection) -> IdempotencyRecord | None:
            taken = _claim(connection, idempotency, now=run.created_at) if idempotency else None
            if taken is not None and taken.run_id != run.id:
                return taken
            _refuse_above(connection, limits, run)
            marks = ", ".join("?" * (len(row) - 1))
            connection.execute(f"INSERT INTO runs VALUES (?, 1, {marks}) ON CONFLICT DO NOTHING", row)
            connection.executemany(
                "INSERT INTO run_parts VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(run.id, number, part) for number, part in enumerate(parts)],
            )
            return None

        taken = await self._database.write(insert)
        self._on_change(run.id)
        return taken

    async def get(self, run_id: str) -> Run:
        row = await self._database.read(
            lambda connection: connection.execute(
                "SELECT document, revision FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
        )
        if row is None:
            raise RunNotFound
        return _run(row)

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT text FROM run_parts WHERE run_id = ? ORDER BY number", (run.id,)
            ).fetchall()
        )
        content: Mapping[str, Any] = joined([text for (text,) in rows])
        return content

    async def save(self, run: Run) -> Run:
        revision = run.revision + 1
        row = (revision, *_changing(run), run.id, run.revision)

        def update(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "UPDATE runs SET revision = ?, document = ?, status = ?, due_at = ?, updated_at = ?"
                " WHERE id = ? AND revision = ?",
                row,
            ).rowcount

        if await self._database.write(update) == 0:
            raise StaleRun
        self._on_change(run.id)
        return replace(run, revision=revision)

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: Position | None = None
    ) -> Sequence[Run]:
        where, values = _where(wanted)
        if after is not None:
            where += " AND (created_at, id) < (?, ?)"
            values += [after.created_at.isoformat(), after.run_id]
        query = f"SELECT document, revision FROM runs WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"
        rows = await self._database.read(
            lambda connection: connection.execute(query, [*values, limit, offset]).fetchall()
        )
        return list(readable(rows, _run))

    async def count_runs(self, wanted: RunFilter) -> int:
        where, values = _where(wanted)
        row = await self._database.read(
            lambda connection: connection.execute(f"SELECT count(*) FROM runs WHERE {where}", values).fetchone()
        )
        return int(row[0])

    async def due_runs(
        self, shard: int, *, before: datetime | None = None, after: Run | None = None, limit: int
    ) -> Sequence[Run]:
        latest = before.isoformat() if before else _LATEST
        behind = (after.due_at.isoformat(), after.id) if after and after.due_at else ("", "")
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT document, revision FROM runs WHERE shard = ? AND due_at <= ? AND (due_at, id) > (?, ?)"
                " ORDER BY due_at, id LIMIT ?",
                (shard, latest, *behind, limit),
            ).fetchall()
        )
        return list(readable(rows, _run))

    async def changed_runs(self, channel: Channel, *, since: datetime, limit: int) -> Sequence[Run]:
        rows = await self._database.read(
            lambda connection: connection.execute(
                "SELECT document, revision FROM runs WHERE channel = ? AND updated_at >= ?"
                " AND tenant_id = coalesce(?, tenant_id) ORDER BY updated_at, id LIMIT ?",
                (channel.name, since.isoformat(), channel.tenant_id, limit),
            ).fetchall()
        )
        return list(readable(rows, _run))


def _changing(run: Run) -> tuple[Any, ...]:
    """The columns that a save may change, in the table's order."""
    document = json.dumps(to_document(run), default=datetime.isoformat)
    return (document, run.status, run.due_at.isoformat() if run.due_at else None, run.updated_at.isoformat())


def _fixed(run: Run) -> tuple[Any, ...]:
    """The columns that stay as they were created."""
    whose = (run.user_id, run.tenant_id, run.kind, run.job_type, run.question_id)
    return (*whose, run.channel, run.shard, run.created_at.isoformat())


def _claim(connection: sqlite3.Connection, wanted: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord | None:
    """Takes the key for the run, unless a living record has it: that record."""
    row = connection.execute(
        "SELECT body_hash, run_id, expires_at, (SELECT status FROM runs WHERE id = run_id) FROM idempotency"
        " WHERE key_hash = ?",
        (wanted.key_hash,),
    ).fetchone()
    if row is not None:
        body_hash, run_id, expires_at, status = row
        expires = datetime.fromisoformat(expires_at)
        if expires > now and status != Status.FAILED:
            return IdempotencyRecord(key_hash=wanted.key_hash, body_hash=body_hash, run_id=run_id, expires_at=expires)
    connection.execute(
        "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)",
        (wanted.key_hash, wanted.body_hash, wanted.run_id, wanted.expires_at.isoformat()),
    )
    return None


def _refuse_above(connection: sqlite3.Connection, limits: Limits, run: Run) -> None:
    """Inside the one writing transaction, so that nobody can come in between."""
    if limits.submits_a_minute is not None:
        since = minute_of(run.created_at).isoformat()
        query = "SELECT count(*) FROM runs WHERE user_id = ? AND created_at >= ? AND id != ?"
        if connection.execute(query, (run.user_id, since, run.id)).fetchone()[0] >= limits.submits_a_minute:
            raise too_many_submits(limits.submits_a_minute, run.created_at)
    if limits.open_runs is not None:
        query = "SELECT count(*) FROM runs WHERE tenant_id = ? AND status IN ('pending', 'processing') AND id != ?"
        if connection.execute(query, (run.tenant_id, run.id)).fetchone()[0] >= limits.open_runs:
            raise too_many_open_runs(limits.open_runs)


def _run(row: tuple[str, int]) -> Run:
    return from_document(json.loads(row[0]), revision=row[1])


def _where(wanted: RunFilter) -> tuple[str, list[Any]]:
    """Conditions and their values; column names are ours, never the caller's."""
    conditions = ["user_id = ?", f"kind IN ({', '.join('?' * len(wanted.kinds))})"]
    values: list[Any] = [wanted.user_id, *wanted.kinds]
    for name in ("status", "job_type", "question_id"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f"{name} = ?")
            values.append(value)
    return " AND ".join(conditions), values
