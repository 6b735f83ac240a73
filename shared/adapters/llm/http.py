"""Calls an LLM over HTTP: `requests` in a bounded thread pool of its own, each call bounded in time and size."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from msgspec import Struct
from urllib3.exceptions import HTTPError, ReadTimeoutError

from shared import log, tracing
from shared.adapters.llm.answer_stream import AnswerStream
from shared.adapters.llm.breaker import CircuitBreaker
from shared.adapters.llm.json_body import parse_json
from shared.adapters.llm.request import prepare_request
from shared.adapters.llm.threads import CallThreads
from shared.adapters.llm.transport import NotConnected, Transport
from shared.adapters.llm.vendor_errors import SENTENCES, error_of
from shared.adapters.llm.vendor_waits import read_wait
from shared.error_codes import ErrorCode
from shared.errors import LlmUnavailable
from shared.tracing import SpanKind

CONNECT_SECONDS = 3.05
GRACE_SECONDS = 0.5
"""How much longer than its thread a call waits. `requests` bounds each read only, so a server that sends its headers
slowly holds the thread beyond the limit; the run goes on without it."""
MAX_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
SLOT_WAIT_SECONDS = 1.0
_SERVER_FAULTS = frozenset(
    {
        ErrorCode.LLM_UNAVAILABLE,
        ErrorCode.LLM_OVERLOADED,
        ErrorCode.LLM_TIMEOUT,
        ErrorCode.LLM_ANSWER_TIMEOUT,
        ErrorCode.LLM_CONNECTION_LOST,
    }
)
"""Errors that count for the circuit breaker."""


class LlmResponse(Struct, frozen=True, kw_only=True):
    """`body` is the parsed JSON, or None when the body is not JSON. `retry_after` is the wait that it asks for."""

    status: int
    body: Any
    retry_after: timedelta | None


class LlmHttp:
    """Holds connections and threads of its own, made on first use, after the server has forked.

    It uses a transport adapter instead of a session of `requests`: a session would share cookies between tenants.
    There is one LlmHttp for each server (see LlmHttpPools), so that a server that hangs holds up no calls to others.
    """

    def __init__(self, *, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: CallThreads | None = None
        self._transport: Transport | None = None
        self._slots = asyncio.Semaphore(threads)
        self._breaker = CircuitBreaker()

    @property
    def breaker(self) -> CircuitBreaker:
        return self._breaker

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[bool]:
        """Yields True when a place for one more call that starts a run is free within SLOT_WAIT_SECONDS, else False.

        There are as many places as threads. The caller holds its place until it leaves the context. Raises
        LlmUnavailable while the server keeps failing.
        """
        if self._breaker.remaining_seconds > 0:
            raise self._left_alone()
        try:
            async with asyncio.timeout(SLOT_WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._slots.release()

    async def call(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        stream: AnswerStream | None = None,
    ) -> LlmResponse:
        """Sends `body` as JSON or as Upload and returns a response with a status below 300 and a JSON object.

        A streamed response is put together by `stream`, which also stops the call when this coroutine is cancelled.
        `seconds` bounds the whole call, including the wait for a thread. Raises LlmUnavailable or LlmRefused for every
        other response (see `raise_for_status`), for a timeout, for a lost connection, and without a call while the
        server keeps failing (see CircuitBreaker).
        """
        if not self._breaker.allows_call():
            raise self._left_alone()
        try:
            response = await self._exchange(method, url, seconds=seconds, headers=headers, body=body, stream=stream)
        except LlmUnavailable as error:
            if error.code in _SERVER_FAULTS and self._breaker.record_failure():
                log.warning("circuit breaker open", server=urlsplit(url).hostname, code=error.code)
            raise
        self._breaker.record_success()
        return response

    async def _exchange(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None,
        body: Any,
        stream: AnswerStream | None,
    ) -> LlmResponse:
        deadline = time.monotonic() + seconds
        if self._pool is None or self._transport is None:
            self._pool = CallThreads(size=self._threads, name=self._name)
            self._transport = Transport()
        with tracing.span(f"LLM {method}", SpanKind.CLIENT):
            request = prepare_request(method, url, {**tracing.headers(), **(headers or {})}, body)
            if stream is not None:
                stream.begin()
            exchange = self._pool.submit(partial(_send_request, self._transport, request, deadline, stream))
            response = await _await_response(exchange, deadline, stream)
            raise_for_status(response, is_check=method == "GET")
            return response

    def _left_alone(self) -> LlmUnavailable:
        """Returns the error of a call that is not made, because the server has failed too often."""
        pause = timedelta(seconds=self._breaker.remaining_seconds)
        return LlmUnavailable(SENTENCES[ErrorCode.LLM_OVERLOADED], code=ErrorCode.LLM_OVERLOADED, retry_after=pause)

    def close(self) -> None:
        """Closes pool and connections at once. Calls that are under way end in their threads, without a reader."""
        if self._pool is not None and self._transport is not None:
            self._pool.close()
            self._transport.close()


class LlmHttpPools:
    """One LlmHttp for each server, made on first use. Servers come from settings and the directory, so they are few."""

    def __init__(self, *, threads: int, name: str) -> None:
        """`threads` is the maximum of calls at once to each server; `name` names the threads."""
        self._threads = threads
        self._name = name
        self._by_base_url: dict[str, LlmHttp] = {}

    def of(self, base_url: str) -> LlmHttp:
        if base_url not in self._by_base_url:
            self._by_base_url[base_url] = LlmHttp(threads=self._threads, name=self._name)
        return self._by_base_url[base_url]

    def breaker(self, base_url: str) -> CircuitBreaker | None:
        """Returns the circuit breaker of the server; None while this process has not called it."""
        http = self._by_base_url.get(base_url)
        return http.breaker if http else None

    def close(self) -> None:
        for http in self._by_base_url.values():
            http.close()


async def _await_response(
    exchange: "asyncio.Future[LlmResponse]", deadline: float, stream: AnswerStream | None
) -> LlmResponse:
    """Returns what the thread returns. The run goes on without the thread when it is late, or nobody waits any more."""
    try:
        async with asyncio.timeout(deadline - time.monotonic() + GRACE_SECONDS):
            if stream is not None:
                await stream.watch(exchange, deadline)
            response = await exchange
    except TimeoutError as error:
        if stream is not None:
            stream.raise_if_cut_off()
        raise _timeout(may_be_billed=True) from error
    finally:
        exchange.cancel()
        if stream is not None:
            stream.stop()
    if stream is not None:
        stream.raise_if_refused(response.status, response.body)
    return response


def _send_request(
    transport: Transport, request: requests.PreparedRequest, deadline: float, stream: AnswerStream | None
) -> LlmResponse:
    """Sends one request and reads its response in a thread of the pool; `deadline` is a time.monotonic() value."""
    remaining = deadline - time.monotonic()
    try:
        if remaining <= 0:
            raise requests.Timeout
        with transport.send(request, timeout=(min(CONNECT_SECONDS, remaining), remaining), stream=True) as response:
            if stream is not None and stream.reads(response):
                body = stream.read(response, deadline)
                return LlmResponse(status=response.status_code, body=body, retry_after=None)
            content = _read_answer(response, deadline)
    except (requests.Timeout, TimeoutError, ReadTimeoutError) as error:
        raise _timeout(may_be_billed=not isinstance(error, requests.ConnectTimeout)) from error
    except (requests.RequestException, HTTPError, OSError) as error:
        was_sent = not isinstance(error, NotConnected)
        raise LlmUnavailable(
            "The connection to the LLM failed.", code=ErrorCode.LLM_CONNECTION_LOST, may_be_billed=was_sent
        ) from error
    body = parse_json(content)
    retry_after = read_wait(response.status_code, response.headers, body, now=datetime.now(UTC))
    return LlmResponse(status=response.status_code, body=body, retry_after=retry_after)


def _timeout(*, may_be_billed: bool) -> LlmUnavailable:
    return LlmUnavailable("The LLM did not answer in time.", code=ErrorCode.LLM_TIMEOUT, may_be_billed=may_be_billed)


def _read_answer(response: requests.Response, deadline: float) -> bytes:
    """Returns the whole body of a response whose headers are there. Raises LlmUnavailable after the deadline."""
    try:
        return _read_body(response, deadline)
    except (requests.Timeout, TimeoutError, ReadTimeoutError) as error:
        message = "The LLM began to answer and did not end in time; try again with a shorter text."
        raise LlmUnavailable(message, code=ErrorCode.LLM_ANSWER_TIMEOUT, may_be_billed=True) from error


def _read_body(response: requests.Response, deadline: float) -> bytes:
    """Returns the whole body. Raises LlmUnavailable when it is larger than MAX_BYTES, Timeout after the deadline.

    The timeout of `requests` bounds each read only: a server that sends byte by byte would never reach it.
    """
    content = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MAX_BYTES:
            raise LlmUnavailable(
                "The LLM answered with more than we take.", code=ErrorCode.LLM_UNREADABLE, may_be_billed=True
            )
        if time.monotonic() > deadline:
            raise requests.Timeout
    return bytes(content)


def raise_for_status(response: LlmResponse, *, is_check: bool) -> None:
    """Raises the error that a response means for a run (see `error_of`); a usable response raises nothing."""
    error = error_of(response.status, response.body, is_check=is_check, retry_after=response.retry_after)
    if error is not None:
        raise error
    if response.status >= 300 or not isinstance(response.body, dict):
        raise unreadable()


def unreadable() -> LlmUnavailable:
    """Returns the error of an answer that arrived and could not be read."""
    return LlmUnavailable("The LLM's answer could not be read.", code=ErrorCode.LLM_UNREADABLE, may_be_billed=True)
