"""Converts runs to documents of plain values and back, so that all stores and listeners see the same fields."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.run import Run

STORED_NAMES = {"usage": "metrics"}
STORED_ERROR_NAMES = {"retryable": "retriable"}
"""{name in the code: name in stored documents}, for names that differ because earlier releases wrote the documents."""


def to_document(run: Run) -> dict[str, Any]:
    """Returns the run as a dict of JSON values and datetimes.

    Listeners get an additional field, `processing_time` in seconds. The document has neither `revision`, which the
    store keeps outside the document, nor `clock_offset`, which is true for one read only.
    """
    document: dict[str, Any] = msgspec.to_builtins(run, builtin_types=(datetime,), enc_hook=_drop_revision)
    del document["revision"], document["clock_offset"]
    processing_time = run.processing_time
    document["processing_time"] = processing_time.total_seconds() if processing_time else None
    if document["error"] is not None:
        _rename(document["error"], STORED_ERROR_NAMES.items())
    _rename(document, STORED_NAMES.items())
    return document


def from_document(document: Mapping[str, Any], *, revision: Any) -> Run:
    """Returns the run of a document whose times are datetimes or RFC 3339 strings.

    A missing field gets its default and an unknown field is ignored, because another release may have written the
    document. Raises ValueError (msgspec.ValidationError) when a value has the wrong type.
    """
    values = {**document, "revision": revision}
    _rename(values, [(stored, name) for name, stored in STORED_NAMES.items()])
    if values.get("error") is not None:
        values["error"] = dict(values["error"])
        _rename(values["error"], [(stored, name) for name, stored in STORED_ERROR_NAMES.items()])
    return msgspec.convert(values, Run)


def _drop_revision(value: Any) -> None:
    """Replaces the only value of a run that msgspec does not know, the `revision`; `to_document` deletes it anyway."""


def _rename(values: dict[str, Any], names: Iterable[tuple[str, str]]) -> None:
    """Renames keys of `values`; `names` are (old key, new key). A key that is not there is left out."""
    for old, new in names:
        if old in values:
            values[new] = values.pop(old)
