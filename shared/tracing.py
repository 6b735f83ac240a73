"""Carries the trace of a request through messages, tasks and LLM calls, and onto every log line.

A trace context is the W3C header `traceparent` (https://www.w3.org/TR/trace-context/). A run keeps the context of the
request that submitted it, so that everything that happens to the run later belongs to the same trace. Spans are made
here whether or not they are exported; `use` names the tracer that exports them.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from enum import StrEnum
from random import getrandbits
from re import compile
from typing import Protocol

from msgspec import Struct

from shared import log

HEADER = "traceparent"
_PATTERN = compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_CLOUD_PATTERN = compile(r"(?!0{32})([0-9a-f]{32})/(\d{1,20})(?:;o=([01]))?")
SAMPLED = 0x01


class SpanKind(StrEnum):
    """Says which part a span has in a conversation between programs."""

    SERVER = "server"
    """A client's request is answered."""
    CONSUMER = "consumer"
    """A message or task is handled."""
    CLIENT = "client"
    """Another program is called."""


class TraceContext(Struct, frozen=True, kw_only=True):
    """One span of a trace: ids of 32 and 16 hexadecimal digits, and whether the trace is recorded."""

    trace_id: str
    span_id: str
    is_sampled: bool = False

    def __str__(self) -> str:
        """Returns the value of a `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


class Span(Protocol):
    @property
    def context(self) -> TraceContext:
        """Returns what the header of a call made inside the span says."""

    def rename(self, name: str) -> None:
        """Replaces the span's name."""

    def end(self, error: BaseException | None) -> None:
        """Ends the span, and exports it when its trace is sampled. `error` is what left the span."""


class Tracer(Protocol):
    def start(self, name: str, kind: SpanKind, parent: TraceContext | None) -> Span:
        """Starts a span of the parent's trace, or of a new trace without a parent."""

    def flush(self) -> None:
        """Exports what has ended, and waits until it is exported or a few seconds are over."""


class _UnexportedSpan(Struct, frozen=True):
    context: TraceContext

    def rename(self, name: str) -> None:
        """Does nothing: nobody sees the name."""

    def end(self, error: BaseException | None) -> None:
        """Does nothing."""


class _Untraced:
    """Makes ids, so that log lines of one trace share them and the traces of other programs go on."""

    def start(self, name: str, kind: SpanKind, parent: TraceContext | None) -> Span:
        if parent is None:
            return _UnexportedSpan(TraceContext(trace_id=_new_id(32), span_id=_new_id(16)))
        own = TraceContext(trace_id=parent.trace_id, span_id=_new_id(16), is_sampled=parent.is_sampled)
        return _UnexportedSpan(own)

    def flush(self) -> None:
        """Does nothing."""


def _new_id(digits: int) -> str:
    """Returns a random hexadecimal number. It is no secret, so it needs no randomness of the operating system.

    A forked process has other numbers than its parent (https://docs.python.org/3/library/random.html).
    """
    return f"{getrandbits(4 * digits):0{digits}x}"


_tracer: dict[str, Tracer] = {"current": _Untraced()}
_span: ContextVar[Span | None] = ContextVar("span", default=None)


def use(tracer: Tracer | None) -> None:
    """Makes this tracer start all later spans; None exports nothing."""
    _tracer["current"] = tracer or _Untraced()


async def flush() -> None:
    """Exports the spans that have ended. A function calls it before its last byte: afterwards it gets no CPU time."""
    tracer = _tracer["current"]
    if not isinstance(tracer, _Untraced):
        await asyncio.to_thread(tracer.flush)


class span:
    """Runs the block in a new span below `parent`, or else below the span around it.

    Log lines that are written inside carry its ids.
    """

    __slots__ = ("_kind", "_name", "_on_lines", "_parent", "_started", "_token")

    def __init__(self, name: str, kind: SpanKind, *, parent: TraceContext | None = None) -> None:
        self._name, self._kind, self._parent = name, kind, parent

    def __enter__(self) -> None:
        around = _span.get()
        parent = self._parent or (around.context if around else None)
        self._started = _tracer["current"].start(self._name, self._kind, parent)
        self._token = _span.set(self._started)
        self._on_lines = log.bound(**_log_fields(self._started.context))
        self._on_lines.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._on_lines.__exit__()
        _span.reset(self._token)
        self._started.end(error)


def continued(traceparent: str | None, name: str) -> AbstractContextManager[None]:
    """Runs the block in the trace of that header: in the span around it if that has this trace, else in a new span."""
    parent, around = parse(traceparent), _span.get()
    if parent is None or (around is not None and around.context.trace_id == parent.trace_id):
        return nullcontext()
    return span(name, SpanKind.CONSUMER, parent=parent)


def rename(name: str) -> None:
    """Renames the span around the caller, if there is one."""
    if (around := _span.get()) is not None:
        around.rename(name)


def current() -> str | None:
    """Returns the `traceparent` of the span around the caller, or None outside of all spans."""
    around = _span.get()
    return str(around.context) if around else None


def headers() -> dict[str, str]:
    """Returns {traceparent: …} for a call to another program; {} outside of all spans."""
    value = current()
    return {HEADER: value} if value else {}


def context_of(headers: Mapping[str, str]) -> TraceContext | None:
    """Returns the trace context of a request or message, from `traceparent` or Google's older header."""
    return parse(headers.get(HEADER)) or _parse_cloud(headers.get("x-cloud-trace-context"))


def parse(traceparent: str | None) -> TraceContext | None:
    """Returns the context that the header describes; None without a header and for one that is not valid."""
    found = _PATTERN.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return TraceContext(trace_id=trace_id, span_id=span_id, is_sampled=bool(int(flags, 16) & SAMPLED))


def _parse_cloud(header: str | None) -> TraceContext | None:
    """Reads "TRACE/SPAN;o=1", in which the span is a decimal number (https://cloud.google.com/trace/docs/trace-context)."""
    found = _CLOUD_PATTERN.fullmatch(header) if header else None
    if found is None:
        return None
    trace_id, span, sampled = found.groups()
    span_id = f"{int(span) % (1 << 64):016x}"
    return TraceContext(trace_id=trace_id, span_id=span_id, is_sampled=sampled == "1") if int(span_id, 16) else None


def _log_fields(context: TraceContext) -> dict[str, object]:
    return {
        "trace": log.trace_name(context.trace_id),
        "spanId": context.span_id,
        "trace_sampled": True if context.is_sampled else None,
    }
