"""Of those who ask for the same thing at once one goes, and all get what it brings.

Each event loop has flights of its own: locks and futures belong to the loop that they were made in.
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

    async def __call__(self, what: Hashable, go: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `go` brings, also its error. It goes on when whoever asked first has gone away."""
        flights = self._flights
        flight = flights.get(what)
        if flight is None:
            flight = flights[what] = asyncio.create_task(go())
            flight.add_done_callback(partial(_landed, flights, what))
        return await asyncio.shield(flight)

    def is_under_way(self, what: Hashable) -> bool:
        return what in self._flights

    @property
    def _flights(self) -> dict[Hashable, asyncio.Task[T]]:
        return self._by_loop.setdefault(asyncio.get_running_loop(), {})


def _landed(flights: dict[Hashable, asyncio.Task[Any]], what: Hashable, flight: asyncio.Task[Any]) -> None:
    del flights[what]
    if not flight.cancelled():
        flight.exception()  # looked at, or asyncio complains when nobody waits any more
