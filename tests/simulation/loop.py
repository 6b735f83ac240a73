"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer.

asyncio.sleep, asyncio.timeout and loop.time() obey it. It has no threads, no sockets and no signals, so the order in
which callbacks run depends on nothing but the program.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled, so the program would wait for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`unhandled` collects what tasks raised that nobody awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = self
        self.unhandled: list[BaseException] = []
        self.set_exception_handler(self._keep)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Stands for the wait of a real loop: moves the time instead."""
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        return ()

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There are no other threads to wake this one."""

    def _keep(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.unhandled.append(context.get("exception") or RuntimeError(context["message"]))


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs `main` to its end on a new loop, then cancels whatever it left behind."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_started(main))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_ended(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _started(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await main()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
