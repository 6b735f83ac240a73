"""Kills a process that delivers batches of tasks: no task is lost, and the batch under way comes again."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAINS = 100
HOST = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from datetime import UTC, datetime
from pathlib import Path
from infra.local.broker import Broker
from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
import json

async def main(folder, chains):
    backend = SqliteBackend(folder / "runs.db", SystemClock())

    async def schedule(run_id, sequence):
        recheck = Recheck(run_id=run_id, attempt=1, sequence=str(sequence))
        await backend.scheduler.schedule(recheck, at=datetime.now(UTC), lane=Lane.SHORT)

    async def deliver(task):
        body = json.loads(task.body)
        if body["run_id"] == "stuck":
            print("stuck", task.deliveries, flush=True)
            await asyncio.Event().wait()
        print(body["run_id"], body["sequence"], flush=True)
        await schedule(body["run_id"], int(body["sequence"]) + 1)
        return 204

    await schedule("stuck", 1)
    for chain in range(chains):
        await schedule(str(chain), 1)
    broker = Broker(backend.deliveries, deliver_task=deliver)
    backend.on_work = broker.wake
    await broker.serve(folder / "lock")

asyncio.run(main(Path(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_batch_loses_no_task_and_the_batch_comes_again(tmp_path: Path) -> None:
    """Each delivery schedules the next task of its chain before it ends, as a check of a run does."""
    lines: list[str] = []
    for kept in (3 * CHAINS, 3 * CHAINS + 7, 2 * CHAINS + 50):
        lines += delivered_before_a_kill(tmp_path, lines=kept)
        assert len(open_chains(tmp_path / "runs.db")) == CHAINS + 1
    stuck = [line for line in lines if line.startswith("stuck")]
    assert stuck == ["stuck 1", "stuck 2", "stuck 3"]
    ends = [int(line.split()[1]) for line in lines if not line.startswith("stuck")]
    assert max(ends) > 3, "an ended delivery is not repeated for ever"


def delivered_before_a_kill(folder: Path, *, lines: int) -> list[str]:
    """Returns the first lines of a host, which is killed when it has written so many."""
    command = [sys.executable, "-c", HOST, str(ROOT), str(folder), str(CHAINS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        written = [line.strip() for line in islice(host.stdout, lines)]
        host.send_signal(signal.SIGKILL)
        return written


def open_chains(path: Path) -> set[str]:
    """Returns the run ids that have a task which is not acknowledged."""
    query = "SELECT DISTINCT json_extract(body, '$.run_id') FROM tasks WHERE deliver_at IS NOT NULL"
    with closing(sqlite3.connect(path)) as connection:
        return {run_id for (run_id,) in connection.execute(query)}
