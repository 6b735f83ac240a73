"""Makes runs for tests, and reads what SQLite keeps of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.event import Event
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.status import Kind, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_run(**changes: Any) -> Run:
    """Returns a pending job of user `demo` with a new id; `changes` replaces its fields."""
    run_id = changes.pop("id", str(uuid4()))
    run = Run(
        id=run_id,
        kind=Kind.JOB,
        status=Status.PENDING,
        user_id="demo",
        organization_id="acme",
        tenant_id="acme",
        channel="user:demo",
        api="llm_jobs",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
        expires_at=NOW + timedelta(days=30),
        due_at=NOW + timedelta(minutes=1),
        shard=0,
        root_run_id=run_id,
        input={"full_input": "hello"},
        job_type="general_llm_request",
        events=(Event(sequence=1, type="run.queued", at=NOW),),
    )
    return replace(run, **changes)


async def rows(sqlite: SqliteBackend, statement: str) -> list[Any]:
    return await sqlite.database.read(lambda connection: connection.execute(statement).fetchall())
