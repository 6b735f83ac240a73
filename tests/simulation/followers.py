"""Clients beside those that submit: who follows a channel, who reads lists, and who tries what is not theirs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from shared.domain.channel import channel_for
from shared.domain.run import USER_RUN_KINDS, Kind, Status
from shared.errors import ChannelNotFound, RunNotFound, ServiceError
from shared.ports import RunFilter
from shared.services import Services
from tests.simulation.clients import ApiClient
from tests.simulation.instance import ConnectionLost
from tests.simulation.plan import Listen, ListRuns, Snoop
from tests.simulation.streams import ChannelStream

if TYPE_CHECKING:
    from tests.simulation.world import World

PAGE = 2
AFTER_TROUBLE = 2.0


class Listener(ApiClient):
    """Follows a channel until the simulation ends."""

    def __init__(self, world: "World", entry: Listen) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry

    async def run(self) -> None:
        await self.until(self._entry.at)
        self.world.background(self._follow())

    async def _follow(self) -> None:
        entry = self._entry
        await ChannelStream(self, entry.channel, breaks=entry.breaks, pause=entry.pause).follow()


class Lister(ApiClient):
    def __init__(self, world: "World", entry: ListRuns) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry

    async def run(self) -> None:
        await self.until(self._entry.at)
        started_at, after, found = self.world.now, None, list[str]()
        entry = self._entry
        kinds = (Kind.JOB,) if entry.jobs else USER_RUN_KINDS
        status = Status(entry.status) if entry.status else None
        wanted = RunFilter(user_id=entry.user, kinds=kinds, status=status)
        for _ in range(20):
            asked_at, start = self.world.now, after
            try:
                page = await self.ask(lambda s, a=start: s.read.page(wanted, limit=PAGE, offset=0, after=a))
            except (ServiceError, ConnectionLost):
                await asyncio.sleep(AFTER_TROUBLE)
                continue
            for run in page.runs:
                found.append(run.id)
                self.saw(run, asked_at, "list")
            after = page.next_cursor
            if after is None:
                self.world.history.lists.append((entry.name, found, started_at, self.world.now))
                return


class Snooper(ApiClient):
    """Tries to read, stream, cancel and delete somebody else's run; each try must find nothing."""

    def __init__(self, world: "World", entry: Snoop) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry

    async def run(self) -> None:
        await self.until(self._entry.at)
        told = self.world.history.told.get(self._entry.target, [])
        victim = next(one for one in self.world.plan.submits if one.name == self._entry.target)
        for channel in (f"user:{victim.user}", "org:elsewhere"):
            try:
                channel_for(self.caller, channel)
                self.world.history.leaks.append(f"{self.user} may follow {channel}")
            except ChannelNotFound:
                pass
        if told:
            await self._try_all(told[0][1])

    async def _try_all(self, run_id: str) -> None:
        tries: dict[str, Callable[[Services], Awaitable[Any]]] = {
            "read": lambda services: services.read.get(self.caller, run_id),
            "fetch": lambda services: services.read.get_finished(self.caller, run_id),
            "cancel": lambda services: services.cancel(self.caller, run_id),
            "delete": lambda services: services.delete(self.caller, run_id),
        }
        for what, attempt in tries.items():
            try:
                await self.ask(attempt)
            except RunNotFound:
                continue
            except (ServiceError, ConnectionLost) as error:
                if not getattr(error, "retryable", True):
                    self.world.history.leaks.append(f"{self.user} learns of {run_id[-4:]} by {what}: {error!r}")
                continue
            self.world.history.leaks.append(f"{self.user} may {what} {run_id[-4:]}")
