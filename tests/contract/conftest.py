"""The back ends that must all pass the same tests: SQLite in memory and in a file, and Google's emulators."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.backend import GoogleBackend
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.recheck_scheduler import TaskTarget
from shared.adapters.sqlite.backend import SqliteBackend
from tests.google import endpoints

UNUSED = TaskTarget(queue="projects/p/locations/l/queues/unused", url="", audience="", service_account=None)


@pytest.fixture(params=["sqlite-memory", "sqlite-file", "google"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Store, watcher, directory and ended sessions; queue and scheduler have tests of their own."""
    if request.param == "google":
        clients = ClientsByLoop(endpoints(request.getfixturevalue("google_emulators")))
        yield GoogleBackend(clients, topic="projects/p/topics/unused", target=UNUSED)
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
