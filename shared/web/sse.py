"""Streams updates as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from shared import log
from shared.domain import views
from shared.domain.channel import Channel, ChannelCursor, channel_for
from shared.domain.directory import Profile
from shared.domain.event import Event
from shared.domain.run import Run
from shared.error_codes import ErrorCode
from shared.errors import ChannelNotFound, InvalidRequest, ServiceError, StoreUnavailable
from shared.services import Services
from shared.usecases.watch import public_events
from shared.web.cursor import encode_channel_cursor
from shared.web.errors import error_body
from shared.web.event_stream import EventStream, LastEvent

HEADERS = {"X-Accel-Buffering": "no"}
"""Proxies such as nginx send each event at once instead of collecting them.

https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
"""
REAUTHENTICATION_SECONDS = 60.0
RECONNECT = b"retry: 2000\n\n"
"""Tells a browser to reconnect 2 s after a stream has broken."""
HEARTBEAT = b": still here\n\n"
"""A comment, which clients ignore. It shows proxies and clients that the connection is alive."""

TOO_OLD = InvalidRequest(
    "this update is too long ago to go on from; list the runs, later updates follow here",
    field="starting_after",
    code=ErrorCode.UPDATE_TOO_OLD,
)
MAX_TEXTS = 256
_texts: dict[int, tuple[ChannelCursor, str]] = {}
"""{id of a cursor: (the cursor, its text)}"""

Authenticate = Callable[[], Awaitable[Profile]]
"""Returns the profile that the request's credentials prove now. Raises Unauthenticated or Forbidden."""


def stream(
    services: Services,
    run: Run,
    authenticate: Authenticate,
    *,
    after: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Streams the events of a run after the sequence `after`, until the run has ended.

    Answers 204 when the run has ended and has no such event: a browser's EventSource then stops reconnecting.
    """
    if run.is_terminal and not public_events(run, after=after):
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=dict(headers or {}))
    body = _with_error(
        with_periodic_auth(_events(services, run, after), authenticate), request_id=log.current("request_id")
    )
    return EventStream(body, headers={**HEADERS, **(headers or {})})


async def _events(services: Services, run: Run, after: int) -> AsyncIterator[bytes]:
    """Sends the whole run with the first and the run's last event only: a result of megabytes is not sent with each."""
    yield RECONNECT
    is_first = True
    async for update in services.watch(run.id, after=after):
        if update is None:
            yield HEARTBEAT
            continue
        event, current = update
        is_last = views.ends_run(event)
        is_whole = is_first or is_last
        rendered = await _rendered(services, event, current, event_id=str(event.sequence), is_whole=is_whole)
        yield LastEvent(rendered) if is_last else rendered
        is_first = False


def stream_channel(
    services: Services, channel: Channel, authenticate: Authenticate, *, after: ChannelCursor | None
) -> EventStream:
    """Streams the events of all runs of the channel after the cursor, for as long as the client listens.

    Without a cursor, the stream starts with the events of the last 30 seconds.
    """

    async def still_a_member() -> Profile:
        caller = await authenticate()
        if channel_for(caller, channel.name) != channel:
            raise ChannelNotFound
        return caller

    events = with_periodic_auth(_channel_events(services, channel, after), still_a_member)
    body = _with_error(events, request_id=log.current("request_id"))
    return EventStream(body, headers=HEADERS)


async def _channel_events(services: Services, channel: Channel, after: ChannelCursor | None) -> AsyncIterator[bytes]:
    """Sends the whole run with the first event of the connection and with each run's last event.

    When `after` is older than runs are kept, sends the event `reset` first, and goes on as without `after`.
    """
    yield RECONNECT
    if after is not None and services.watch_channel.is_too_old(after):
        after = services.watch_channel.start()
        yield message("reset", error_body(TOO_OLD), event_id=encode_channel_cursor(after, channel))
    is_first = True
    async for update in services.watch_channel(channel, after=after):
        if update is None:
            yield HEARTBEAT
            continue
        event, run, cursor = update
        is_whole = is_first or views.ends_run(event)
        yield await _rendered(services, event, run, event_id=_text_of(cursor, channel), is_whole=is_whole)
        is_first = False


async def _rendered(services: Services, event: Event, run: Run, *, event_id: str, is_whole: bool) -> bytes:
    """Returns one update as a server-sent event, with the whole run if `is_whole`."""

    async def render() -> bytes:
        content = None
        shown = run
        if is_whole:
            shown = await services.read.with_result(run)
            content = await services.read.input_of(shown)
        return message(event.type, views.event_object(event, shown, content), event_id=event_id)

    return await services.rendered.get((event_id, run.id, run.revision, event.sequence, is_whole), render)


def _text_of(cursor: ChannelCursor, channel: Channel) -> str:
    """Returns the id of an event of the channel. Streams that stand at the same place share one cursor object."""
    known = _texts.get(id(cursor))
    if known is not None and known[0] is cursor:
        return known[1]
    text = encode_channel_cursor(cursor, channel)
    _texts[id(cursor)] = (cursor, text)
    if len(_texts) > MAX_TEXTS:
        del _texts[next(iter(_texts))]
    return text


def message(kind: str, data: Mapping[str, Any], *, event_id: str | None = None) -> bytes:
    """Returns one server-sent event of the type `kind`, with `data` as JSON on one line."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def with_periodic_auth(
    parts: AsyncIterator[bytes], authenticate: Authenticate, *, every: float = REAUTHENTICATION_SECONDS
) -> AsyncIterator[bytes]:
    """Passes the parts on, and authenticates the listener again when `every` seconds have passed since the last time.

    A stream may last longer than its listener's session or membership. Raises what `authenticate` raises.
    """
    clock = asyncio.get_running_loop().time
    checked_at = clock()
    async for part in parts:
        if clock() - checked_at >= every:
            await authenticate()
            checked_at = clock()
        yield part


async def _with_error(parts: AsyncIterator[bytes], *, request_id: str | None) -> AsyncIterator[bytes]:
    """Passes the parts on, and sends an error as the last event: the status line of the response was sent before.

    Binds `request_id` to log lines again, because the body is sent after the request's own context has ended.
    """
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
        except Exception as error:  # noqa: BLE001 - a stream that has begun cannot answer with a 500
            log.failure("stream failed", error)
            yield message("error", error_body(ServiceError()))
