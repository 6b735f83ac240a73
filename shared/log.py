"""JSON lines for Cloud Logging: severity, trace and run id on every line, never the user's text.

Line shape: https://cloud.google.com/logging/docs/structured-logging
"""

import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TextIO

_SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR")
_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))
_sink: dict[str, Any] = {"stream": None, "minimum": "INFO", "project": None}


def configure(*, stream: TextIO | None = None, minimum: str = "INFO", project: str | None = None) -> None:
    """`stream` None means standard output, which is what Cloud Run collects."""
    _sink.update(stream=stream, minimum=minimum, project=project)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Puts these fields on every line that is written inside."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def current(name: str) -> Any:
    """A field of the context, such as the request id; None outside."""
    return _context.get().get(name)


def info(message: str, **fields: Any) -> None:
    _write("INFO", message, fields)


def warning(message: str, **fields: Any) -> None:
    _write("WARNING", message, fields)


def error(message: str, **fields: Any) -> None:
    _write("ERROR", message, fields)


def failure(message: str, error: BaseException) -> None:
    """An unexpected exception by its type and place; its words may quote the user's text and stay out."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
    _write("ERROR", message, {"exception": type(error).__name__, "stack": stack})


def _write(severity: str, message: str, fields: dict[str, Any]) -> None:
    if _SEVERITIES.index(severity) < _SEVERITIES.index(_sink["minimum"]):
        return
    line = {"severity": severity, "message": message, "time": datetime.now(UTC).isoformat(), **_context.get(), **fields}
    trace = line.pop("trace", None)
    line["logging.googleapis.com/trace"] = trace
    shown = {name: value for name, value in line.items() if value is not None}
    print(json.dumps(shown, default=str), file=_sink["stream"] or sys.stdout, flush=True)


def trace_name(header: str | None) -> str | None:
    """The trace of an `X-Cloud-Trace-Context: TRACE/SPAN;o=1` or `traceparent` header, as Cloud Logging names it."""
    if not header:
        return None
    trace = header.split("-")[1] if header.count("-") == 3 else header.split("/")[0]
    if not trace.isalnum() or len(trace) > 64:
        return None
    project = _sink["project"]
    return f"projects/{project}/traces/{trace}" if project else trace
