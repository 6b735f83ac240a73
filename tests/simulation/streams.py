"""A client's side of a stream: it reads server-sent events, breaks it off now and then, and resumes it."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from starlette.responses import Response, StreamingResponse

from shared.domain.channel import OVERLAP, channel_for
from shared.domain.directory import Profile
from shared.errors import ServiceError
from shared.services import Services
from shared.web import sse
from shared.web.cursor import decode_channel_cursor
from tests.simulation.history import Update
from tests.simulation.instance import ConnectionLost, Instance

if TYPE_CHECKING:
    from tests.simulation.clients import ApiClient

AFTER_TROUBLE = 2.0
STALLS_AFTER = 2
LONGEST = 300.0
"""Seconds after which the platform ends a stream."""
LOOKS_BACK = OVERLAP.total_seconds() - 5.0
"""How long before its opening a stream without a cursor begins at the latest."""
ENDING = frozenset({"run.completed", "run.failed", "run.cancelled"})


class Stream(ABC):
    """Both kinds of streams; `last_id` is what a browser would send as Last-Event-ID."""

    def __init__(self, client: "ApiClient", *, break_every: float | None, pause: float, stall: float = 0.0) -> None:
        """`stall` is for how many seconds the client stops reading, once, after so many parts as STALLS_AFTER says."""
        self._client = client
        self._stall = stall
        self._break_every = break_every
        self._pause = pause
        self._last_id: str | None = None
        self._is_over = False
        self._connections = 0

    async def follow(self) -> None:
        while not self._is_over:
            try:
                await self._connect()
            except (ServiceError, ConnectionLost):
                await asyncio.sleep(AFTER_TROUBLE)
            if not self._is_over:
                await asyncio.sleep(self._pause)

    async def _connect(self) -> None:
        """Reads one connection to its end, or until this client breaks it off."""
        world = self._client.world
        instance = world.instance_of("api")
        self._connections += 1
        parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        task = instance.start(self._serve(instance, parts), about=self._about)
        ends = world.now + min(self._break_every or LONGEST, LONGEST)
        try:
            async with asyncio.timeout_at(ends):
                while (part := await parts.get()) is not None:
                    self._read(part)
        except TimeoutError:
            task.cancel()
        while not parts.empty():
            parts.get_nowait()  # what was under way when the connection broke is lost
        if task.done() or instance.is_dead:
            await instance.answer(task)

    async def _serve(self, instance: Instance, parts: "asyncio.Queue[bytes | None]") -> None:
        try:
            response = await self._open(instance.services)
            if isinstance(response, StreamingResponse):
                async with aclosing(cast(AsyncGenerator[bytes], response.body_iterator)) as body:
                    sent = 0
                    async for part in body:
                        if instance.is_dead:
                            return
                        parts.put_nowait(part)
                        sent += 1
                        if sent == STALLS_AFTER and self._connections == 1:
                            await self._do_not_read()
            else:
                self._is_over = True
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - the history records whatever was not expected
            self._client.record_unexpected_error(error)
        finally:
            parts.put_nowait(None)

    async def _do_not_read(self) -> None:
        """Keeps the server from sending more."""
        world = self._client.world
        world.stalled_until = max(world.stalled_until, world.now + self._stall)
        await asyncio.sleep(self._stall)

    def _read(self, part: bytes) -> None:
        fields = dict(line.partition(": ")[::2] for line in part.decode().strip().splitlines())
        if "event" not in fields:
            return
        data = json.loads(fields["data"])
        if fields["event"] == "error":
            if data["code"] == "internal":
                self._client.world.history.unexpected_errors.append(
                    f"a stream of {self._client.name} ended with internal"
                )
            return
        self._last_id = fields["id"]
        update = Update(
            at=self._client.world.now,
            connection=self._connections,
            run_id=data["run_uuid"],
            sequence=data["sequence"],
            type=fields["event"],
            data=data,
        )
        self._client.world.history.streams[self._client.name].append(update)
        self._took(update)

    async def _authenticate(self) -> Profile:
        return self._client.caller

    _about: str | None = None

    @abstractmethod
    async def _open(self, services: Services) -> Response:
        """Asks for the stream, from the last event on that arrived."""

    def _took(self, update: Update) -> None:
        """Handles an update that has arrived."""
        return


class RunStream(Stream):
    def __init__(self, client: "ApiClient", run_id: str, *, break_every: float | None, pause: float) -> None:
        super().__init__(client, break_every=break_every, pause=pause)
        self._about = run_id
        self._run_id = run_id

    async def _open(self, services: Services) -> Response:
        run = await services.read.get(self._client.caller, self._run_id)
        return sse.stream(services, run, self._authenticate, after=int(self._last_id or 0))

    def _took(self, update: Update) -> None:
        self._is_over = update.type in ENDING


class ChannelStream(Stream):
    def __init__(
        self, client: "ApiClient", channel: str, *, break_every: float | None, pause: float, stall: float
    ) -> None:
        super().__init__(client, break_every=break_every, pause=pause, stall=stall)
        self._channel = channel_for(client.caller, channel)

    async def _open(self, services: Services) -> Response:
        after = None
        if self._last_id is None:
            self._begin_anew()
        else:
            after = decode_channel_cursor(self._last_id, self._channel)
        return sse.stream_channel(services, self._channel, self._authenticate, after=after)

    def _begin_anew(self) -> None:
        """Records from when on every event must come: as long as nothing came, a new stream begins shortly before."""
        connected_at, now = self._client.world.history.connected_at, self._client.world.now
        connected_at[self._client.name] = max(connected_at.get(self._client.name, now), now - LOOKS_BACK)
