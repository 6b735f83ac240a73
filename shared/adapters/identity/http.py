"""Calls Google's identity services over HTTP; each call is bounded in time and in size."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import requests
from msgspec import Struct
from urllib3.exceptions import HTTPError

from shared import log
from shared.errors import IdentityUnavailable

CONNECT_SECONDS = 2.0
CALL_SECONDS = 5.0
MAX_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024
T = TypeVar("T")


class JsonResponse(Struct, frozen=True, kw_only=True):
    """`body` is the decoded JSON, or None when the body is not JSON; `max_age` is that of Cache-Control (RFC 9111)."""

    status: int
    body: Any
    max_age: timedelta | None


class IdentityHttp:
    """Owns a thread pool, so that calls do not wait for asyncio's default pool, which everything else shares.

    The pool starts on first use, after the server has forked its workers.
    """

    def __init__(self, *, threads: int, name: str) -> None:
        """`threads` is the maximum number of calls at once; `name` is the prefix of the threads' names."""
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        timeout_seconds: float = CALL_SECONDS,
    ) -> JsonResponse:
        """Returns a response of any status. Raises IdentityUnavailable when none arrives within `timeout_seconds`.

        `body` is sent as JSON.
        """
        deadline = time.monotonic() + timeout_seconds
        exchange = partial(_exchange, method, url, dict(headers or {}), body, deadline)
        try:
            return await self.run_in_thread(exchange, timeout_seconds=timeout_seconds)
        except (requests.RequestException, HTTPError, OSError) as error:
            log.warning("call to an identity service failed", exception=type(error).__name__)
            raise IdentityUnavailable from error

    async def run_in_thread(self, work: Callable[[], T], *, timeout_seconds: float) -> T:
        """Returns or raises what `work` does. Raises TimeoutError after `timeout_seconds`, waiting included.

        The thread has a copy of the caller's context, so that log lines of libraries name the request.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    def close(self) -> None:
        """Cancels queued calls and does not wait for running ones; their timeouts end them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _exchange(method: str, url: str, headers: dict[str, str], body: Any, deadline: float) -> JsonResponse:
    """Sends one request; `deadline` is a time of `time.monotonic`.

    It ignores proxies and .netrc, and follows no redirect, so that a token goes only to the given address.
    """
    with requests.Session() as session:
        session.trust_env = False
        remaining = max(deadline - time.monotonic(), 0.01)
        with session.request(
            method,
            url,
            headers=headers,
            json=body,
            timeout=(min(CONNECT_SECONDS, remaining), remaining),
            stream=True,
            allow_redirects=False,
        ) as response:
            content = _read(response, deadline)
    return JsonResponse(status=response.status_code, body=_json(content), max_age=_max_age(response.headers))


def _read(response: requests.Response, deadline: float) -> bytes:
    """Raises requests.Timeout when the body is too large or too slow: the timeout of requests bounds one read only."""
    content = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MAX_BYTES or time.monotonic() > deadline:
            raise requests.Timeout
    return bytes(content)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _max_age(headers: Mapping[str, str]) -> timedelta | None:
    directive = re.search(r"\bmax-age=(\d{1,9})\b", headers.get("Cache-Control", ""))
    return timedelta(seconds=int(directive[1])) if directive else None
