"""Runs the work on a database in memory in the event loop of its callers."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress

from shared.adapters.sqlite.worker import Worker, fail, resolve, run_batch


class InlineWorker(Worker):
    """A worker without a thread: what waits for no disk need not be handed over, which takes longer than most work.

    What an event loop submits in one of its rounds runs at the end of the round, and is committed together.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(name, connect, threads=0, batch_size=1)
        self._connection: sqlite3.Connection | None = None
        self._of_connection = threading.Lock()

    def close(self) -> None:
        """Completes the work that was submitted before."""
        super().close()
        with self._of_connection:
            if self._connection is not None:
                self._connection.close()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        ended = self._rounds.pop(loop, None)
        if ended is None:
            return
        with self._of_connection:
            try:
                self._connection = self._connection or self._connect()
                run_batch(self._connection, ended.operations)
            except (sqlite3.Error, OSError) as error:
                fail(ended.operations, error)
        with suppress(RuntimeError):  # the loop is closed, so no caller waits any more
            resolve(ended.operations)
