"""Clients beside those that submit: who follows a channel, who reads lists, and who tries what is not theirs."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.domain.channel import channel_for
from shared.domain.status import USER_RUN_KINDS, Kind, Status
from shared.errors import ChannelNotFound, RunNotFound, ServiceError
from shared.ports import RunFilter, RunPosition
from shared.services import Services
from shared.usecases.read import Page
from tests.simulation.clients import ApiClient
from tests.simulation.instance import ConnectionLost
from tests.simulation.plan import Intrude, Listen, ListRuns
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
        stream = ChannelStream(self, entry.channel, break_every=entry.break_every, pause=entry.pause, stall=entry.stall)
        await stream.follow()


class Lister(ApiClient):
    def __init__(self, world: "World", entry: ListRuns) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry

    async def run(self) -> None:
        await self.until(self._entry.at)
        started_at, found = self.world.now, list[str]()
        after: RunPosition | None = None
        entry = self._entry
        kinds = (Kind.JOB,) if entry.jobs else USER_RUN_KINDS
        status = Status(entry.status) if entry.status else None
        wanted = RunFilter(user_id=entry.user, kinds=kinds, status=status)
        for _ in range(20):
            asked_at = self.world.now
            try:
                page = await self.ask(partial(_page, wanted, after))
            except (ServiceError, ConnectionLost):
                await asyncio.sleep(AFTER_TROUBLE)
                continue
            for run in page.runs:
                found.append(run.id)
                self.record_seen(run, asked_at, "list")
            after = page.next_cursor
            if after is None:
                self.world.history.lists.append((entry.name, found, started_at, self.world.now))
                return


async def _page(wanted: RunFilter, after: RunPosition | None, services: Services) -> Page:
    return await services.read.page(wanted, limit=PAGE, offset=0, after=after)


class Intruder(ApiClient):
    """Tries to read, stream, cancel and delete somebody else's run; each try must find nothing."""

    def __init__(self, world: "World", entry: Intrude) -> None:
        super().__init__(world, entry.name, entry.user)
        self._entry = entry

    async def run(self) -> None:
        await self.until(self._entry.at)
        accepted_ids = self.world.history.accepted_ids.get(self._entry.target, [])
        victim = next(one for one in self.world.plan.submits if one.name == self._entry.target)
        for channel in (f"user:{victim.user}", "org:elsewhere"):
            try:
                channel_for(self.caller, channel)
                self.world.history.foreign_reads.append(f"{self.user} may follow {channel}")
            except ChannelNotFound:
                pass
        if accepted_ids:
            await self._try_all(accepted_ids[0][1])

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
                    self.world.history.foreign_reads.append(f"{self.user} learns of {run_id[-4:]} by {what}: {error!r}")
                continue
            self.world.history.foreign_reads.append(f"{self.user} may {what} {run_id[-4:]}")
