"""A run as a Firestore document. Listeners see it, so what a front end wants stays plain.

Firestore takes no list in a list, no integer over 64 bits and no document over 1 MiB, and what comes from outside may
be all of that: JSON that is not plain is kept as text in a field of its own, and a large result in parts.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.adapters.storage.parts import take_large_result
from shared.adapters.storage.run_document import from_document, to_document
from shared.domain.run import Run

PLAIN_INPUT = frozenset({"text", "system_message", "full_input", "instructions"})
"""Other names may be none that Firestore takes."""


def to_firestore(run: Run) -> tuple[dict[str, Any], list[str]]:
    """(the document, the parts of its result when that is too large to be inline)."""
    document = to_document(run)
    is_plain = all(name in PLAIN_INPUT and isinstance(value, str) for name, value in run.input.items())
    document["input_json"] = None if is_plain else json.dumps(run.input)
    document["input"] = document["input"] if is_plain else {}
    parts = take_large_result(document)
    if document["result"] is not None:
        document["result"]["raw"] = json.dumps(document["result"]["raw"])
    return document, parts


def from_firestore(document: Mapping[str, Any], *, revision: Any, result: Any = None) -> Run:
    """`result` is what was read from parts, if the document has any."""
    plain = {name: _plain_time(value) for name, value in document.items()}
    if plain.get("input_json"):
        plain["input"] = json.loads(plain["input_json"])
    if plain["result"] is not None:
        plain["result"] = {**plain["result"], "raw": json.loads(plain["result"]["raw"])}
    plain["result"] = result or plain["result"]
    plain["events"] = [{**event, "at": _plain_time(event["at"])} for event in plain["events"]]
    return from_document(plain, revision=revision)


def _plain_time(value: Any) -> Any:
    """Firestore's times know nanoseconds; ours are plain."""
    if not isinstance(value, datetime):
        return value
    return datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, tzinfo=UTC
    )
