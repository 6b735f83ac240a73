"""Fixtures for the back ends that must all pass the same tests: SQLite in memory or in a file, Google's emulators."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.gcp.backend import GoogleBackend
from shared.adapters.gcp.clients import ClientsByLoop
from shared.adapters.gcp.task_targets import TaskTarget, WebhookTarget
from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.status import Lane
from tests.google import endpoints

QUEUES = dict.fromkeys(Lane, "projects/p/locations/l/queues/unused")
UNUSED_WEBHOOKS = WebhookTarget(queue=QUEUES[Lane.SHORT], url="", audience="", service_account=None)
UNUSED_TARGET = TaskTarget(queues=QUEUES, url="", audience="", service_account=None)


@pytest.fixture(params=["sqlite-memory", "sqlite-file", pytest.param("google", marks=pytest.mark.emulators)])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A back end for tests of stores and watchers. Tests of queues and schedulers have fixtures of their own."""
    if request.param == "google":
        clients = ClientsByLoop(endpoints(request.getfixturevalue("google_emulators")))
        yield GoogleBackend(
            clients,
            topics=dict.fromkeys(Lane, "projects/p/topics/unused"),
            target=UNUSED_TARGET,
            webhooks=UNUSED_WEBHOOKS,
        )
        await clients().close()
        return
    sqlite = SqliteBackend(
        ":memory:" if request.param == "sqlite-memory" else tmp_path / "d" / "runs.db", SystemClock()
    )
    yield sqlite
    sqlite.close()
