"""Reads one feed of the store, and hands each of its runs to all listeners."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import Context
from typing import Generic, Protocol, TypeVar

from shared import log
from shared.domain.run import Run
from shared.errors import ServiceError
from shared.ports import RunFeed

WOKEN_AT_ONCE = 8
"""Ten thousand listeners that wake at once would hold up all other requests for most of a second."""
LOOKS_EVERY_SECONDS = 15.0
"""A feed that nothing comes from is asked again, so that its listeners learn that they have missed nothing."""


class Listener(Protocol):
    def take(self, run: Run, *, caught_up_at: float) -> None:
        """Gets the next state of a run, without waiting. All changes up to the time `caught_up_at` came before it."""

    def fail(self, error: BaseException) -> None:
        """Learns that nothing more comes, because the feed has raised this."""


L = TypeVar("L", bound=Listener)


class Broadcast(Generic[L]):
    """Reads the feed in a task of its own while there are listeners."""

    def __init__(
        self,
        watch: Callable[[], AbstractAsyncContextManager[RunFeed]],
        *,
        on_end: "Callable[[Broadcast[L]], None]",
        on_told: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_end` gets this broadcast once, when its last listener has left or its feed has raised.

        `on_told` is called after each run.
        """
        self.listeners: dict[L, None] = {}
        """In the order in which they came."""
        self.latest: Run | None = None
        """What the feed returned last."""
        self._watch = watch
        self._on_end = on_end
        self._on_told = on_told
        self._is_over = False
        # The task outlives the request that begins it, so it does not take over that request's log fields.
        self._task = asyncio.get_running_loop().create_task(self._read(), context=Context())
        self._task.add_done_callback(self._ended)

    def join(self, listener: L) -> None:
        self.listeners[listener] = None

    def leave(self, listener: L) -> None:
        self.listeners.pop(listener, None)
        if not self.listeners:
            self._task.cancel()
            self._end()

    async def _read(self) -> None:
        """Raises what the feed raises."""
        async with self._watch() as feed:
            while True:
                run = await feed.next(timeout=LOOKS_EVERY_SECONDS)
                if run is not None:
                    self.latest = run
                    await self._tell(run, feed.caught_up_at)
                    self._on_told()

    async def _tell(self, run: Run, caught_up_at: float) -> None:
        """Wakes a few listeners at a time, and lets the event loop do other work in between."""
        for number, listener in enumerate(list(self.listeners), start=1):
            if listener in self.listeners:
                listener.take(run, caught_up_at=caught_up_at)
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Hands what the feed has raised to the listeners, so that they do not wait for ever."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, Exception) and not isinstance(error, ServiceError):
            log.failure("a shared watch failed", error)
        for listener in list(self.listeners):
            listener.fail(error)
        self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_end(self)
