"""Fills a database file with runs as they are after days of work, much faster than by submitting them."""

import asyncio
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.event import Event
from shared.domain.failure import Failure
from shared.domain.result import Result, Usage
from shared.domain.run import SHARDS, Run
from shared.domain.status import JOB_TYPES, Kind, Status

STEP = timedelta(seconds=1)
HOUR = timedelta(hours=1)
KINDS = (Kind.USER_RUN, Kind.JOB, Kind.JOB, Kind.ADMIN_RUN)
FINISHED = (*[Status.COMPLETED] * 97, *[Status.FAILED] * 2, Status.CANCELLED)
BATCH = 256


async def fill(path: Path, count: int, *, is_open: bool = False, users: int = 1) -> None:
    """Adds `count` runs of `users` users, the first of whom is `demo`; open runs are due in an hour."""
    backend = SqliteBackend(path, SystemClock())
    await backend.database.write(lambda connection: connection.execute("PRAGMA cache_size=-200000"))
    made = runs(count, is_open=is_open, users=users, chance=random.Random(count))
    while some := list(islice(made, BATCH)):
        await asyncio.gather(*[backend.store.create(run) for run in some])
    backend.close()


def runs(count: int, *, is_open: bool, users: int, chance: random.Random) -> Iterator[Run]:
    """Yields runs in the order in which they were created, the last one second ago."""
    first = datetime.now(UTC) - STEP * (count + 1)
    for number in range(count):
        user = "demo" if number % users == 0 else f"user-{number % users}"
        run = a_run(first + STEP * number, user_id=user, number=number, chance=chance)
        yield processing(run) if is_open else finished(run, chance.choice(FINISHED))


def a_run(now: datetime, *, user_id: str, number: int, chance: random.Random) -> Run:
    run_id, kind = str(uuid.UUID(int=chance.getrandbits(128), version=4)), chance.choice(KINDS)
    is_job = kind is Kind.JOB
    text = "hello world " * 20
    return Run(
        id=run_id, kind=kind, status=Status.PENDING, user_id=user_id, organization_id="acme", tenant_id="acme",
        channel=f"user:{user_id}", api="llm_jobs", deployment="europe", created_at=now, updated_at=now,
        deadline_at=now + HOUR, expires_at=now + timedelta(days=30), due_at=now, shard=number % SHARDS,
        root_run_id=run_id, input={"full_input" if is_job else "text": text},
        job_type=chance.choice(JOB_TYPES) if is_job else None, question_id=f"q-{number % 100}" if is_job else None,
        events=(Event(sequence=1, type="run.queued", at=now),),
    )  # fmt: skip


def processing(run: Run) -> Run:
    claimed = run.claimed(run.created_at, lease=HOUR).with_provider_job(run.created_at, provider_job_id=f"job-{run.id}")
    return claimed.postponed(datetime.now(UTC) + HOUR)


def finished(run: Run, status: Status) -> Run:
    sent = run.claimed(run.created_at, lease=HOUR).with_provider_job(run.created_at, provider_job_id=f"job-{run.id}")
    now = run.created_at + STEP
    if status is Status.CANCELLED:
        return sent.cancelled(now)
    if status is Status.FAILED:
        return sent.failed(now, error=Failure(code="llm_job_failed", message="The LLM could not do it."), checks=2)
    return sent.completed(now, result=Result(text="Hallo Welt " * 20), usage=Usage(), checks=2)
