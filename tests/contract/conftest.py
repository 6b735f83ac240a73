"""The back ends that must all pass the same tests: SQLite in memory and in a file, and Google's emulators."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.directory import FirestoreDirectory
from shared.adapters.gcp.ended_sessions import FirestoreEndedSessions
from shared.adapters.gcp.run_store import FirestoreRunStore
from shared.adapters.gcp.run_watcher import FirestoreRunWatcher
from shared.adapters.sqlite.backend import SqliteBackend
from tests.google import addresses


@dataclass
class GoogleBackend:
    store: FirestoreRunStore
    watcher: FirestoreRunWatcher
    directory: FirestoreDirectory
    ended_sessions: FirestoreEndedSessions


@pytest.fixture(params=["sqlite-memory", "sqlite-file", "google"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Store, watcher and directory."""
    if request.param == "google":
        clients = ClientsByLoop(addresses(request.getfixturevalue("google_emulators")))
        store = FirestoreRunStore(clients)
        yield GoogleBackend(
            store, FirestoreRunWatcher(clients, store), FirestoreDirectory(clients), FirestoreEndedSessions(clients)
        )
        await clients().close()
        return
    sqlite = SqliteBackend(
        ":memory:" if request.param == "sqlite-memory" else tmp_path / "d" / "runs.db", SystemClock()
    )
    yield sqlite
    sqlite.close()


@pytest.fixture(params=["memory", "file"])
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    sqlite = SqliteBackend(":memory:" if request.param == "memory" else tmp_path / "runs.db", SystemClock())
    yield sqlite
    sqlite.close()
