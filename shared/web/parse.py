"""Requests in: bodies, queries and headers as what the use cases take, or an InvalidRequest that names the field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from typing import Any, NoReturn

from starlette.requests import Request

from shared.domain.channel import Channel, ChannelCursor, channel_for
from shared.domain.directory import Profile
from shared.domain.fields import is_nested_too_deeply, read_uuid, require_utf8
from shared.domain.run import USER_RUN_KINDS, Kind, Status
from shared.domain.submission import JOB_TYPES
from shared.errors import InputTooLarge, InvalidRequest, RunNotFound
from shared.ports import ListCursor, RunFilter
from shared.usecases.submit import IdempotencyKey
from shared.web.cursor import decode_channel_cursor, decode_list_cursor
from shared.web.errors import NotJson

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_OFFSET = 1000
MAX_KEY_LENGTH = 255
MAX_WAIT_SECONDS = 60
SMALL_BODY_BYTES = 256 * 1024
MAX_ESCAPE_LENGTH = 6
"""JSON may spell one byte of text with six, as in \\u0041."""


async def json_object(request: Request, *, max_input_bytes: int, if_empty: bytes = b"") -> Mapping[str, Any]:
    """The body; `if_empty` in its place when there is none. Raises NotJson, InputTooLarge, InvalidRequest."""
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
    if is_nested_too_deeply(body):
        raise InvalidRequest("the body is nested too deeply")
    for name in body:
        require_utf8("a field name", name)
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
    """From the path: what is no UUID is the id of no run."""
    try:
        return read_uuid("run_uuid", text)
    except InvalidRequest:
        raise RunNotFound from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    wanted: RunFilter
    limit: int
    offset: int
    after: ListCursor | None


def user_run_query(given: Mapping[str, str], caller: Profile) -> ListQuery:
    """`given`: a query's parameters, all as text."""
    return _query(given, RunFilter(user_id=caller.user_id, kinds=USER_RUN_KINDS, status=_status(given)))


def job_query(given: Mapping[str, str], caller: Profile) -> ListQuery:
    question_id = given.get("question_id") or None
    wanted = RunFilter(
        user_id=caller.user_id,
        kinds=(Kind.JOB,),
        status=_status(given),
        job_type=_choice(given, "job_type", JOB_TYPES),
        question_id=require_utf8("question_id", question_id) if question_id else None,
    )
    return _query(given, wanted)


def _query(given: Mapping[str, str], wanted: RunFilter) -> ListQuery:
    cursor = given.get("cursor") or None
    return ListQuery(
        wanted=wanted,
        limit=min(_whole_number(given, "limit", default=DEFAULT_LIMIT, minimum=1), MAX_LIMIT),
        offset=_whole_number(given, "offset", default=0, minimum=0, maximum=MAX_OFFSET),
        after=decode_list_cursor(cursor, wanted) if cursor else None,
    )


def _status(given: Mapping[str, str]) -> Status | None:
    value = _choice(given, "status", tuple(Status))
    return Status(value) if value else None


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = given.get(name) or None
    if value is not None and value not in choices:
        raise InvalidRequest(f"{name} must be one of {', '.join(choices)}", field=name)
    return value


def _whole_number(
    given: Mapping[str, str], name: str, *, default: int, minimum: int, maximum: int | None = None
) -> int:
    text = given.get(name) or str(default)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"from {minimum} to {maximum}" if maximum is not None else f"of {minimum} or more"
        raise InvalidRequest(f"{name} must be a whole number {bounds}", field=name)
    return number


def starting_after(request: Request) -> int:
    """Where a stream resumes: the browser's own Last-Event-ID, which is newer, or `?starting_after=`."""
    known = request.headers.get("last-event-id", "")
    if known.isascii() and known.isdigit() and len(known) < 10:
        return int(known)
    return _whole_number(request.query_params, "starting_after", default=0, minimum=0)


def channel(caller: Profile, text: str) -> Channel:
    """From the path. Raises ChannelNotFound."""
    return channel_for(caller, text)


def channel_cursor(channel: Channel, request: Request) -> ChannelCursor | None:
    """Where a channel's stream resumes: the browser's own Last-Event-ID, which is newer, or `?starting_after=`."""
    now, known = datetime.now(UTC), request.headers.get("last-event-id")
    try:
        if known:
            return decode_channel_cursor(known, channel, now=now)
    except InvalidRequest as error:
        if error.code == "update_too_old":
            raise
    given = request.query_params.get("starting_after")
    return decode_channel_cursor(given, channel, now=now) if given else None


def wait(request: Request) -> timedelta | None:
    """`Prefer: wait=N` (RFC 7240), 60 seconds at most; None when it is not asked for."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        digits = value.strip().strip('"')
        if name.strip().lower() == "wait" and digits.isascii() and digits.isdigit() and len(digits) < 10:
            return timedelta(seconds=min(int(digits), MAX_WAIT_SECONDS))
    return None


def idempotency_key(request: Request, caller: Profile, body: Mapping[str, Any]) -> IdempotencyKey | None:
    """The header, quoted or bare; it counts for this user and this route only."""
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
    """By Accept: whichever of JSON and event-stream is preferred; `Prefer: respond-async` and `wait` mean JSON."""
    if "respond-async" in request.headers.get("prefer", "").lower():
        return False
    by_default = by_default and wait(request) is None
    qualities = {"application/json": 0.0, "text/event-stream": 0.0}
    for entry in request.headers.get("accept", "").lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        if name in qualities:
            qualities[name] = _quality(parameters)
    as_json, as_stream = qualities.values()
    return by_default if as_json == as_stream else as_stream > as_json


def _quality(parameters: list[str]) -> float:
    text = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return float(text)
    except ValueError:
        return 0.0
