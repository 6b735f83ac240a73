"""Tests the EndedSessions port."""

from datetime import UTC, datetime, timedelta
from typing import Any

LATER = datetime.now(UTC) + timedelta(days=5)
HASH = "a" * 64


async def test_only_a_session_that_was_ended_has_ended(backend: Any) -> None:
    assert not await backend.ended_sessions.has_ended(HASH)
    await backend.ended_sessions.end(HASH, expires_at=LATER)
    assert await backend.ended_sessions.has_ended(HASH)
    assert not await backend.ended_sessions.has_ended("b" * 64)


async def test_a_session_can_be_ended_twice(backend: Any) -> None:
    for _ in range(2):
        await backend.ended_sessions.end(HASH, expires_at=LATER)
    assert await backend.ended_sessions.has_ended(HASH)


async def test_rows_of_expired_sessions_are_deleted(sqlite: Any) -> None:
    await sqlite.ended_sessions.end("old", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await sqlite.ended_sessions.end(HASH, expires_at=LATER)
    rows = await sqlite.database.read(
        lambda connection: connection.execute("SELECT session_hash FROM ended_sessions").fetchall()
    )
    assert rows == [(HASH,)]
