"""The clients of a plan. Each call goes to any instance of the API; its answer may be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from shared.domain.directory import Profile, read_profile
from shared.domain.run import Run
from shared.errors import ServiceError
from shared.services import Services
from tests.simulation.faults import CallFaultKind
from tests.simulation.history import FaultKind, SeenRun
from tests.simulation.instance import ConnectionLost, Instance
from tests.simulation.parts import USERS

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
NETWORK = 0.03
"""Seconds that a request or its answer takes at most."""


def profile_of(user: str) -> Profile:
    return read_profile(user, USERS[user])


class ApiClient:
    """What all clients of the API share."""

    def __init__(self, world: "World", name: str, user: str) -> None:
        self.world = world
        self.name = name
        self.user = user
        self.caller = profile_of(user)

    async def ask(self, work: Callable[[Services], Awaitable[T]], *, about: str | None = None) -> T:
        """Returns the answer. Raises ServiceError as the API answers it, and ConnectionLost."""
        await self._travel()
        instance = self.world.instance_of("api")
        answer = await instance.answer(instance.start(self._served(instance, work), about=about))
        fault = self.world.call_faults.count_call("client.answer", self.name)
        if fault is not None and fault.kind is CallFaultKind.LOSE_ANSWER:
            self.world.record_fault(about, str(fault), kind=FaultKind.CALL, part="client")
            raise ConnectionLost
        await self._travel()
        return answer

    async def _served(self, instance: Instance, work: Callable[[Services], Awaitable[T]]) -> T:
        try:
            return await work(instance.services)
        except ServiceError:
            raise
        except Exception as error:
            self.record_unexpected_error(error)
            raise ConnectionLost from error

    async def _travel(self) -> None:
        await asyncio.sleep(self.world.random.random() * NETWORK)

    async def get(self, run_id: str) -> Run:
        """Returns the run as the API shows it and remembers it."""
        asked_at = self.world.now
        run = await self.ask(lambda services: services.read.get(self.caller, run_id), about=run_id)
        self.record_seen(run, asked_at, "get")
        return run

    def record_seen(self, run: Run, asked_at: float, how: str) -> None:
        history = self.world.history
        history.seen.append(
            SeenRun(at=self.world.now, asked_at=asked_at, client=self.name, user=self.user, run=run, how=how)
        )

    def record_unexpected_error(self, error: BaseException) -> None:
        self.world.record_unexpected_error(self.name, error)

    def log(self, what: str) -> None:
        self.world.log(self.name, what)

    async def until(self, moment: float) -> None:
        await asyncio.sleep(max(moment - self.world.now, 0))
