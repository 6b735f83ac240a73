"""Writes JSON lines for Cloud Logging: the context of the request is on every line, text of users on none.

Line shape: https://cloud.google.com/logging/docs/structured-logging. Records of libraries, which come through the
standard library's `logging`, become lines of the same shape.
"""

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import FrameType, MappingProxyType
from typing import Any, TextIO

from pythonjsonlogger.json import JsonEncoder

MAX_FRAMES = 8
TEXT_WITHHELD = "(text withheld)"
SERVER_LOGGERS = ("gunicorn.error", "uvicorn.error")
_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=MappingProxyType({}))
_project: dict[str, str | None] = {"id": None}
_RENAMED = {name: f"logging.googleapis.com/{name}" for name in ("trace", "spanId", "trace_sampled")}
_encode = JsonEncoder().encode


class _OwnRecord(logging.LogRecord):
    """Has only the attributes that a line shows; to find out the others takes longer than to write the line."""

    def __init__(self, level: int, fields: Mapping[str, Any]) -> None:
        self.name = _logger.name
        self.levelname = logging.getLevelName(level)
        self.created = time.time()
        self.fields = fields


class _LineFormatter(logging.Formatter):
    """Formats one line from a record of our own or of a library; leaves out fields that are None."""

    def format(self, record: logging.LogRecord) -> str:
        fields = record.fields if isinstance(record, _OwnRecord) else _redacted(record)
        shown = {_RENAMED.get(name, name): value for name, value in fields.items() if value is not None}
        at = datetime.fromtimestamp(record.created, UTC).isoformat()
        return _encode({"severity": record.levelname, **shown, "time": at})


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line with one call, so that lines of several processes do not mix. `target` None is sys.stdout."""

    target: TextIO | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = self.target or sys.stdout  # functions-framework replaces sys.stdout when it adds execution ids
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Reports a line that cannot be written without its text; the inherited report quotes all arguments."""
        with suppress(OSError, ValueError):
            print(f"log line lost: {type(sys.exception()).__name__}", file=sys.stderr)


_handler = _LineHandler()
_handler.setFormatter(_LineFormatter())
_logger = logging.getLogger("llm_runs")
_logger.addHandler(_handler)
_logger.setLevel(logging.INFO)
_logger.propagate = False  # other handlers of the root logger do not know this line shape


def configure(*, stream: TextIO | None = None, minimum: str = "INFO", project: str | None = None) -> None:
    """Replaces the settings of an earlier call, and all handlers of the root logger.

    `stream` None means standard output, which Cloud Run collects. `minimum` is DEBUG, INFO, WARNING or ERROR: the
    lowest severity that is written. Libraries write from WARNING on, unless `minimum` is DEBUG or ERROR. `project` is
    the Google Cloud project id in names of traces.
    """
    _handler.target = stream
    _project["id"] = project
    _logger.setLevel(minimum)
    _logger.disabled = False  # logging.config.dictConfig disables existing loggers by default
    libraries = minimum if minimum in ("DEBUG", "ERROR") else "WARNING"
    root = logging.getLogger()
    root.handlers[:] = [_handler]  # other handlers would write the texts that this one withholds
    root.setLevel(libraries)
    # google-api-core cuts "google" off from the root logger unless it has a level (google/api_core/client_logging.py).
    google = logging.getLogger("google")
    google.setLevel(libraries)
    google.propagate = True
    for name in SERVER_LOGGERS:
        logging.getLogger(name).addFilter(_write_here)


def _write_here(record: logging.LogRecord) -> bool:
    """Writes a server's record as a JSON line and refuses it to the server's own handlers, which write plain text.

    It is a filter because servers replace handlers when they start, after `configure`, but keep filters.
    """
    _handler.handle(record)
    return False


class bound:
    """Puts these fields on every line that is written inside."""

    __slots__ = ("_fields", "_token")

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _context.set({**_context.get(), **self._fields})

    def __exit__(self, *exception: object) -> None:
        _context.reset(self._token)


def current(name: str) -> Any:
    """Returns a field of the context, such as `request_id`; None when it is not bound."""
    return _context.get().get(name)


def info(message: str, **fields: Any) -> None:
    _write(logging.INFO, message, fields)


def warning(message: str, **fields: Any) -> None:
    _write(logging.WARNING, message, fields)


def error(message: str, **fields: Any) -> None:
    _write(logging.ERROR, message, fields)


def failure(message: str, error: BaseException) -> None:
    """Logs an unexpected exception by its type and stack; its text is left out because it may quote a user's text."""
    _write(logging.ERROR, message, _exception_fields(error))


def _write(level: int, message: str, fields: Mapping[str, Any]) -> None:
    if _logger.isEnabledFor(level):
        _handler.handle(_OwnRecord(level, {"message": message, **_context.get(), **fields}))


def _exception_fields(error: BaseException) -> dict[str, Any]:
    """Returns `exception`, the type's name, and `stack`, the innermost frames as "file:line function"."""
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    stack = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"exception": type(error).__name__, "stack": stack}


def _redacted(record: logging.LogRecord) -> dict[str, Any]:
    """Returns the fields of a library's record without run-time values: arguments, extra fields, exception texts.

    These may quote a user's text, a token or a URL with a password.
    """
    location = {"file": record.pathname, "line": str(record.lineno), "function": record.funcName}
    error = record.exc_info[1] if record.exc_info else None
    return {
        "message": _literal_text(record) or TEXT_WITHHELD,
        **_context.get(),
        "logger": record.name,
        "logging.googleapis.com/sourceLocation": location,
        **(_exception_fields(error) if error else {}),
    }


def _literal_text(record: logging.LogRecord) -> str | None:
    """Returns the record's message template if it is a literal of the function that logs it, else None.

    An f-string or a concatenation is no literal: it may contain run-time values.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_lineno == record.lineno and frame.f_code.co_filename == record.pathname:
            is_literal = isinstance(record.msg, str) and record.msg in frame.f_code.co_consts
            return record.msg if is_literal else None
        frame = frame.f_back
    return None


def trace_name(trace_id: str) -> str:
    """Returns the trace as Cloud Logging names it, so that it links the log lines of one trace."""
    project = _project["id"]
    return f"projects/{project}/traces/{trace_id}" if project else trace_id
