"""Tests the SQLite file: several processes share it, it survives a kill, and its errors become StoreUnavailable."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path

import pytest

from shared.adapters.sqlite.database import READERS, Database
from shared.adapters.sqlite.migrations import STEPS
from shared.errors import StoreUnavailable

WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from shared.adapters.sqlite.database import Database

async def main():
    database = Database(sys.argv[1])
    async def write(number):
        row = ("users", f"{sys.argv[3]}-{number}", "{}")
        await database.write(lambda c: c.execute("INSERT INTO directory VALUES (?, ?, ?)", row))
        print(number, flush=True)
    for start in range(0, 100_000, 20):
        await asyncio.gather(*[write(start + n) for n in range(20)])

asyncio.run(main())
"""


def start_writer(path: Path, name: str) -> "subprocess.Popen[str]":
    root = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), root, name], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
async def test_acknowledged_writes_of_several_processes_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    writers = [start_writer(path, name) for name in ("a", "b")]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "0\n"  # a busy machine starts them slowly
    await asyncio.sleep(1)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    acknowledged = []
    for name, writer in zip("ab", writers, strict=True):
        output, _ = writer.communicate()
        acknowledged += [f"{name}-{line}" for line in output.splitlines() if output.endswith("\n") or line]
    database = Database(path)
    rows = await database.read(lambda connection: connection.execute("SELECT id FROM directory").fetchall())
    database.close()
    assert len(acknowledged) > 20
    assert set(acknowledged) - {row[0] for row in rows} == set()


async def test_a_failing_write_does_not_roll_back_other_writes_of_the_same_commit(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db")

    def write(key: str, *, then_fail: bool) -> "asyncio.Future[None]":
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO directory VALUES ('users', ?, '{}')", (key,))
            if then_fail:
                raise KeyError(key)

        return asyncio.ensure_future(database.write(work))

    outcomes = await asyncio.gather(*[write(str(n), then_fail=n % 3 == 0) for n in range(30)], return_exceptions=True)
    kept = await database.read(lambda connection: connection.execute("SELECT count(*) FROM directory").fetchone()[0])
    database.close()
    assert kept == 20 and sum(isinstance(outcome, KeyError) for outcome in outcomes) == 10


async def test_a_write_does_not_wait_for_a_read_that_lasts(tmp_path: Path) -> None:
    database, may_end = Database(tmp_path / "runs.db"), threading.Event()
    reads = [asyncio.ensure_future(database.read(lambda connection: may_end.wait(30))) for _ in range(2 * READERS)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(database.write(lambda connection: connection.execute("DELETE FROM directory")), 20)
    assert not any(read.done() for read in reads)
    may_end.set()
    assert await asyncio.gather(*reads) == [True] * len(reads)
    database.close()


async def test_a_read_sees_each_write_that_has_returned_and_none_that_was_rolled_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db")

    def insert(key: str) -> Callable[[sqlite3.Connection], object]:
        return lambda connection: connection.execute("INSERT INTO directory VALUES ('users', ?, '{}')", (key,))

    def fail(connection: sqlite3.Connection) -> None:
        insert("failed")(connection)
        raise KeyError

    async def client(name: str) -> bool:
        await database.write(insert(name))
        with pytest.raises(KeyError):
            await database.write(fail)
        query = "SELECT id FROM directory WHERE id IN (?, 'failed')"
        return await database.read(lambda connection: connection.execute(query, (name,)).fetchall()) == [(name,)]

    assert all(await asyncio.gather(*[client(str(number)) for number in range(100)]))
    database.close()


ROW = "SELECT document FROM directory WHERE collection = 'users' AND id = ?"


@pytest.mark.parametrize("name", ["runs.db", ":memory:"])
async def test_a_row_is_looked_up_as_soon_as_its_write_has_returned(tmp_path: Path, name: str) -> None:
    database = Database(name if name == ":memory:" else tmp_path / name)
    assert await database.look_up(ROW, "u") is None
    for number in range(20):
        statement = f"INSERT OR REPLACE INTO directory VALUES ('users', 'u', '{number}')"
        await database.write(methodcaller("execute", statement))
        assert await database.look_up(ROW, "u") == (str(number),)
    database.close()
    with pytest.raises(StoreUnavailable):
        await database.look_up(ROW, "u")


async def test_rows_are_looked_up_in_the_threads_of_several_event_loops(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db")
    await database.write(lambda c: c.execute("INSERT INTO directory VALUES ('users', 'u', '{}')"))

    def in_a_loop_of_its_own() -> tuple[str, ...] | None:
        return asyncio.run(database.look_up(ROW, "u"))

    found = await asyncio.gather(*[asyncio.to_thread(in_a_loop_of_its_own) for _ in range(3)])
    assert [*found, await database.look_up(ROW, "u")] == [("{}",)] * 4
    database.close()


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db")
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection: connection.execute("DELETE FROM directory"))
    database.close()


async def test_a_write_that_sqlite_rolled_back_itself_is_not_lost_with_the_others_of_its_commit(tmp_path: Path) -> None:
    """As after some errors of the disk: https://sqlite.org/lang_transaction.html"""
    database = Database(tmp_path / "runs.db")
    has_failed: list[bool] = []

    def rolled_back(connection: sqlite3.Connection) -> None:
        if not has_failed:
            has_failed.append(True)
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO directory VALUES ('users', 'u', '{}')")

    waiting = [asyncio.ensure_future(database.write(work)) for work in (insert, rolled_back, insert)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    kept = await database.read(lambda connection: connection.execute("SELECT count(*) FROM directory").fetchone()[0])
    database.close()
    assert kept == 1 and [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [False, False, True]


async def test_a_file_that_is_no_database_raises_store_unavailable(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"not a database, not at all" * 100)
    database = Database(tmp_path / "runs.db")
    with pytest.raises(StoreUnavailable):
        await database.read(lambda connection: connection.execute("SELECT 1"))
    database.close()


async def test_a_database_that_stays_locked_raises_store_unavailable(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db", busy_timeout_seconds=0.05)
    await database.read(lambda connection: connection.execute("SELECT 1"))
    holder = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await database.write(lambda connection: connection.execute("DELETE FROM directory"))
    holder.execute("ROLLBACK")
    await database.write(lambda connection: connection.execute("DELETE FROM directory"))
    holder.close()
    database.close()


async def test_a_new_file_that_many_connections_open_at_once_is_migrated_once(tmp_path: Path) -> None:
    """Repeated 20 times, because a race is possible: SQLite reports busy while one connection switches to WAL mode."""
    for attempt in range(20):
        databases = [Database(tmp_path / f"{attempt}.db") for _ in range(16)]
        versions = await asyncio.gather(
            *[database.read(lambda c: c.execute("PRAGMA user_version").fetchone()[0]) for database in databases]
        )
        for database in databases:
            database.close()
        assert versions == [len(STEPS)] * 16


def insert(name: str, connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO directory VALUES ('users', ?, '{}')", (name,))


async def test_a_write_that_nobody_waits_for_is_committed_before_the_next(tmp_path: Path) -> None:
    database = Database(tmp_path / "runs.db")
    for number in range(50):
        database.write_soon(partial(insert, f"soon-{number}"))
        last = await database.write(lambda c: c.execute("SELECT count(*) FROM directory").fetchone())
        assert last == (number + 1,)
    database.close()


async def test_a_failure_of_a_write_that_nobody_waits_for_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(tmp_path / "runs.db")
    database.write_soon(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))
    await database.write(lambda c: c.execute("DELETE FROM directory"))
    await asyncio.sleep(0)
    assert "write lost" in capsys.readouterr().out
    database.close()
    with pytest.raises(StoreUnavailable):
        database.write_soon(lambda c: None)
