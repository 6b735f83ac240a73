"""Converts runs to Firestore documents and back.

Listeners in front ends read these documents, so the fields that they need are plain values. Firestore takes no list
inside a list, no integer of more than 64 bits and no document above 1 MiB, but a client's or an LLM's JSON may contain
all of them. Such JSON is stored as text: an unusual input in `input_json`, and the LLM's original answer in
`result.raw`. A large result is stored in parts.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.adapters.storage.parts import split_large_result
from shared.adapters.storage.run_document import from_document, to_document
from shared.domain.run import Run

PLAIN_INPUT_FIELDS = frozenset({"text", "system_message", "full_input", "instructions"})
"""An input of these fields is stored as it is. Firestore may refuse other field names."""


def to_firestore(run: Run) -> tuple[dict[str, Any], list[str]]:
    """Returns (the document, the parts of its result); no parts when the result is in the document.

    Raises ResultTooLarge.
    """
    document = to_document(run)
    is_plain = all(name in PLAIN_INPUT_FIELDS and isinstance(value, str) for name, value in run.input.items())
    document["input_json"] = None if is_plain else json.dumps(run.input)
    document["input"] = document["input"] if is_plain else {}
    document, parts = split_large_result(document)
    if document["result"] is not None:
        document["result"]["raw"] = json.dumps(document["result"]["raw"])
    return document, parts


def from_firestore(document: Mapping[str, Any], *, revision: Any, result: Any = None) -> Run:
    """Returns the run. `result` is the result that was read from parts; None when the document has no parts.

    Raises ValueError, KeyError or TypeError when the document is no run.
    """
    values = {name: _plain_datetime(value) for name, value in document.items()}
    if values.get("input_json"):
        values["input"] = json.loads(values["input_json"])
    if values["result"] is not None:
        values["result"] = {**values["result"], "raw": json.loads(values["result"]["raw"])}
    values["result"] = result or values["result"]
    for name in ("events", "attempts"):
        values[name] = [{key: _plain_datetime(value) for key, value in item.items()} for item in values.get(name, ())]
    return from_document(values, revision=revision)


def plain_times(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document of another kind with plain datetimes at every depth."""
    return {name: _plain(value) for name, value in document.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain_times(value)
    return [_plain(item) for item in value] if isinstance(value, list) else _plain_datetime(value)


def _plain_datetime(value: Any) -> Any:
    """Returns a time as a plain datetime, and any other value unchanged.

    Firestore's client returns times in a type of its own, DatetimeWithNanoseconds.
    """
    if not isinstance(value, datetime):
        return value
    return datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, tzinfo=UTC
    )
