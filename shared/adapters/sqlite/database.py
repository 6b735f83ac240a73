"""One SQLite file, one thread per process that speaks to it, and many writes in one commit.

Whatever callers ask for while a commit is under way goes into the next one together, so that a full disk sync is paid
once for many writes. Each write has its own savepoint: one that raises is undone alone.
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

MAX_PER_COMMIT = 256
BUSY_SECONDS = 10.0
WAL_PAUSE_SECONDS = 0.01


@dataclass(slots=True)
class _Task:
    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    future: "asyncio.Future[Any]"
    outcome: Any = None
    error: BaseException | None = None


class Database:
    """Raises StoreUnavailable for whatever SQLite reports; errors of ours pass through `work` unchanged."""

    def __init__(self, path: Path | str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """`path` may be ":memory:". The file and its folder are made on first use.

        `busy_seconds` is how long to wait for another process's commit.
        """
        self._path = str(path)
        self._busy_seconds = busy_seconds
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._lock = threading.Lock()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        outcome: T = await self._ask(work, writes=False)
        return outcome

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Once it returns, the change survives the process and, with it, the machine."""
        outcome: T = await self._ask(work, writes=True)
        return outcome

    def close(self) -> None:
        """Ends what was asked for so far, then the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._tasks.put(None)
            thread.join()

    async def _ask(self, work: Callable[[sqlite3.Connection], Any], *, writes: bool) -> Any:
        self._start_thread()
        task = _Task(work, writes, asyncio.get_running_loop().create_future())
        self._tasks.put(task)
        return await task.future

    def _start_thread(self) -> None:
        """On first use and not before: threads do not survive the server's fork."""
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
        while (first := self._tasks.get()) is not None:
            batch, last = self._batch(first)
            try:
                connection = connection or connect(self._path, self._busy_seconds)
                _run_batch(connection, batch)
            except (sqlite3.Error, OSError) as error:
                _fail(batch, error)
            _answer(batch)
            if last:
                break
        if connection is not None:
            connection.close()

    def _batch(self, first: _Task) -> tuple[list[_Task], bool]:
        """(what waits by now, whether the database was closed behind it)."""
        batch = [first]
        with suppress(Empty):
            while len(batch) < MAX_PER_COMMIT:
                task = self._tasks.get_nowait()
                if task is None:
                    return batch, True
                batch.append(task)
        return batch, False


def connect(path: str, busy_seconds: float) -> sqlite3.Connection:
    """An open, migrated database; WAL lets other processes read while one writes."""
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=busy_seconds, cached_statements=256)
    _use_wal(connection, busy_seconds)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    migrate(connection)
    return connection


def _use_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """A new file is switched by whoever has it alone; SQLite tells the others that it is busy and does not wait."""
    give_up_at = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(WAL_PAUSE_SECONDS)


def _run_batch(connection: sqlite3.Connection, batch: list[_Task]) -> None:
    writing = any(task.writes for task in batch)
    if writing:
        connection.execute("BEGIN IMMEDIATE")
    try:
        for task in batch:
            _run(connection, task)
        if writing:
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, task: _Task) -> None:
    if task.writes:
        connection.execute("SAVEPOINT task")
    try:
        task.outcome = task.work(connection)
    except Exception as error:  # noqa: BLE001 - carried to the caller, whatever it is
        task.error = error
        if task.writes:
            connection.execute("ROLLBACK TO task")
    if task.writes:
        connection.execute("RELEASE task")


def _fail(batch: list[_Task], error: Exception) -> None:
    for task in batch:
        task.error = error


def _answer(batch: list[_Task]) -> None:
    """One wake-up per event loop, not one per task."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Task]] = {}
    for task in batch:
        by_loop.setdefault(task.future.get_loop(), []).append(task)
    for loop, tasks in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, tasks)


def _resolve(tasks: list[_Task]) -> None:
    for task in tasks:
        if task.future.done():
            continue
        if task.error is None:
            task.future.set_result(task.outcome)
        else:
            task.future.set_exception(_translated(task.error))


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, ServiceError) or not isinstance(error, sqlite3.Error | OSError):
        return error
    unavailable = StoreUnavailable()
    unavailable.__cause__ = error
    return unavailable
