"""Coalesces concurrent calls with the same key; all callers get the same result or exception.

Calls are shared within one event loop only: tasks belong to the loop that created them.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class SingleFlight(Generic[T]):
    def __init__(self) -> None:
        self._by_loop: WeakKeyDictionary[Any, dict[Hashable, asyncio.Task[T]]] = WeakKeyDictionary()

    async def __call__(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Returns or raises what `work` does, or what a call in progress with the same key does.

        The work continues when a caller is cancelled, even the first one.
        """
        tasks = self._tasks
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.create_task(work())
            task.add_done_callback(partial(_remove, tasks, key))
        return await asyncio.shield(task)

    def is_in_progress(self, key: Hashable) -> bool:
        return key in self._tasks

    @property
    def _tasks(self) -> dict[Hashable, asyncio.Task[T]]:
        return self._by_loop.setdefault(asyncio.get_running_loop(), {})


def _remove(tasks: dict[Hashable, asyncio.Task[Any]], key: Hashable, task: asyncio.Task[Any]) -> None:
    del tasks[key]
    if not task.cancelled():
        task.exception()  # marks the exception as retrieved: asyncio logs an error when all callers were cancelled
