"""Runs as JSON documents in SQLite, with the columns that queries need beside them."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from shared.adapters.sqlite.database import Database
from shared.adapters.storage.parts import INPUT, RESULT, joined, parts_wanted, take_large_result, without_large_input
from shared.adapters.storage.readable import readable
from shared.adapters.storage.run_document import from_document, to_document
from shared.domain.channel import Channel
from shared.domain.limits import NO_LIMITS, Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run, Status
from shared.errors import RunNotFound, StaleRun
from shared.ports import IdempotencyRecord, ListCursor, RunFilter

_LATEST = "9999"
_OPEN = "('pending', 'processing')"
_TERMINAL = "('completed', 'failed', 'cancelled')"
"""Word for word as in the partial indexes, which are not used otherwise."""
Reading = Callable[[sqlite3.Connection, tuple[str, int]], Run]
"""How a run is read from its row: (document, revision)."""


class SqliteRunStore:
    def __init__(self, database: Database, *, on_change: Callable[[str], None] = lambda run_id: None) -> None:
        """`on_change` is told the id of each run that this process has changed."""
        self._database = database
        self._on_change = on_change

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        stored, parts = without_large_input(run)
        changing, result_parts = _changing(stored)
        row = (run.id, *changing, *_fixed(stored))

        def insert(connection: sqlite3.Connection) -> IdempotencyRecord | None:
            taken = _claim(connection, idempotency, now=run.created_at) if idempotency else None
            if taken is not None and taken.run_id != run.id:
                return taken
            _refuse_above(connection, limits, run)
            marks = ", ".join("?" * (len(row) - 1))
            connection.execute(f"INSERT INTO runs VALUES (?, 1, {marks}) ON CONFLICT DO NOTHING", row)
            _put_parts(connection, run.id, INPUT, parts)
            _put_parts(connection, run.id, RESULT, result_parts)
            return None

        taken = await self._database.write(insert)
        self._on_change(run.id)
        return taken

    async def get(self, run_id: str, *, with_result: bool = True) -> Run:
        found = await self._runs("WHERE id = ?", [run_id], reading=_needed if with_result else _without_large_result)
        if not found:
            raise RunNotFound
        return found[0]

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input

        def read(connection: sqlite3.Connection) -> Mapping[str, Any]:
            with parts_wanted():
                content: Mapping[str, Any] = _parts(connection, run.id, INPUT)
                return content

        return await self._database.read(read)

    async def save(self, run: Run) -> Run:
        return await self._save(run, lambda connection: None)

    async def erase(self, run: Run) -> Run:
        return await self._save(
            run, lambda connection: connection.execute("DELETE FROM run_parts WHERE run_id = ?", (run.id,))
        )

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        def delete(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM idempotency WHERE expires_at <= ?", (now.isoformat(),))
            return connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE expires_at <= ? LIMIT ?)",
                (now.isoformat(), limit),
            ).rowcount

        return await self._database.write(delete)

    async def _save(self, run: Run, also: Callable[[sqlite3.Connection], Any]) -> Run:
        revision = run.revision + 1
        changing, result_parts = _changing(run)
        row = (revision, *changing, run.id, run.revision)

        def update(connection: sqlite3.Connection) -> int:
            updated = connection.execute(
                "UPDATE runs SET revision = ?, document = ?, status = ?, due_at = ?, updated_at = ?"
                " WHERE id = ? AND revision = ?",
                row,
            ).rowcount
            if updated:
                _put_parts(connection, run.id, RESULT, result_parts)
                also(connection)
            return updated

        if await self._database.write(update) == 0:
            raise StaleRun
        self._on_change(run.id)
        return replace(run, revision=revision)

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: ListCursor | None = None
    ) -> Sequence[Run]:
        where, values = _where(wanted)
        if after is not None:
            where += " AND (created_at, id) < (?, ?)"
            values += [after.created_at.isoformat(), after.run_id]
        where = f"WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"
        return await self._runs(where, [*values, limit, offset])

    async def count_runs(self, wanted: RunFilter) -> int:
        where, values = _where(wanted)
        row = await self._database.read(
            lambda connection: connection.execute(f"SELECT count(*) FROM runs WHERE {where}", values).fetchone()
        )
        return int(row[0])

    async def due_runs(
        self,
        shard: int,
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: Run | None = None,
        limit: int,
    ) -> Sequence[Run]:
        latest = before.isoformat() if before else _LATEST
        behind = (after.due_at.isoformat(), after.id) if after and after.due_at else ("", "")
        where = f"WHERE status IN {_TERMINAL if terminal else _OPEN} AND shard = ? AND due_at <= ?"
        where += " AND (due_at, id) > (?, ?) ORDER BY due_at, id LIMIT ?"
        return await self._runs(where, [shard, latest, *behind, limit])

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: Run | None = None, limit: int
    ) -> Sequence[Run]:
        behind = (after.updated_at.isoformat(), after.id) if after else ("", "")
        where = "WHERE channel = ? AND updated_at >= ? AND tenant_id = coalesce(?, tenant_id)"
        where += " AND (updated_at, id) > (?, ?) ORDER BY updated_at, id LIMIT ?"
        return await self._runs(
            where, [channel.name, since.isoformat(), channel.tenant_id, *behind, limit], reading=_whole
        )

    async def _runs(self, where: str, values: list[Any], *, reading: Reading | None = None) -> Sequence[Run]:
        """`where` is ours, never the caller's; large results are left out unless `reading` says otherwise."""

        def read(connection: sqlite3.Connection) -> list[Run]:
            rows = connection.execute(f"SELECT document, revision FROM runs {where}", values).fetchall()
            return list(readable(rows, lambda row: (reading or _without_large_result)(connection, row)))

        return await self._database.read(read)


def _changing(run: Run) -> tuple[tuple[Any, ...], list[str]]:
    """(the columns that a save may change, in the table's order; the parts of a result that is too large for them)."""
    document = to_document(run)
    parts = take_large_result(document)
    text = json.dumps(document, default=datetime.isoformat)
    return (text, run.status, run.due_at.isoformat() if run.due_at else None, run.updated_at.isoformat()), parts


def _put_parts(connection: sqlite3.Connection, run_id: str, content: str, parts: Sequence[str]) -> None:
    rows = [(run_id, content, number, part) for number, part in enumerate(parts)]
    connection.executemany("INSERT OR REPLACE INTO run_parts VALUES (?, ?, ?, ?)", rows)


def _parts(connection: sqlite3.Connection, run_id: str, content: str) -> Any:
    """Raises PartsMissing."""
    query = "SELECT text FROM run_parts WHERE run_id = ? AND content = ? ORDER BY number"
    rows = connection.execute(query, (run_id, content)).fetchall()
    return joined([text for (text,) in rows])


def _fixed(run: Run) -> tuple[Any, ...]:
    """The columns that stay as they were created."""
    whose = (run.user_id, run.tenant_id, run.kind, run.job_type, run.question_id)
    return (*whose, run.channel, run.shard, run.created_at.isoformat(), run.expires_at.isoformat())


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
        query = f"SELECT count(*) FROM runs WHERE tenant_id = ? AND status IN {_OPEN} AND id != ?"
        if connection.execute(query, (run.tenant_id, run.id)).fetchone()[0] >= limits.open_runs:
            raise too_many_open_runs(limits.open_runs)


def _without_large_result(connection: sqlite3.Connection, row: tuple[str, int]) -> Run:
    return from_document(json.loads(row[0]), revision=row[1])


def _whole(connection: sqlite3.Connection, row: tuple[str, int]) -> Run:
    """Raises PartsMissing."""
    document = json.loads(row[0])
    if document.get("result_parts"):
        document["result"] = _parts(connection, document["id"], RESULT)
    return from_document(document, revision=row[1])


def _needed(connection: sqlite3.Connection, row: tuple[str, int]) -> Run:
    """Whole, or StoreUnavailable."""
    with parts_wanted():
        return _whole(connection, row)


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
