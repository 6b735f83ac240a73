"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer.

asyncio.sleep, asyncio.timeout and loop.time() obey it. It has no threads, no sockets and no signals, so the order in
which callbacks run depends on nothing but the program.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
RESOLUTION = 1e-9
"""Seconds: what is due so soon is due now, for sums of times differ in their last digits."""


class Deadlock(Exception):
    """Nothing is ready and nothing is scheduled, so the program would wait for ever."""


class Call:
    """A callback that the loop is to call at a time: the little of asyncio.TimerHandle that asyncio itself uses."""

    __slots__ = ("_moment", "args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, moment: float):
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.is_cancelled = False
        self._moment = moment

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._moment

    def __lt__(self, other: "Call") -> bool:
        """Lets a heap hold calls that are due at the same time."""
        return False


class VirtualLoop(asyncio.BaseEventLoop):
    """`unhandled` collects what tasks raised that nobody awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._due: deque[Call] = deque()
        self._later: list[tuple[float, Call]] = []
        self.unhandled: list[BaseException] = []
        self.set_exception_handler(self._keep)

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]  # Call is what asyncio uses of a handle
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Call:
        call = Call(callback, args, context, self._now)
        self._due.append(call)
        return call

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no other threads to wake this one

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Call:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Call:
        call = Call(callback, args, context, when)
        heappush(self._later, (when, call))
        return call

    def _run_once(self) -> None:
        """Does a turn of the loop as asyncio's does, without its wait for sockets, threads and the real time."""
        due, later = self._due, self._later
        while later and later[0][1].is_cancelled:
            heappop(later)
        if not due and not self._stopping:  # type: ignore[attr-defined]
            if not later:
                raise Deadlock
            self._now = max(self._now, later[0][0])
        while later and later[0][0] < self._now + RESOLUTION:
            due.append(heappop(later)[1])
        for _ in range(len(due)):
            call = due.popleft()
            if not call.is_cancelled:
                self._call(call)

    def _call(self, call: Call) -> None:
        try:
            call.context.run(call.callback, *call.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # asyncio's loops do the same
            self.call_exception_handler({"message": "a callback raised", "exception": error})

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
