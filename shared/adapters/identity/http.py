"""HTTP to Google's identity services: JSON only, each call bounded in time and size, in a thread of its own."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from shared import log
from shared.errors import IdentityUnavailable

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
MOST_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is the JSON that came, None when it was not JSON; `max_age` what Cache-Control says of it."""

    status: int
    body: Any
    max_age: timedelta | None


async def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    seconds: float = CALL_SECONDS,
) -> Answer:
    """Any answer at all. Raises IdentityUnavailable when none comes within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(
                _exchange, method, url, dict(headers or {}), body, time.monotonic() + seconds
            )
    except (requests.RequestException, HTTPError, OSError) as error:
        log.warning("call to an identity service failed", exception=type(error).__name__)
        raise IdentityUnavailable from error


def _exchange(method: str, url: str, headers: dict[str, str], body: Any, ends: float) -> Answer:
    """Without proxies, .netrc and redirects: the address that is asked is the one that was given."""
    with requests.Session() as session:
        session.trust_env = False
        left = max(ends - time.monotonic(), 0.01)
        with session.request(
            method,
            url,
            headers=headers,
            json=body,
            timeout=(min(CONNECT_SECONDS, left), left),
            stream=True,
            allow_redirects=False,
        ) as response:
            content = _read(response, ends)
    return Answer(status=response.status_code, body=_json(content), max_age=_max_age(response.headers))


def _read(response: requests.Response, ends: float) -> bytes:
    content = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MOST_BYTES or time.monotonic() > ends:
            raise requests.Timeout
    return bytes(content)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _max_age(headers: Mapping[str, str]) -> timedelta | None:
    found = re.search(r"\bmax-age=(\d{1,9})\b", headers.get("Cache-Control", ""))
    return timedelta(seconds=int(found[1])) if found else None
