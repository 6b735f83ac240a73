"""A run's updates as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response, StreamingResponse

from shared import log
from shared.domain.channel import Channel, ChannelCursor, channel_for
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.errors import ChannelNotFound, ServiceError, StoreUnavailable
from shared.usecases.watch import updates
from shared.web import render
from shared.web.cursor import encode_channel_cursor
from shared.web.errors import error_body
from shared.wiring import Services

HEADERS = {"X-Accel-Buffering": "no"}
REAUTHENTICATION_SECONDS = 60.0

Authenticate = Callable[[], Awaitable[Profile]]
"""Who is listening, as the request's credentials say now. Raises Unauthenticated or Forbidden."""


def stream(
    services: Services,
    run: Run,
    authenticate: Authenticate,
    *,
    after: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Every event behind `after`, until the run is complete; 204, for browsers to stop asking, when there is none."""
    if run.is_terminal and not updates(run, after=after):
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=dict(headers or {}))
    body = _with_error(
        with_periodic_auth(_events(services, run, after), authenticate), request_id=log.current("request_id")
    )
    return StreamingResponse(body, media_type="text/event-stream", headers={**HEADERS, **(headers or {})})


async def _events(services: Services, run: Run, after: int) -> AsyncIterator[str]:
    content = await services.read.input_of(run)
    yield "retry: 2000\n\n"
    async for update in services.watch(run.id, after=after):
        if update is None:
            yield ": still here\n\n"
            continue
        event, current = update
        yield message(event.type, render.event(event, current, content), event_id=str(event.sequence))


def stream_channel(
    services: Services, channel: Channel, authenticate: Authenticate, *, after: ChannelCursor | None
) -> StreamingResponse:
    """Every event of every run of the channel, for as long as the client listens."""

    async def still_a_member() -> Profile:
        caller = await authenticate()
        if channel_for(caller, channel.name) != channel:
            raise ChannelNotFound
        return caller

    events = with_periodic_auth(_channel_events(services, channel, after), still_a_member)
    body = _with_error(events, request_id=log.current("request_id"))
    return StreamingResponse(body, media_type="text/event-stream", headers=HEADERS)


async def _channel_events(services: Services, channel: Channel, after: ChannelCursor | None) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    async for update in services.watch_channel(channel, after=after):
        if update is None:
            yield ": still here\n\n"
            continue
        event, run, cursor = update
        content = await services.read.input_of(run)
        yield message(event.type, render.event(event, run, content), event_id=encode_channel_cursor(cursor, channel))


def message(kind: str, data: Mapping[str, Any], *, event_id: str | None = None) -> str:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def with_periodic_auth(
    parts: AsyncIterator[str], authenticate: Authenticate, *, every: float = REAUTHENTICATION_SECONDS
) -> AsyncIterator[str]:
    """A stream may outlive a session, or a membership: now and then it is asked again who listens."""
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    async for part in parts:
        if clock() - asked_at >= every:
            await authenticate()
            asked_at = clock()
        yield part


async def _with_error(parts: AsyncIterator[str], *, request_id: str | None) -> AsyncIterator[str]:
    """The status line is long gone: what goes wrong now is told as the last event."""
    with log.bound(request_id=request_id):
        try:
            async for part in parts:
                yield part
        except asyncio.CancelledError:
            yield message("error", error_body(StoreUnavailable("The server is closing; connect again.")))
            raise
        except ServiceError as error:
            log.warning("stream ended early", code=error.code)
            yield message("error", error_body(error))
        except Exception as error:  # noqa: BLE001 - the last line of defence for what has begun to stream
            log.failure("stream failed", error)
            yield message("error", error_body(ServiceError()))
