"""A database file of an earlier release is migrated where it lies, stays readable, and can go back to that release."""

import json
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.migrations import STEPS, migrate, statements
from shared.adapters.storage.run_document import to_document
from shared.domain.channel import Channel
from shared.domain.result import Result
from shared.domain.status import Kind, Status
from shared.ports import RunFilter
from tests.contract.runs import NOW, a_run
from tests.e2e.rolling import RELEASE_0_2_0, unpacked
from tests.needs import need

ROOT = Path(__file__).parents[2]
JOBS = RunFilter(user_id="demo", kinds=(Kind.JOB,))
IN_THE_EARLIER_RELEASE = """
import asyncio, json, sys
from pathlib import Path
from shared.adapters.clock import SystemClock
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.storage.run_document import from_document

async def main():
    sqlite = SqliteBackend(Path(sys.argv[1]), SystemClock())
    for document in json.load(sys.stdin):
        await sqlite.store.create(from_document(document, revision=None))
    rows = await sqlite.database.read(lambda c: c.execute("SELECT id FROM runs ORDER BY created_at").fetchall())
    print(json.dumps([(await sqlite.store.get(run_id)).status for run_id, in rows]))
    sqlite.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the earlier release."""
    source = unpacked(RELEASE_0_2_0, tmp_path_factory.mktemp("earlier") / "source")
    need(None if source else "This clone has no release 0.2.0; fetch its history: git fetch --unshallow")
    assert source is not None
    return source


def in_the_earlier_release(source: Path, file: Path, *runs: Any) -> list[str]:
    """Creates the runs in the file, and returns the status of each run of the file."""
    given = json.dumps([to_document(run) for run in runs], default=lambda value: value.isoformat())
    command = [sys.executable, "-c", IN_THE_EARLIER_RELEASE, str(file)]
    done = subprocess.run(command, cwd=source, input=given, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    statuses: list[str] = json.loads(done.stdout)
    return statuses


async def test_a_file_of_the_earlier_release_is_listed_continued_and_read_by_that_release_again(
    earlier: Path, tmp_path: Path
) -> None:
    file = tmp_path / "runs.db"
    runs = [a_run(created_at=NOW + timedelta(seconds=n)) for n in range(3)]
    assert in_the_earlier_release(earlier, file, *runs) == ["pending"] * 3
    sqlite = SqliteBackend(file, SystemClock())
    assert [run.id for run in (await sqlite.store.list_runs(JOBS, limit=9)).runs] == [run.id for run in runs[::-1]]
    assert await sqlite.store.count_runs(JOBS, at_most=9) == 3
    await sqlite.store.save((await sqlite.store.get(runs[1].id)).cancelled(NOW))
    sqlite.close()
    late = a_run(created_at=NOW + timedelta(seconds=9))
    assert in_the_earlier_release(earlier, file, late) == ["pending", "cancelled", "pending", "pending"]
    sqlite = SqliteBackend(file, SystemClock())
    assert await sqlite.store.count_runs(JOBS, at_most=9) == 4
    await sqlite.store.forget(late)
    assert await sqlite.store.count_runs(JOBS, at_most=9) == 3
    sqlite.close()


@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_file_of_each_earlier_step_gets_the_schema_of_a_new_file(tmp_path: Path, step: int) -> None:
    def schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
        return set(connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))

    old, new = with_steps(tmp_path / "old.db", step), with_steps(tmp_path / "new.db", 0)
    migrate(old)
    migrate(new)
    assert schema(old) == schema(new)
    old.close()
    new.close()


KILLED_IN_THE_MIDDLE = """
import os, signal, sqlite3, sys
from shared.adapters.sqlite.migrations import migrate

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA cache_size=1")  # what does not fit is in the file's log when the process is killed
is_end = lambda statement: statement.startswith("CREATE INDEX runs_by_tenant")
connection.set_trace_callback(lambda text: is_end(text.strip()) and os.kill(os.getpid(), signal.SIGKILL))
migrate(connection)
"""


def with_steps(file: Path, steps: int) -> sqlite3.Connection:
    """Returns a connection to a new file whose schema has only the first steps."""
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in statements(";".join(STEPS[:steps])):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {steps}")
    return connection


async def test_a_process_that_is_killed_while_it_copies_the_runs_loses_neither_runs_nor_parts_nor_tasks(
    tmp_path: Path,
) -> None:
    file = tmp_path / "runs.db"
    earlier = with_steps(file, 7)
    document = json.dumps(to_document(a_run(result_parts=1)), default=lambda value: value.isoformat())
    row = (document, "completed", *[NOW.isoformat()] * 2, "demo", "acme", "job", "c", NOW.isoformat())
    for number in range(99):
        earlier.execute("INSERT INTO runs VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, 0, ?, '9')", (number, *row))
    earlier.execute("INSERT INTO run_parts VALUES (98, 'result', 0, ?)", (json.dumps({"text": "x"}),))
    earlier.execute("INSERT INTO tasks (name, body, deliver_at, forget_at) VALUES ('task', '{}', 1, 2)")
    earlier.close()
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(file)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    sqlite = SqliteBackend(file, SystemClock())
    assert await sqlite.store.count_runs(JOBS, at_most=999) == 99
    assert (await sqlite.store.get("98")).result == Result(text="x")
    leased = await sqlite.deliveries.exchange([], topics={}, queues={"rechecks": 9}, now=3, lease=9)
    assert [task.name for task in leased.tasks["rechecks"]] == ["task"]
    await sqlite.store.forget(a_run(id="98"))
    counts = "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM run_parts)"
    assert await sqlite.database.read(lambda connection: connection.execute(counts).fetchone()) == (98, 0)
    sqlite.close()


async def test_runs_that_were_stored_before_the_indexes_of_lists_are_found_by_each_filter(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    earlier = with_steps(file, 4)
    row = ("1" * 36, "{}", "failed", NOW.isoformat(), "demo", "acme", "job", "review_colab", "q", "c", NOW.isoformat())
    earlier.execute("INSERT INTO runs VALUES (?, 1, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, 0, ?, '9')", row)
    earlier.close()
    sqlite = SqliteBackend(file, SystemClock())
    for changes in ({}, {"status": Status.FAILED}, {"job_type": "review_colab"}, {"question_id": "q"}):
        wanted = RunFilter(user_id="demo", kinds=(Kind.JOB,), **changes)
        assert await sqlite.store.count_runs(wanted, at_most=9) == 1
        assert len((await sqlite.store.list_runs(wanted, limit=9)).positions) == 1
    changed = await sqlite.store.changed_runs(Channel(name="c", tenant_id="acme"), since=NOW, limit=9)
    assert len(changed.positions) == 1
    sqlite.close()
