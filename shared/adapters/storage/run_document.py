"""Converts runs to documents of plain values and back: every store and every listener sees the same shape."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.run import Run

STORED_NAMES = {"usage": "metrics"}
STORED_ERROR_NAMES = {"retryable": "retriable"}
"""{name in the code: name in stored documents}, where documents of earlier releases have another name."""


def to_document(run: Run) -> dict[str, Any]:
    """Returns the run as a dict of JSON values and datetimes.

    `processing_time` (seconds) is added for listeners; `revision`, which the store itself keeps, is left out.
    """
    document: dict[str, Any] = msgspec.to_builtins(run, builtin_types=(datetime,), enc_hook=_drop_revision)
    del document["revision"]
    took = run.processing_time
    document["processing_time"] = took.total_seconds() if took else None
    if document["error"] is not None:
        document["error"] = _renamed(document["error"], STORED_ERROR_NAMES)
    return _renamed(document, STORED_NAMES)


def from_document(document: Mapping[str, Any], *, revision: Any) -> Run:
    """Reads a run whose times are datetimes or RFC 3339 strings.

    A field that the document lacks gets its default, and an unknown field is ignored: documents outlive the release
    that wrote them. Raises ValueError (msgspec.ValidationError) when a value does not fit.
    """
    values = _renamed(document, {stored: name for name, stored in STORED_NAMES.items()})
    if values.get("error") is not None:
        values["error"] = _renamed(values["error"], {stored: name for name, stored in STORED_ERROR_NAMES.items()})
    values["revision"] = revision
    return msgspec.convert(values, Run)


def _drop_revision(value: Any) -> None:
    """Is called for values that are not plain; a run has one only, its `revision`, which to_document drops."""


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}
