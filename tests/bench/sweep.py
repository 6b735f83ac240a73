"""Measures how long the sweeper needs for many overdue runs in SQLite: `python -m tests.bench.sweep` (RUNS=100000)."""

import asyncio
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from shared.domain.frozen import replace
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status
from tests.contract.runs import a_run
from tests.unit.world import World

RUNS = int(os.environ.get("RUNS", "100000"))
BATCH = 500


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with World(path=Path(folder) / "runs.db") as world:
            for first in range(0, RUNS, BATCH):
                await asyncio.gather(*(world.store.create(overdue_run(world, first + n)) for n in range(BATCH)))
            world.clock.forward(7200)
            began, passes, repaired = time.perf_counter(), 0, 0
            while repaired < RUNS:
                passes, repaired = passes + 1, repaired + (await world.services.sweep()).repaired
            took = time.perf_counter() - began
    print(f"{RUNS} overdue runs: {took:.1f} s, {RUNS / took:.0f} a second, {passes} passes")


def overdue_run(world: World, number: int) -> Run:
    """Returns a run that waits for its first worker, or, each second one, whose worker was lost."""
    now = world.clock.now()
    run = a_run(created_at=now, updated_at=now, due_at=now, shard=number % SHARDS, deadline_at=now + timedelta(days=1))
    run = replace(run, expires_at=now + timedelta(days=30))
    return run if number % 2 else replace(run, status=Status.PROCESSING, attempt=1, fence=1)


if __name__ == "__main__":
    asyncio.run(main())
