"""Stores runs as JSON documents in SQLite, with columns for the fields that queries filter or sort by."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from shared.adapters.sqlite import usage
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.run_lists import count_query, page_query
from shared.adapters.sqlite.webhook_store import forget_expired_deliveries, put_deliveries
from shared.adapters.storage.ending import as_saved
from shared.adapters.storage.last_saved import LastSavedRuns
from shared.adapters.storage.parts import (
    INPUT,
    MAX_INLINE_RESULT_BYTES,
    RESULT,
    join_parts,
    parts_required,
    split_large_input,
    split_large_result,
)
from shared.adapters.storage.readable import must_be_readable, readable_runs
from shared.adapters.storage.run_document import from_document, from_json, to_document, to_json
from shared.domain.channel import Channel
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.json_text import from_text, to_text
from shared.domain.limits import NO_LIMITS, Limits, minute_of, too_many_open_runs, too_many_submits
from shared.domain.run import Run
from shared.domain.status import Kind, Status
from shared.domain.webhook_delivery import Delivery, new_deliveries, with_recorded
from shared.errors import RunNotFound, StaleRun
from shared.ports import RunFilter, RunPage, RunPosition

_KINDS = f"({', '.join(repr(kind.value) for kind in Kind)})"
_AFTER_ALL_TIMES = "9999"
"""Is greater than every time as text."""
_SURELY_INLINE_CHARACTERS = MAX_INLINE_RESULT_BYTES // 4
"""A character takes four bytes at most."""
_OPEN = "('pending', 'processing')"
_TERMINAL = "('completed', 'failed', 'cancelled')"
"""SQLite uses a partial index only for a condition with the same text as in sqlite/migrations.py."""


class SqliteRunStore:
    def __init__(
        self,
        database: Database,
        *,
        on_change: Callable[[Run], None] = lambda run: None,
        on_deliveries: Callable[[Sequence[Delivery]], Awaitable[None]],
    ) -> None:
        """`on_change` is called with each run that this process has written, `on_deliveries` with the
        deliveries of webhooks that a commit has stored.
        """
        self._database = database
        self._on_change = on_change
        self._on_deliveries = on_deliveries
        self._last_saved = LastSavedRuns()

    async def create(
        self, run: Run, *, idempotency: IdempotencyRecord | None = None, limits: Limits = NO_LIMITS
    ) -> IdempotencyRecord | None:
        stored, parts = split_large_input(with_recorded(run))
        deliveries = new_deliveries(run)
        mutable, result_parts = _mutable_columns(stored)
        row = (run.id, *mutable, *_immutable_columns(stored))

        def insert(connection: sqlite3.Connection) -> tuple[IdempotencyRecord | None, bool]:
            """Returns (the record of the other run that has the key, whether the run is new)."""
            holder = _acquire_key(connection, idempotency, now=run.created_at) if idempotency else None
            if holder is not None and holder.run_id != run.id:
                return holder, False
            _check_limits(connection, limits, run)
            placeholders = ", ".join("?" * (len(row) - 1))
            insertion = f"INSERT INTO runs VALUES (?, 1, {placeholders}) ON CONFLICT DO NOTHING"
            is_new = connection.execute(insertion, row).rowcount > 0
            if is_new:
                usage.reserve(connection, run, limits.budget)
                put_deliveries(connection, deliveries)
            _put_parts(connection, run.id, INPUT, parts)
            _put_parts(connection, run.id, RESULT, result_parts)
            return None, is_new

        holder, is_new = await self._database.write(insert)
        if is_new:
            self._last_saved.put(replace(stored, revision=1))
        self._on_change(run)
        if holder is None and deliveries:
            await self._on_deliveries(deliveries)
        return holder

    async def get(self, run_id: str, *, with_result: bool = True, or_last_saved: bool = False) -> Run:
        if or_last_saved and (known := self._last_saved.take(run_id)) is not None:
            return known
        row = await self._database.look_up("SELECT document, revision FROM runs WHERE id = ?", run_id)
        if row is None:
            raise RunNotFound
        with must_be_readable():
            run = from_json(row[0], revision=row[1])
            if with_result and run.result_parts:
                result = await self._read_parts(run_id, RESULT)
                run = from_document({**from_text(row[0]), "result": result}, revision=row[1])
        if or_last_saved:
            self._last_saved.put_read(run)
        return run

    async def load_input(self, run: Run) -> Mapping[str, Any]:
        if run.input_parts == 0:
            return run.input
        content: Mapping[str, Any] = await self._read_parts(run.id, INPUT)
        return content

    async def save(self, run: Run) -> Run:
        return await self._save(run)

    async def erase(self, run: Run) -> Run:
        return await self._save(run, delete_parts=True)

    async def forget(self, run: Run) -> None:
        self._last_saved.drop(run.id)
        await self._database.write(lambda connection: connection.execute("DELETE FROM runs WHERE id = ?", (run.id,)))

    async def forget_expired(self, now: datetime, *, limit: int) -> int:
        def delete(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM idempotency WHERE expires_at <= ?", (now.isoformat(),))
            usage.forget_expired(connection, now)
            forget_expired_deliveries(connection, now)
            return connection.execute(
                "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE expires_at <= ? LIMIT ?)",
                (now.isoformat(), limit),
            ).rowcount

        return await self._database.write(delete)

    async def _save(self, run: Run, *, delete_parts: bool = False) -> Run:
        revision = run.revision + 1
        saved, deliveries = as_saved(run), new_deliveries(run)
        mutable, result_parts = _mutable_columns(saved)
        row = (revision, *mutable, run.id, run.revision)

        def update(connection: sqlite3.Connection) -> int:
            updated = connection.execute(
                "UPDATE runs SET revision = ?, document = ?, status = ?, due_at = ?, updated_at = ?"
                " WHERE id = ? AND revision = ?",
                row,
            ).rowcount
            if updated:
                usage.end(connection, run)
                put_deliveries(connection, deliveries)
                _put_parts(connection, run.id, RESULT, result_parts)
            if updated and delete_parts:
                connection.execute("DELETE FROM run_parts WHERE run_id = ?", (run.id,))
            return updated

        self._last_saved.drop(run.id)
        if await self._database.write(update) == 0:
            raise StaleRun
        stored = replace(saved, revision=revision)
        self._last_saved.put(stored)
        self._on_change(run)
        if deliveries:
            await self._on_deliveries(deliveries)
        return stored

    async def list_runs(
        self, wanted: RunFilter, *, limit: int, offset: int = 0, after: RunPosition | None = None
    ) -> RunPage:
        query, values = page_query(wanted, limit=limit, offset=offset, after=after)
        return await self._page(query, values, newest_first=True)

    async def count_runs(self, wanted: RunFilter, *, at_most: int) -> int:
        query, values = count_query(wanted, at_most=at_most)
        row = await self._database.read(lambda connection: connection.execute(query, values).fetchone())
        return int(row[0])

    async def due_runs(
        self,
        shards: Sequence[int],
        *,
        terminal: bool = False,
        before: datetime | None = None,
        after: RunPosition | None = None,
        limit: int,
    ) -> RunPage:
        latest = before.isoformat() if before else _AFTER_ALL_TIMES
        cursor = (after.at.isoformat(), after.run_id) if after else ("", "")
        of_shard = f"SELECT due_at, id FROM runs WHERE status IN {_TERMINAL if terminal else _OPEN} AND shard = ?"
        of_shard += " AND due_at <= ? AND (due_at, id) > (?, ?)"
        page = " UNION ALL ".join([of_shard] * len(shards))  # SQLite merges them in the order of their index
        query = "SELECT document, revision, page.due_at, page.id"
        query += f" FROM ({page} ORDER BY due_at, id LIMIT ?) AS page CROSS JOIN runs USING (id)"
        return await self._page(query, [*(value for shard in shards for value in (shard, latest, *cursor)), limit])

    async def changed_runs(
        self, channel: Channel, *, since: datetime, after: RunPosition | None = None, limit: int
    ) -> RunPage:
        # One bound for both: with two SQLite may begin each page at `since`, and read what earlier pages have shown.
        behind = max((since.isoformat(), ""), (after.at.isoformat(), after.run_id) if after else ("", ""))
        of_tenant, tenant = ("", []) if channel.tenant_id is None else ("AND tenant_id = ?", [channel.tenant_id])
        page = f"SELECT updated_at, id FROM runs WHERE channel = ? AND (updated_at, id) > (?, ?) {of_tenant}"
        page += " ORDER BY updated_at, id LIMIT ?"
        query = "SELECT document, revision, page.updated_at, page.id FROM"
        return await self._page(
            f"{query} ({page}) AS page CROSS JOIN runs USING (id)", [channel.name, *behind, *tenant, limit]
        )

    async def _read_parts(self, run_id: str, content: str) -> Any:
        """Returns the JSON value of the parts. Raises StoreUnavailable when parts of it are missing."""
        query = "SELECT text FROM run_parts WHERE run_id = ? AND content = ? ORDER BY number"
        rows = await self._database.read(lambda connection: connection.execute(query, (run_id, content)).fetchall())
        with parts_required():
            return join_parts([text for (text,) in rows])

    async def _page(self, query: str, values: list[Any], *, newest_first: bool = False) -> RunPage:
        """Returns the runs of the query's rows (document, revision, time of the position, id), without large results.

        `query` never contains text of a caller.
        """
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        rows.sort(key=itemgetter(2, 3), reverse=newest_first)  # SQLite promises no order of a join
        runs = list(readable_runs(rows, lambda row: from_json(row[0], revision=row[1])))
        positions = [RunPosition(at=datetime.fromisoformat(at), run_id=run_id) for _, _, at, run_id in rows]
        return RunPage(runs=runs, positions=positions)


def _mutable_columns(run: Run) -> tuple[tuple[Any, ...], list[str]]:
    """Returns (the columns that a save may change, in the order of the table; the parts of a large result)."""
    text, parts = _json_and_parts(run)
    return (text, run.status, run.due_at.isoformat() if run.due_at else None, run.updated_at.isoformat()), parts


def _json_and_parts(run: Run) -> tuple[str, list[str]]:
    """Returns (the JSON to store, the parts of a large result). Raises ResultTooLarge."""
    if run.result is None:
        return to_json(run), []
    text = to_json(replace(run, result_parts=0))
    if len(text) <= _SURELY_INLINE_CHARACTERS:
        return text, []
    document, parts = split_large_result(to_document(run))
    return to_text(document), parts


def _immutable_columns(run: Run) -> tuple[Any, ...]:
    """Returns the other columns, in the order of the table."""
    filters = (run.user_id, run.tenant_id, run.kind, run.job_type, run.question_id)
    return (*filters, run.channel, run.shard, run.created_at.isoformat(), run.expires_at.isoformat())


def _put_parts(connection: sqlite3.Connection, run_id: str, content: str, parts: Sequence[str]) -> None:
    """Stores the parts, of which most runs have none. `content` is INPUT or RESULT."""
    if not parts:
        return
    rows = [(run_id, content, number, part) for number, part in enumerate(parts)]
    connection.executemany("INSERT OR REPLACE INTO run_parts VALUES (?, ?, ?, ?)", rows)


def _acquire_key(
    connection: sqlite3.Connection, record: IdempotencyRecord, *, now: datetime
) -> IdempotencyRecord | None:
    """Stores the record and returns None. When another record holds the key, stores nothing and returns that record.

    A record no longer holds its key after its expiry or when its run has failed.
    """
    row = connection.execute(
        "SELECT body_hash, run_id, expires_at, (SELECT status FROM runs WHERE id = run_id) FROM idempotency"
        " WHERE key_hash = ?",
        (record.key_hash,),
    ).fetchone()
    if row is not None:
        body_hash, run_id, expires_at, status = row
        expires = datetime.fromisoformat(expires_at)
        if expires > now and status != Status.FAILED:
            return IdempotencyRecord(key_hash=record.key_hash, body_hash=body_hash, run_id=run_id, expires_at=expires)
    connection.execute(
        "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?)",
        (record.key_hash, record.body_hash, record.run_id, record.expires_at.isoformat()),
    )
    return None


def _check_limits(connection: sqlite3.Connection, limits: Limits, run: Run) -> None:
    """Raises TooManyRuns when the run exceeds a limit.

    It runs in the transaction that creates the run, so no other run can be created after the counts were read.
    """
    if limits.submits_a_minute is not None:
        since = minute_of(run.created_at).isoformat()
        query = f"SELECT count(*) FROM runs WHERE user_id = ? AND kind IN {_KINDS} AND created_at >= ? AND id != ?"
        if connection.execute(query, (run.user_id, since, run.id)).fetchone()[0] >= limits.submits_a_minute:
            raise too_many_submits(limits.submits_a_minute, run.created_at)
    if limits.open_runs is not None:
        query = f"SELECT count(*) FROM runs WHERE tenant_id = ? AND status IN {_OPEN} AND id != ?"
        if connection.execute(query, (run.tenant_id, run.id)).fetchone()[0] >= limits.open_runs:
            raise too_many_open_runs(limits.open_runs)
