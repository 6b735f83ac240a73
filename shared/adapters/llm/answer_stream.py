"""Reads an answer in a thread while the LLM writes it, and stops the call from the event loop.

A stream ends in one of three ways: it is complete, it breaks, or it is stopped because its time is over, because it is
silent, or because nobody wants the answer any more. Stopping closes the connection, so that the vendor stops writing.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import requests
from msgspec import Struct
from urllib3.exceptions import HTTPError, ReadTimeoutError

from shared.domain.frozen import replace
from shared.domain.progress import Finished, OnText
from shared.error_codes import ErrorCode
from shared.errors import LlmRefused, LlmUnavailable

_MENTIONS_OPTIONS = re.compile(r"stream_options|include_usage")
_MENTIONS_STREAM = re.compile(r"\b(stream|streaming)\b")
CHUNK_BYTES = 64 * 1024
MAX_STREAM_BYTES = 128 * 1024 * 1024
"""Each token is an event of its own, of a few hundred bytes."""
HAND_OVER_SECONDS = 0.1
"""How often new text goes from the thread to the event loop at most."""


class StreamLimits(Struct, frozen=True, kw_only=True):
    max_characters: int = 8 * 1024 * 1024
    max_silence_seconds: float = 60.0
    """How long the LLM may send nothing after its first text. Before that it may think as long as the call lasts."""
    writing_seconds: float = 10.0
    """An LLM that has sent text within this time was still writing when the time of the call was over."""


DEFAULT_LIMITS = StreamLimits()


class StreamRefused(Exception):
    """The server takes no stream; with `only_options`, it takes one without `stream_options`."""

    def __init__(self, *, only_options: bool) -> None:
        super().__init__()
        self.only_options = only_options


class AnswerReader(Protocol):
    """Puts the bytes of a stream together to the JSON body that the call would have had without a stream."""

    @property
    def is_complete(self) -> bool:
        """Returns whether nothing more is to come."""

    @property
    def has_whole_text(self) -> bool:
        """Returns whether the model has said that its text ends; token counts may still follow."""

    def feed(self, chunk: bytes) -> str:
        """Returns the new text in these bytes. Raises LlmUnavailable or LlmRefused."""

    def body(self) -> Mapping[str, Any]:
        """Returns the body of the complete answer."""


class AnswerStream:
    """One streamed call. `on_text` is called in the event loop."""

    def __init__(
        self, reader: AnswerReader, on_text: OnText | None = None, *, limits: StreamLimits = DEFAULT_LIMITS
    ) -> None:
        self._reader = reader
        self._limits = limits
        self._on_text = on_text
        self._now: Callable[[], float] = time.monotonic
        self._began_at = self._last_read_at = 0.0
        self._first_text_at: float | None = None
        self._last_text_at = 0.0
        self._characters = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._raw: Any = None
        """urllib3's response, once the headers are there."""
        self._is_stopped = False

    def measured(self, finished: Finished) -> Finished:
        """Adds the time from the call to the first text; it is None when the answer came in one piece."""
        seconds = None if self._first_text_at is None else round(self._first_text_at - self._began_at, 3)
        return replace(finished, usage=replace(finished.usage, first_token_seconds=seconds))

    def begin(self, now: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock of the call, in the event loop that sends it. `now` returns seconds."""
        self._now = now
        self._began_at = self._last_read_at = now()
        self._loop = asyncio.get_running_loop()

    # --- in the thread ---

    def reads(self, response: requests.Response) -> bool:
        """Returns whether the response is a stream; servers may answer with an error, or ignore the wish for one."""
        kind: str = response.headers.get("Content-Type", "")
        return response.status_code < 300 and kind.partition(";")[0].strip().lower() == "text/event-stream"

    def read(self, response: requests.Response, deadline: float) -> Mapping[str, Any]:
        """Returns the answer's body; `deadline` is a time.monotonic() value.

        Raises what AnswerReader.feed raises, what urllib3 and requests raise for a lost connection or a timeout, and
        LlmRefused for an answer that is cut off.
        """
        self._raw = response.raw
        try:
            self._read(response.raw, deadline)
        except (HTTPError, OSError) as error:
            if self._reader.has_whole_text:
                return self._reader.body()
            if self._is_stopped or isinstance(error, ReadTimeoutError | TimeoutError | requests.Timeout):
                self._raise_timeout()
            raise
        return self._reader.body()

    def _read(self, raw: Any, deadline: float) -> None:
        waiting, handed_over_at, size = "", 0.0, 0
        try:
            while not self._reader.is_complete:
                chunk = raw.read1(CHUNK_BYTES, decode_content=True)
                size += len(chunk)
                if self._is_stopped or self._now() > deadline:
                    raise requests.Timeout
                if not chunk:
                    raise requests.ConnectionError("the stream ended before the answer")
                if size > MAX_STREAM_BYTES:
                    raise _too_much()
                waiting += self.feed(chunk)
                if waiting and self._now() - handed_over_at >= HAND_OVER_SECONDS:
                    self._hand_over(waiting)
                    waiting, handed_over_at = "", self._now()
        finally:
            self._hand_over(waiting)

    def feed(self, chunk: bytes) -> str:
        """Returns the new text in these bytes. Raises LlmUnavailable or LlmRefused, billed once there was text."""
        self._last_read_at = self._now()
        try:
            text = self._reader.feed(chunk)
        except (LlmUnavailable, LlmRefused) as error:
            error.may_be_billed = error.may_be_billed or self._characters > 0
            raise
        if text:
            self._first_text_at = self._first_text_at or self._last_read_at
            self._last_text_at = self._last_read_at
            self._characters += len(text)
        if self._characters > self._limits.max_characters:
            raise _too_much()
        return text

    def _hand_over(self, text: str) -> None:
        if text and self._on_text is not None and self._loop is not None:
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._on_text, text)

    def _raise_timeout(self) -> None:
        self.raise_if_cut_off()
        if self._first_text_at is None:
            raise requests.Timeout
        message = "The LLM began to answer and fell silent."
        raise LlmUnavailable(message, code=ErrorCode.LLM_ANSWER_TIMEOUT, may_be_billed=True)

    # --- in the event loop ---

    async def watch(self, exchange: "asyncio.Future[Any]", deadline: float) -> None:
        """Returns when `exchange` is done, or stops it when its time is over or the LLM is silent for too long."""
        while not exchange.done():
            remaining = self._latest_end(deadline) - self._now()
            if remaining <= 0:
                self.stop()
                return
            await asyncio.wait({exchange}, timeout=min(remaining, self._limits.max_silence_seconds))

    def _latest_end(self, deadline: float) -> float:
        if self._first_text_at is None:
            return deadline
        return min(deadline, self._last_read_at + self._limits.max_silence_seconds)

    def stop(self) -> None:
        """Ends the reading side of the connection: the thread, which may wait for bytes, then closes it."""
        self._is_stopped = True
        if self._raw is not None:
            with suppress(ValueError, RuntimeError, OSError):  # the response is closed
                self._raw.shutdown()

    def take(self, chunk: bytes) -> None:
        """Feeds bytes and passes their text on, for a caller without a thread."""
        text = self.feed(chunk)
        if text and self._on_text is not None:
            self._on_text(text)

    def body(self) -> Mapping[str, Any]:
        """Returns the body of the complete answer, which `take` has got."""
        return self._reader.body()

    def raise_if_refused(self, status: int, body: Any) -> None:
        """Raises StreamRefused when the server refuses the parameters of a stream.

        OpenAI refuses `stream` to organizations that are not verified, Mistral refused `include_usage` with 422:
        https://github.com/openai/openai-agents-python/issues/442
        """
        if status not in (400, 422):
            return
        text = json.dumps(body)
        if _MENTIONS_OPTIONS.search(text) or _MENTIONS_STREAM.search(text):
            raise StreamRefused(only_options=bool(_MENTIONS_OPTIONS.search(text)))

    def raise_if_cut_off(self) -> None:
        """Raises LlmRefused when the LLM was still writing. To ask it again would buy the same beginning again."""
        if self._first_text_at is None or self._now() - self._last_text_at > self._limits.writing_seconds:
            return
        raise LlmRefused(
            f"The answer was cut off after {self._characters} characters, because the time of a call was over; "
            "use a model that works in the background or in batches, or ask for less.",
            code=ErrorCode.LLM_CUT_OFF,
            may_be_billed=True,
        )


def _too_much() -> LlmUnavailable:
    return LlmUnavailable("The LLM answered with more than we take.", code=ErrorCode.LLM_UNREADABLE, may_be_billed=True)
