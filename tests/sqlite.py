"""SQLite's back end for tests of what only it does: in memory, and in a file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend


@pytest.fixture(params=["memory", "file"])
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteBackend]:
    sqlite = SqliteBackend(":memory:" if request.param == "memory" else tmp_path / "runs.db", SystemClock())
    yield sqlite
    sqlite.close()
