"""HTTP to an LLM: `requests` in a bounded thread pool of its own, every call bounded in time and size."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from shared.domain.fields import is_deep
from shared.errors import LlmRefused, LlmUnavailable

CONNECT_SECONDS = 3.05
GRACE_SECONDS = 0.5
"""`requests` bounds each read: a server that drips its headers holds a thread for longer, but not the run."""
MAX_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
SLOT_SECONDS = 1.0
HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "llm-runs"}
MAX_RETRY_AFTER = timedelta(hours=1)
_QUOTA_CODES = frozenset({"insufficient_quota", "quota_exceeded", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`body` is the JSON that came, None when it was not JSON."""

    status: int
    body: Any
    retry_after: timedelta | None


class LlmHttp:
    """Its own connections and threads; made on first use, after the server has forked.

    It speaks through requests' transport adapter, not a session: a session would keep cookies across tenants, and its
    look-ups of proxies, hooks and redirects cost a third of a call.
    """

    def __init__(self, *, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._transport: HTTPAdapter | None = None
        self._slots = asyncio.Semaphore(threads)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Whether there is room, now or in a moment, for one more call that starts a run; one for each thread."""
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._slots.release()

    async def call(
        self, method: str, url: str, *, seconds: float, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        """An answer with a JSON object and a status below 300. Raises LlmUnavailable or LlmRefused for all others.

        `seconds` bounds the whole call, the wait for a thread included.
        """
        ends = time.monotonic() + seconds
        if self._pool is None or self._transport is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
            self._transport = HTTPAdapter(pool_connections=8, pool_maxsize=self._threads)
        request = requests.PreparedRequest()
        try:
            data = None if body is None else json.dumps(body)
            request.prepare_method(method)
            request.prepare_url(url, None)
            request.prepare_headers({**HEADERS, **(headers or {})})
            request.prepare_body(data, None)
        except (requests.RequestException, ValueError) as error:
            raise LlmRefused("The address of the LLM is not one.", code="model_unavailable") from error
        loop = asyncio.get_running_loop()
        exchange = loop.run_in_executor(self._pool, _exchange, self._transport, request, ends)
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                answer = await exchange
        except TimeoutError as error:
            raise LlmUnavailable("The LLM did not answer in time.", code="llm_timeout") from error
        raise_for_trouble(answer, asked=method == "GET")
        return answer

    def close(self) -> None:
        """Calls under way end on their own; nothing waits for them."""
        if self._pool is not None and self._transport is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._transport.close()


def _exchange(transport: HTTPAdapter, request: requests.PreparedRequest, ends: float) -> Answer:
    """One request and its answer, in a thread of the pool, until `ends` on the monotonic clock."""
    left = ends - time.monotonic()
    try:
        if left <= 0:
            raise requests.Timeout
        with transport.send(request, timeout=(min(CONNECT_SECONDS, left), left), stream=True) as response:
            content = _read(response, ends)
    except (requests.Timeout, TimeoutError, ReadTimeoutError) as error:
        raise LlmUnavailable("The LLM did not answer in time.", code="llm_timeout") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        raise LlmUnavailable("The connection to the LLM failed.", code="llm_connection_lost") from error
    retry_after = _retry_after(response.headers.get("Retry-After"))
    return Answer(status=response.status_code, body=_json(content), retry_after=retry_after)


def _read(response: requests.Response, ends: float) -> bytes:
    """The whole body; a timeout of `requests` bounds each read only, so a server that drips is stopped here."""
    content = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MAX_BYTES:
            raise LlmUnavailable("The LLM answered with more than we take.", code="llm_unreadable")
        if time.monotonic() > ends:
            raise requests.Timeout
    return bytes(content)


def _json(content: bytes) -> Any:
    """None when it is not JSON. Half characters, which JSON can spell and UTF-8 cannot, become question marks."""
    try:
        value = json.loads(content, parse_float=_finite, parse_constant=lambda name: None)
        if b"\\ud" in content or b"\\uD" in content:
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return None if is_deep(value) else value


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if isfinite(value) else None


def _retry_after(header: str | None) -> timedelta | None:
    """Seconds or a date (RFC 9110 section 10.2.3), at most an hour."""
    if header is None:
        return None
    try:
        wait = timedelta(seconds=float(header)) if header.strip().isdigit() else _until(header)
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def _until(date: str) -> timedelta:
    moment = parsedate_to_datetime(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)


def raise_for_trouble(answer: Answer, *, asked: bool) -> None:
    """The one place that says what an LLM's status code means for a run; `asked` when the call was about a job."""
    status, code = answer.status, error_code(answer.body)
    if status in (402, 429) and (status == 402 or code in _QUOTA_CODES):
        raise LlmRefused("The LLM account has no quota left.", code="llm_quota_exhausted")
    if status == 429:
        raise LlmUnavailable(
            "The LLM is asked for too much at the moment.", code="llm_rate_limited", retry_after=answer.retry_after
        )
    if status == 404 and asked:
        raise LlmUnavailable("The LLM does not know this job.", code="llm_job_unknown")
    if status in (408, 409, 425) or status >= 500 or (asked and status >= 400):
        raise LlmUnavailable(retry_after=answer.retry_after)
    if status in (401, 403):
        raise LlmRefused("The LLM does not accept our credentials.", code="llm_credentials")
    if status >= 400:
        raise LlmRefused("The LLM refused this input.")
    if status >= 300 or not isinstance(answer.body, dict):
        raise LlmUnavailable("The LLM's answer could not be read.", code="llm_unreadable")


def error_code(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
