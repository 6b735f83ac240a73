"""Reads requests: bodies, paths and headers become what the use cases take, or an InvalidRequest that names a field."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from typing import Any, NoReturn

from starlette.requests import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from shared.domain.channel import Channel, ChannelCursor
from shared.domain.directory import Profile
from shared.domain.fields import is_deep, read_uuid, writable
from shared.error_codes import ErrorCode
from shared.errors import InputTooLarge, InvalidRequest, RunNotFound
from shared.usecases.submit import IdempotencyKey
from shared.web.cursor import decode_channel_cursor
from shared.web.errors import NotJson

MAX_KEY_LENGTH = 255
MAX_WAIT_SECONDS = 60
MAX_DIGITS = 9
SMALL_BODY_BYTES = 256 * 1024
MAX_ESCAPE_LENGTH = 6
"""JSON may write one byte of text as six, as in \\u0041."""


async def json_object(request: Request, *, max_input_bytes: int, if_empty: bytes = b"") -> Mapping[str, Any]:
    """Returns the body; `if_empty` stands for an empty one. Raises NotJson, InputTooLarge, InvalidRequest."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotJson
    content = await _content(request, max_input_bytes * MAX_ESCAPE_LENGTH + SMALL_BODY_BYTES)
    try:
        body = json.loads(content or if_empty, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    if is_deep(body):
        raise InvalidRequest("the body is nested too deeply")
    for name in body:
        writable("a field name", name)
    return body


async def _content(request: Request, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise InputTooLarge("The body is too large.")
    return bytes(content)


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(digits)
    return value


def run_id(text: str) -> str:
    """Returns the run's id of a path. Raises RunNotFound for anything but a UUID."""
    try:
        return read_uuid("run_uuid", text)
    except InvalidRequest:
        raise RunNotFound from None


def starting_after(request: Request) -> int:
    """Returns the sequence after which a run's stream resumes.

    The browser's own Last-Event-ID is newer than `?starting_after=`, which stands in the URL. Raises InvalidRequest.
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

    An unreadable Last-Event-ID is ignored, since a browser repeats it for ever. Raises InvalidRequest.
    """
    now, last_event_id = datetime.now(UTC), request.headers.get("last-event-id")
    try:
        if last_event_id:
            return decode_channel_cursor(last_event_id, channel, now=now)
    except InvalidRequest as error:
        if error.code == ErrorCode.UPDATE_TOO_OLD:
            raise
    parameter = request.query_params.get("starting_after")
    return decode_channel_cursor(parameter, channel, now=now) if parameter else None


def wait(request: Request) -> timedelta | None:
    """Returns the time of `Prefer: wait=N` (RFC 7240), 60 seconds at most; None when it is not given."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        digits = value.strip().strip('"')
        if name.strip().lower() == "wait" and _is_number(digits):
            return timedelta(seconds=min(int(digits), MAX_WAIT_SECONDS))
    return None


def idempotency_key(request: Request, caller: Profile, body: Mapping[str, Any]) -> IdempotencyKey | None:
    """Returns the key of the header, quoted or bare, for this user and this route; None without the header."""
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
    """Returns whether Accept prefers an event stream to JSON; `Prefer: respond-async` and `wait` ask for JSON."""
    if "respond-async" in request.headers.get("prefer", "").lower():
        return False
    accept = parse_accept_header(request.headers.get("accept"), MIMEAccept)
    as_json, as_stream = accept.quality("application/json"), accept.quality("text/event-stream")
    return (by_default and wait(request) is None) if as_json == as_stream else as_stream > as_json
