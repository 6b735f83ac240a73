"""A run as a document of plain values, the same shape in every store and for every listener."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from shared.domain.result import Result, Usage
from shared.domain.run import Event, Failure, Kind, ModelRef, Run, Status

_TIMES = tuple(item.name for item in fields(Run) if item.name.endswith("_at"))
_NESTED = frozenset({"model", "result", "usage", "error", "events", "revision", "reference_file_ids", "input"})
_NAMES: dict[Any, tuple[str, ...]] = {
    kind: tuple(item.name for item in fields(kind)) for kind in (Event, Failure, ModelRef, Result, Usage)
}
_PLAIN = tuple(item.name for item in fields(Run) if item.name not in _NESTED)


def to_document(run: Run) -> dict[str, Any]:
    """Times stay datetimes; `processing_time` (seconds) is there for listeners."""
    document = {name: getattr(run, name) for name in _PLAIN}
    took = run.processing_time
    document.update(
        kind=run.kind.value,
        status=run.status.value,
        input=dict(run.input),
        reference_file_ids=list(run.reference_file_ids),
        model=_plain(run.model),
        result=_plain(run.result),
        metrics=_plain(run.usage),
        error=_renamed(_plain(run.error), "retryable", "retriable"),
        events=[_plain(event) for event in run.events],
        processing_time=took.total_seconds() if took else None,
    )
    return document


def from_document(document: Mapping[str, Any], *, revision: Any) -> Run:
    """Takes times as datetimes or as RFC 3339 strings.

    A field that the document lacks has its default, and one that we do not know is passed over: documents outlive the
    release that wrote them.
    """
    values = {name: document[name] for name in _PLAIN if name in document}
    values.update((name, read_time(values[name])) for name in _TIMES if name in values)
    values.update(
        kind=Kind(document["kind"]),
        status=Status(document["status"]),
        input=document["input"],
        reference_file_ids=tuple(document["reference_file_ids"]),
        model=_record(ModelRef, document["model"]),
        result=_result(document["result"]),
        usage=_record(Usage, document["metrics"]),
        error=_record(Failure, _renamed(document["error"], "retriable", "retryable")),
        events=tuple(_record(Event, {**event, "at": read_time(event["at"])}) for event in document["events"]),
        revision=revision,
    )
    return Run(**values)


def _record(kind: Any, values: Mapping[str, Any] | None) -> Any:
    return None if values is None else kind(**{name: values[name] for name in _NAMES[kind] if name in values})


def _renamed(values: Mapping[str, Any] | None, old: str, new: str) -> dict[str, Any] | None:
    """The stored name of a field is older than the one in the code."""
    return None if values is None else {new if name == old else name: value for name, value in values.items()}


def _result(values: Mapping[str, Any] | None) -> Result | None:
    result: Result | None = _record(Result, values)
    if result is None:
        return None
    return replace(result, memory_flags=tuple(result.memory_flags), term_pairs=tuple(result.term_pairs))


def read_time(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _plain(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    plain = {name: getattr(record, name) for name in _NAMES[type(record)]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
