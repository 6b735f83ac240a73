"""Runs the work on one SQLite file in threads of its own: one that writes, and others that only read.

While a commit is running, new writes wait; the next commit then includes all of them, so that many writes pay for one
sync of the disk. Readers have connections of their own, so that a long read does not stand before a write. In WAL mode
a read sees all that was committed before it began: https://sqlite.org/isolation.html

One row by its key is read in the thread of its caller: that takes a tenth of the time of a hand-over to another thread.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from shared import log
from shared.adapters.sqlite.inline_worker import InlineWorker
from shared.adapters.sqlite.migrations import migrate
from shared.adapters.sqlite.worker import Worker

T = TypeVar("T")

READERS = 2
"""A short read does not wait while another is long."""
MAX_WRITES_PER_COMMIT = 256
MAX_READS_AT_ONCE = 8
"""Few, so that the other reader takes some of many."""
BUSY_TIMEOUT_SECONDS = 10.0
WAL_RETRY_SECONDS = 0.01
MEMORY = ":memory:"


class Database:
    """An SQLite file. Errors of SQLite become StoreUnavailable; all other exceptions of the work reach its caller."""

    def __init__(self, path: Path | str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        """`path` may be ":memory:". The file and its folder are created on first use.

        `busy_timeout_seconds` is how long to wait while another process writes.
        """
        opened = partial(connect, str(path), busy_timeout_seconds)
        self._path = str(path)
        self._of_thread = threading.local()
        self._looking_up: list[sqlite3.Connection] = []
        """The connections of the threads that have looked rows up."""
        self._writer: Worker
        self._reader: Worker
        if self._path == MEMORY:  # it belongs to one connection
            self._writer = self._reader = InlineWorker("sqlite", opened)
            return
        readonly = partial(connect, str(path), busy_timeout_seconds, is_reader=True)
        self._writer = Worker("sqlite", opened, threads=1, batch_size=MAX_WRITES_PER_COMMIT)
        self._reader = Worker("sqlite-reader", readonly, threads=READERS, batch_size=MAX_READS_AT_ONCE)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work(connection)` in a thread of a reader, or on a database in memory at once; returns its result.

        It sees every write that has returned, and of all others what is committed.
        """
        outcome: T = await self._reader.run(work, is_write=False)
        return outcome

    async def look_up(self, query: str, key: str) -> tuple[Any, ...] | None:
        """Returns the row of a query by a primary key, None when there is none; sees what `read` sees."""

        def first_row(connection: sqlite3.Connection) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(query, (key,)).fetchone()
            return row

        if self._path != MEMORY and self._writer.is_at_work:
            with suppress(sqlite3.Error, OSError):  # a reader waits for what is in the way, and reports what is wrong
                return first_row(self._connection_of_thread())
        return await self.read(first_row)

    def _connection_of_thread(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = connect(self._path, 0, is_reader=True)
            self._of_thread.connection = connection
            self._looking_up.append(connection)
        return connection

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like `read`, in a transaction. When it returns, the change to a file survives a crash of the machine.

        `work` may run twice: when another write of the same commit fails, all of them begin anew.
        """
        outcome: T = await self._writer.run(work, is_write=True)
        return outcome

    def write_soon(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Submits a write and returns at once; a failure is logged. Later writes are committed with it or after it.

        It waits a few milliseconds for other writes, so that all of them are one commit.
        """

        def log_failure(future: "asyncio.Future[object]") -> None:
            if not future.cancelled() and future.exception() is not None:
                log.warning("write lost")

        self._writer.submit_soon(work).add_done_callback(log_failure)

    async def data_version(self) -> int:
        """Returns a number that changes when another process has written, but not when this one has.

        https://sqlite.org/pragma.html#pragma_data_version
        """
        query = "PRAGMA data_version"
        row = await self._writer.run(lambda connection: connection.execute(query).fetchone(), is_write=False)
        version: int = row[0]
        return version

    def close(self) -> None:
        """Completes the work that was submitted before, then ends the threads."""
        self._reader.close()
        self._writer.close()
        for connection in self._looking_up:
            connection.close()


def connect(path: str, busy_timeout_seconds: float, *, is_reader: bool = False) -> sqlite3.Connection:
    """Opens and migrates the database. In WAL mode other connections can read while one writes."""
    if path != MEMORY:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=busy_timeout_seconds, cached_statements=256, check_same_thread=False
    )  # one thread uses it at a time: its own, and at last the one that closes it
    _use_wal(connection, busy_timeout_seconds)
    connection.execute("PRAGMA synchronous=FULL")
    migrate(connection)
    # Not before a migration: it drops a table of runs, but none of their parts, and it sorts all runs for a new index.
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    if is_reader:
        connection.execute("PRAGMA query_only=ON")
    return connection


def _use_wal(connection: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    """Switches to WAL mode, and tries again while another connection switches the same new file.

    SQLite's own busy timeout does not cover this statement: it reports SQLITE_BUSY at once.
    """
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_SECONDS)
