"""Runs all work on one SQLite file in one thread per process, and commits many writes together.

While a commit is running, new work waits; the next commit then includes all of it, so that many writes pay for one sync
of the disk. Each write has a savepoint of its own: when it raises, only this write is rolled back.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from shared.adapters.sqlite.migrations import migrate
from shared.errors import ServiceError, StoreUnavailable

T = TypeVar("T")

MAX_OPERATIONS_PER_COMMIT = 256
BUSY_TIMEOUT_SECONDS = 10.0
WAL_RETRY_SECONDS = 0.01


@dataclass(slots=True)
class _Operation:
    """Work that a caller waits for; after it ran, its outcome or its error."""

    work: Callable[[sqlite3.Connection], Any]
    is_write: bool
    future: "asyncio.Future[Any]"
    outcome: Any = None
    error: BaseException | None = None


class Database:
    """An SQLite file. Errors of SQLite become StoreUnavailable; all other exceptions of the work reach its caller."""

    def __init__(self, path: Path | str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        """`path` may be ":memory:". The file and its folder are created on first use.

        `busy_timeout_seconds` is how long to wait while another process writes.
        """
        self._path = str(path)
        self._busy_timeout_seconds = busy_timeout_seconds
        self._operations: SimpleQueue[_Operation | None] = SimpleQueue()
        """None ends the thread."""
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work(connection)` in the database's thread and returns its result."""
        outcome: T = await self._submit(work, is_write=False)
        return outcome

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like `read`, in a transaction. When it returns, the change to a file survives a crash of the machine."""
        outcome: T = await self._submit(work, is_write=True)
        return outcome

    def close(self) -> None:
        """Completes the work that was submitted before, then ends the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._operations.put(None)
            thread.join()

    async def _submit(self, work: Callable[[sqlite3.Connection], Any], *, is_write: bool) -> Any:
        self._start_thread()
        operation = _Operation(work, is_write, asyncio.get_running_loop().create_future())
        self._operations.put(operation)
        return await operation.future

    def _start_thread(self) -> None:
        """Starts the thread on first use and not earlier, because threads do not survive the server's fork."""
        if self._thread is not None and not self._closed:
            return
        with self._lock:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="sqlite", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._operations.get()) is not None:
            batch, is_last = self._batch(first)
            try:
                connection = connection or connect(self._path, self._busy_timeout_seconds)
                _run_batch(connection, batch)
            except (sqlite3.Error, OSError) as error:
                _fail(batch, error)
            _return_outcomes(batch)
            if is_last:
                break
        if connection is not None:
            connection.close()

    def _batch(self, first: _Operation) -> tuple[list[_Operation], bool]:
        """Returns (`first` and the operations that wait, whether the database was closed after them)."""
        batch = [first]
        with suppress(Empty):
            while len(batch) < MAX_OPERATIONS_PER_COMMIT:
                operation = self._operations.get_nowait()
                if operation is None:
                    return batch, True
                batch.append(operation)
        return batch, False


def connect(path: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Opens and migrates the database. In WAL mode other processes can read while one writes."""
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=busy_timeout_seconds, cached_statements=256)
    _use_wal(connection, busy_timeout_seconds)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    migrate(connection)
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


def _run_batch(connection: sqlite3.Connection, batch: list[_Operation]) -> None:
    """Runs the operations in one transaction when one of them writes. Raises sqlite3.Error when the commit fails."""
    has_write = any(operation.is_write for operation in batch)
    if has_write:
        connection.execute("BEGIN IMMEDIATE")
    try:
        for operation in batch:
            _run(connection, operation)
        if has_write:
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, operation: _Operation) -> None:
    if operation.is_write:
        connection.execute("SAVEPOINT operation")
    try:
        operation.outcome = operation.work(connection)
    except Exception as error:  # noqa: BLE001 - _return_outcomes raises it in the caller
        operation.error = error
        if operation.is_write:
            connection.execute("ROLLBACK TO operation")
    if operation.is_write:
        connection.execute("RELEASE operation")


def _fail(batch: list[_Operation], error: Exception) -> None:
    for operation in batch:
        operation.error = error


def _return_outcomes(batch: list[_Operation]) -> None:
    """Wakes each event loop once for all its operations, not once for each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Operation]] = {}
    for operation in batch:
        by_loop.setdefault(operation.future.get_loop(), []).append(operation)
    for loop, operations in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, so no caller waits any more
            loop.call_soon_threadsafe(_resolve, operations)


def _resolve(operations: list[_Operation]) -> None:
    for operation in operations:
        if operation.future.done():  # the caller was cancelled
            continue
        if operation.error is None:
            operation.future.set_result(operation.outcome)
        else:
            operation.future.set_exception(_translated(operation.error))


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, ServiceError) or not isinstance(error, sqlite3.Error | OSError):
        return error
    unavailable = StoreUnavailable()
    unavailable.__cause__ = error
    return unavailable
