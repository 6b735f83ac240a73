"""A process of one function: it has a clock of its own, it may die with all it has in hand, and it may stand still."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from shared.services import Services
from tests.simulation.history import EPOCH, FaultKind

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["EPOCH", "ConnectionLost", "Instance", "InstanceClock", "ProcessDied"]
T = TypeVar("T")


class ProcessDied(BaseException):
    """The process is gone. It is no Exception, so that the program cannot catch it."""


class ConnectionLost(Exception):
    """What the caller of a process that died sees."""


class InstanceClock:
    """The world's time, wrong by `skew` seconds."""

    def __init__(self, world: "World", skew: float) -> None:
        self._world = world
        self._origin = EPOCH + timedelta(seconds=skew)

    def now(self) -> datetime:
        return self._origin + timedelta(seconds=self._world.now)

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class Instance:
    """`services` is set by the world once its ports are made."""

    services: Services

    def __init__(self, world: "World", *, function: str, place: int, skew: float) -> None:
        world.instances_made += 1
        self.world = world
        self.function = function
        self.place = place
        self.name = f"{function}/{place}#{world.instances_made}"
        self.clock = InstanceClock(world, skew)
        self.is_dead = False
        self.frozen_until = 0.0
        self._work: dict[asyncio.Task[Any], str | None] = {}

    def start(self, work: Coroutine[Any, Any, T], *, about: str | None = None) -> "asyncio.Task[T]":
        """Begins to serve one request. `about` is the run that it is about, when that is known."""
        task = self.world.loop.create_task(work)
        self._work[task] = about
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[Any]") -> None:
        self._work.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever waits for the task raises it

    async def answer(self, task: "asyncio.Task[T]") -> T:
        """Returns what the request is answered with. Raises ConnectionLost when the process dies meanwhile."""
        await asyncio.wait([task])
        if self.is_dead or task.cancelled() or isinstance(task.exception(), ProcessDied):
            raise ConnectionLost
        return task.result()

    def die(self, why: str) -> None:
        """Ends the process: nothing that it does from now on has an effect."""
        if self.is_dead:
            return
        self.is_dead = True
        history = self.world.history
        runs = [about for about in self._work.values() if about is not None]
        history.deaths += [(self.world.now, self.name, run_id) for run_id in runs]
        for run_id in runs:
            self.world.record_fault(run_id, why, kind=FaultKind.CRASH, part=self.function)
        self.world.log(self.name, f"dies: {why}")
        for task in list(self._work):
            task.cancel()
        self.world.replace(self)

    def freeze(self, seconds: float, why: str) -> None:
        self.frozen_until = max(self.frozen_until, self.world.now + seconds)
        self.world.log(self.name, f"stands still for {seconds:g} s")
        for run_id in self._work.values():
            if run_id is not None:
                self.world.record_fault(run_id, why, kind=FaultKind.FREEZE, part=self.function)

    async def thaw(self) -> None:
        while self.frozen_until > self.world.now:
            await asyncio.sleep(self.frozen_until - self.world.now)
