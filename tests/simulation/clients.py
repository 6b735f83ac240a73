"""The clients of a plan. Each call goes to any instance of the API; its answer may be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from shared.domain.directory import Profile, read_profile
from shared.domain.run import Run
from shared.errors import ServiceError
from shared.services import Services
from tests.simulation.faults import Act
from tests.simulation.history import Sight
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
        fault = self.world.trap.spring("client.answer", self.name)
        if fault is not None and fault.act is Act.LOSE_ANSWER:
            self.world.touch(about, str(fault))
            raise ConnectionLost
        await self._travel()
        return answer

    async def _served(self, instance: Instance, work: Callable[[Services], Awaitable[T]]) -> T:
        try:
            return await work(instance.services)
        except ServiceError:
            raise
        except Exception as error:
            self.surprise(error)
            raise ConnectionLost from error

    async def _travel(self) -> None:
        await asyncio.sleep(self.world.random.random() * NETWORK)

    async def get(self, run_id: str) -> Run:
        """Returns the run as the API shows it and remembers it."""
        asked_at = self.world.now
        run = await self.ask(lambda services: services.read.get(self.caller, run_id), about=run_id)
        self.saw(run, asked_at, "get")
        return run

    def saw(self, run: Run, asked_at: float, how: str) -> None:
        history = self.world.history
        history.sights.append(
            Sight(at=self.world.now, asked_at=asked_at, client=self.name, user=self.user, run=run, how=how)
        )

    def surprise(self, error: BaseException) -> None:
        self.world.surprise(self.name, error)

    def note(self, what: str) -> None:
        self.world.note(self.name, what)

    async def until(self, moment: float) -> None:
        await asyncio.sleep(max(moment - self.world.now, 0))


def start_clients(world: "World") -> list[asyncio.Task[Any]]:
    """Starts every client of the plan; each waits for its time."""
    from tests.simulation.followers import Lister, Listener, Snooper
    from tests.simulation.submitters import Submitter

    kinds: dict[str, Any] = {"Submit": Submitter, "Listen": Listener, "ListRuns": Lister, "Snoop": Snooper}
    return [world.background(kinds[type(entry).__name__](world, entry).run()) for entry in world.plan.clients]
