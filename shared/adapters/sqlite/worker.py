"""Runs work on SQLite connections in threads, and commits the writes that wait together."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from shared.errors import ServiceError, StoreUnavailable

MAX_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class _Operation:
    """Work that a caller waits for; after it ran, its outcome or its error."""

    work: Callable[[sqlite3.Connection], Any]
    is_write: bool
    future: "asyncio.Future[Any]"
    outcome: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Round:
    """Holds what one event loop has submitted and has not handed over yet."""

    operations: list[_Operation] = field(default_factory=list)
    is_ending: bool = False
    """Is the hand-over already under way?"""


class Worker:
    """Threads that take work from one queue, each with a connection of its own.

    What an event loop submits in one of its rounds is handed over together, and wakes a thread once.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], *, threads: int, batch_size: int) -> None:
        """`batch_size` is about how many pieces of work a thread takes at once. Only one thread may run writes."""
        self._name = name
        self._connect = connect
        self._size = threads
        self._batch_size = batch_size
        self._operations: SimpleQueue[list[_Operation] | None] = SimpleQueue()
        """None ends a thread."""
        self._rounds: dict[asyncio.AbstractEventLoop, _Round] = {}
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._lock = threading.Lock()

    async def run(self, work: Callable[[sqlite3.Connection], Any], *, is_write: bool) -> Any:
        """Returns the result of `work(connection)`; a write is committed then."""
        return await self.submit(work, is_write=is_write)

    def submit(self, work: Callable[[sqlite3.Connection], Any], *, is_write: bool) -> "asyncio.Future[Any]":
        """Like `run`, but returns the future of the result. Writes are committed in the order of their submission."""
        loop = asyncio.get_running_loop()
        operation = _Operation(work, is_write, loop.create_future())
        ending = self._add(loop, operation)
        if not ending.is_ending:
            ending.is_ending = True
            loop.call_soon(self._hand_over, loop)
        return operation.future

    def submit_soon(self, work: Callable[[sqlite3.Connection], Any]) -> "asyncio.Future[Any]":
        """Like `submit` for a write that nothing waits for: it may wait MAX_PAUSE_SECONDS for other work."""
        loop = asyncio.get_running_loop()
        operation = _Operation(work, True, loop.create_future())
        if len(self._add(loop, operation).operations) == 1:
            loop.call_later(MAX_PAUSE_SECONDS, self._hand_over, loop)
        return operation.future

    @property
    def is_at_work(self) -> bool:
        """Returns whether the threads have started and are not closed."""
        return bool(self._threads) and not self._closed

    def close(self) -> None:
        """Completes the work that was submitted before, then ends the threads."""
        for loop in list(self._rounds):
            self._hand_over(loop)
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._operations.put(None)
        for thread in self._threads:
            thread.join()

    def _add(self, loop: asyncio.AbstractEventLoop, operation: _Operation) -> _Round:
        """Returns the loop's round, with the operation. Raises StoreUnavailable when the database is closed.

        Starts the threads on first use and not earlier, because threads do not survive the server's fork.
        """
        with self._lock:
            if self._closed:
                raise StoreUnavailable("The database is closed.")
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._serve, name=self._name, daemon=True) for _ in range(self._size)
                ]
                for thread in self._threads:
                    thread.start()
            if loop not in self._rounds:
                self._rounds[loop] = _Round()
            self._rounds[loop].operations.append(operation)
            return self._rounds[loop]

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the loop's round. Its work is cut into batches, so that several threads take some of it."""
        with self._lock:
            ended = self._rounds.pop(loop, None)
            if ended is None:
                return
            for start in range(0, len(ended.operations), self._batch_size):
                self._operations.put(ended.operations[start : start + self._batch_size])

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        while (first := self._operations.get()) is not None:
            batch, is_last = self._batch(first)
            try:
                connection = connection or self._connect()
                run_batch(connection, batch)
            except (sqlite3.Error, OSError) as error:
                fail(batch, error)
            _return_outcomes(batch)
            if is_last:
                break
        if connection is not None:
            connection.close()

    def _batch(self, first: list[_Operation]) -> tuple[list[_Operation], bool]:
        """Returns (`first` and the operations that wait, whether the database was closed after them)."""
        batch = first
        with suppress(Empty):
            while len(batch) < self._batch_size:
                operations = self._operations.get_nowait()
                if operations is None:
                    return batch, True
                batch = batch + operations
        return batch, False


def run_batch(connection: sqlite3.Connection, batch: list[_Operation]) -> None:
    """Runs the operations, in one transaction when one of them writes. Raises sqlite3.Error when the commit fails."""
    if not any(operation.is_write for operation in batch):
        for operation in batch:
            _run(connection, operation)
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        if not _run_all(connection, batch):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for operation in batch:
                _run_in_savepoint(connection, operation)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_all(connection: sqlite3.Connection, batch: list[_Operation]) -> bool:
    """Returns False as soon as an operation has failed after it wrote: all of them are then to be rolled back.

    Most batches have none, so they need no savepoint for each operation. SQLite itself may end the transaction after
    some errors, such as a full disk: https://sqlite.org/lang_transaction.html
    """
    for operation in batch:
        changes = connection.total_changes
        _run(connection, operation)
        has_written = connection.total_changes != changes or not connection.in_transaction
        if operation.error is not None and has_written:
            return False
    return True


def _run_in_savepoint(connection: sqlite3.Connection, operation: _Operation) -> None:
    """Rolls only this operation back when it fails."""
    connection.execute("SAVEPOINT operation")
    _run(connection, operation)
    if operation.error is not None:
        connection.execute("ROLLBACK TO operation")
    connection.execute("RELEASE operation")


def _run(connection: sqlite3.Connection, operation: _Operation) -> None:
    operation.outcome = operation.error = None
    try:
        operation.outcome = operation.work(connection)
    except Exception as error:  # noqa: BLE001 - _return_outcomes raises it in the caller
        operation.error = error


def fail(batch: list[_Operation], error: Exception) -> None:
    for operation in batch:
        operation.error = error


def _return_outcomes(batch: list[_Operation]) -> None:
    """Wakes each event loop once for all its operations, not once for each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Operation]] = {}
    for operation in batch:
        by_loop.setdefault(operation.future.get_loop(), []).append(operation)
    for loop, operations in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, so no caller waits any more
            loop.call_soon_threadsafe(resolve, operations)


def resolve(operations: list[_Operation]) -> None:
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
