"""Reads requests: bodies, paths and headers become what the use cases take, or an InvalidRequest that names a field."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from math import isfinite
from typing import Any, NoReturn, TypeVar

import msgspec
from starlette.requests import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from shared.domain.channel import Channel, ChannelCursor
from shared.domain.directory import Profile
from shared.domain.fields import is_nested_too_deeply, read_uuid, require_utf8
from shared.errors import InputTooLarge, InvalidRequest, RunNotFound
from shared.usecases.submit import IdempotencyKey
from shared.web.cursor import decode_channel_cursor
from shared.web.errors import NotJson

MAX_KEY_LENGTH = 255
MAX_WAIT_SECONDS = 60
MAX_DIGITS = 9
"""A longer number in a header or a query is refused before Python converts it."""
SMALL_BODY_BYTES = 256 * 1024
"""What a body may hold besides its input, in bytes."""
MAX_ESCAPE_LENGTH = 6
"""JSON may write one byte of text as six, such as \\u0041."""
MAX_INLINE_BYTES = 64 * 1024
"""Larger bodies are read in a thread, so that other requests go on meanwhile."""
MAX_VALUES = 150_000
MAX_LENGTH_DIGITS = 12
_STRING_OR_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[,\[{]', re.DOTALL)

T = TypeVar("T")


async def json_object(request: Request, *, max_input_bytes: int, if_empty: bytes = b"") -> Mapping[str, Any]:
    """Returns the JSON object of the body; `if_empty` is the JSON that an empty body means.

    The whole body may have MAX_ESCAPE_LENGTH times `max_input_bytes` and SMALL_BODY_BYTES. Raises NotJson for another
    Content-Type, InputTooLarge, and InvalidRequest when the body is no JSON object or is nested too deeply.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotJson
    content = await _content(request, max_input_bytes * MAX_ESCAPE_LENGTH + SMALL_BODY_BYTES)
    return await off_loop(request, _read_object, content or if_empty)


async def off_loop(request: Request, function: Callable[..., T], *args: Any) -> T:
    """Calls the function, in a thread when the request's body is large, so that other requests go on meanwhile."""
    length = _content_length(request)
    is_small = length is not None and length <= MAX_INLINE_BYTES
    return function(*args) if is_small else await asyncio.to_thread(function, *args)


def _content_length(request: Request) -> int | None:
    """Returns the Content-Length in bytes, None when the request has none; HTTP servers refuse any but a number."""
    length = request.headers.get("content-length", "")
    return int(length[:MAX_LENGTH_DIGITS]) if length.isascii() and length.isdigit() else None


def _read_object(content: bytes) -> Mapping[str, Any]:
    if len(content) > MAX_INLINE_BYTES and has_too_many_values(content):
        raise InputTooLarge("The body has too many values.")
    try:
        body = _decode(content)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if is_nested_too_deeply(body):
        raise InvalidRequest("the body is nested too deeply")
    for name in body:
        require_utf8("a field name", name)
    return body


def _decode(content: bytes) -> Any:
    """Returns the JSON value. Raises ValueError or RecursionError.

    msgspec's parser holds up other threads half as long as Python's or less, but takes no unpaired surrogate and, as
    JSON has it, no infinity; Python's decides about what it refuses.
    """
    try:
        return msgspec.json.decode(content)
    except msgspec.MsgspecError:
        return json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)


def has_too_many_values(content: bytes) -> bool:
    """Returns whether JSON has more than MAX_VALUES values, by its commas and brackets outside of strings.

    A parser keeps the whole process waiting while it works: Python's needs 60 ms for 150,000 values, and a second for
    the millions that fit into a body. This search lets other threads run after each of its steps.
    """
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) <= MAX_VALUES:
        return False
    marks = (match for match in _STRING_OR_MARK.finditer(content) if match[0] in b",[{")
    return next(islice(marks, MAX_VALUES, None), None) is not None


async def _content(request: Request, max_bytes: int) -> bytes:
    """Returns the body. Raises InputTooLarge, unread when its Content-Length says so."""
    if (_content_length(request) or 0) > max_bytes:
        raise InputTooLarge("The body is too large.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise InputTooLarge("The body is too large.")
    return bytes(content)


def _refuse_constant(name: str) -> NoReturn:
    """Refuses NaN and Infinity, which Python's parser takes although they are not JSON. Raises ValueError."""
    raise ValueError(name)


def _finite(digits: str) -> float:
    """Refuses numbers such as 1e999, which Python reads as infinity. Raises ValueError."""
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits)
    return value


def run_id(text: str) -> str:
    """Returns the run id in a path. Raises RunNotFound for anything but a UUID."""
    try:
        return read_uuid("run_uuid", text)
    except InvalidRequest:
        raise RunNotFound from None


def starting_after(request: Request) -> int:
    """Returns the sequence after which a run's stream resumes.

    Reads Last-Event-ID first: a browser that reconnects sends its newest event there, and keeps the old
    `?starting_after=` in the URL. Raises InvalidRequest.
    """
    last_event_id = request.headers.get("last-event-id", "")
    if _is_number(last_event_id):
        return int(last_event_id)
    parameter = request.query_params.get("starting_after") or "0"
    if not _is_number(parameter):
        raise InvalidRequest("starting_after must be a whole number of 0 or more", field="starting_after")
    return int(parameter)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def channel_cursor(channel: Channel, request: Request) -> ChannelCursor | None:
    """Returns the cursor after which a channel's stream resumes, from Last-Event-ID or `?starting_after=`.

    Ignores an unreadable Last-Event-ID, because a browser would send it again at each reconnection and never connect.
    Returns None when there is no cursor. Raises InvalidRequest.
    """
    if last_event_id := request.headers.get("last-event-id"):
        with suppress(InvalidRequest):
            return decode_channel_cursor(last_event_id, channel)
    parameter = request.query_params.get("starting_after")
    return decode_channel_cursor(parameter, channel) if parameter else None


def wait(request: Request) -> timedelta | None:
    """Returns the N seconds of `Prefer: wait=N` (RFC 7240, section 4.3), 60 at most; None without that preference."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        digits = value.strip().strip('"')
        if name.strip().lower() == "wait" and _is_number(digits):
            return timedelta(seconds=min(int(digits), MAX_WAIT_SECONDS))
    return None


def idempotency_key(request: Request, caller: Profile, body: Mapping[str, Any]) -> IdempotencyKey | None:
    """Returns the key of the Idempotency-Key header, quoted or bare, for this user and path; None without the header.

    https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. Raises InvalidRequest when the header
    is sent twice, is empty or is too long.
    """
    headers = request.headers.getlist("idempotency-key")
    if not headers:
        return None
    header = headers[0].strip()
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    if len(headers) > 1 or not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise InvalidRequest(
            f"Idempotency-Key must be one of 1 to {MAX_KEY_LENGTH} characters", field="Idempotency-Key"
        )
    scope = [caller.user_id, request.url.path.rstrip("/"), key]
    return IdempotencyKey(key_hash=_hash(scope), body_hash=_hash(body))


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def wants_stream(request: Request, *, by_default: bool) -> bool:
    """Returns True when the Accept header prefers an event stream to JSON, or, without a preference, `by_default`.

    `Prefer: respond-async` always asks for JSON; `Prefer: wait` does when Accept has no preference.
    """
    if "respond-async" in request.headers.get("prefer", "").lower():
        return False
    as_json, as_stream = _qualities(request.headers.get("accept"))
    return (by_default and wait(request) is None) if as_json == as_stream else as_stream > as_json


@lru_cache(maxsize=64)
def _qualities(accept: str | None) -> tuple[float, float]:
    """Returns how much an Accept header wants (JSON, an event stream). Clients send the same few headers."""
    wanted = parse_accept_header(accept, MIMEAccept)
    return wanted.quality("application/json"), wanted.quality("text/event-stream")
