"""HTTP to Google's identity services: JSON only, each call bounded in time and size, in a thread pool of its own."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import requests
from urllib3.exceptions import HTTPError

from shared import log
from shared.errors import IdentityUnavailable

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
MAX_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is the JSON that came, None when it was not JSON; `max_age` what Cache-Control says of it."""

    status: int
    body: Any
    max_age: timedelta | None


class IdentityHttp:
    """Its own threads, made on first use, after the server has forked: those of asyncio are everybody's."""

    def __init__(self, *, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        seconds: float = CALL_SECONDS,
    ) -> Answer:
        """Any answer at all. Raises IdentityUnavailable when none comes within `seconds`."""
        exchange = partial(_exchange, method, url, dict(headers or {}), body, time.monotonic() + seconds)
        try:
            return await self.in_thread(exchange, seconds=seconds)
        except (requests.RequestException, HTTPError, OSError) as error:
            log.warning("call to an identity service failed", exception=type(error).__name__)
            raise IdentityUnavailable from error

    async def in_thread(self, work: Callable[[], T], *, seconds: float) -> T:
        """Raises TimeoutError after `seconds`, the wait for a thread included."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Calls under way end on their own; nothing waits for them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


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
        if len(content) > MAX_BYTES or time.monotonic() > ends:
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
