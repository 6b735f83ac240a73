"""Converts runs to documents of plain values and back, so that all stores and listeners see the same fields."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared.domain.frozen import replace
from shared.domain.json_text import from_text, to_text
from shared.domain.run import Run


def to_document(run: Run) -> dict[str, Any]:
    """Returns the run as a dict of JSON values and datetimes.

    Listeners get an additional field, `processing_time` in seconds. The document has neither `revision`, which the
    store keeps outside the document, nor `clock_offset`, which is true for one read only.
    """
    document: dict[str, Any] = msgspec.to_builtins(_plain(run), builtin_types=(datetime,))
    for name, default in _DEFAULTS.items():
        if name not in document:
            document[name] = msgspec.to_builtins(default)
    processing_time = run.processing_time
    document["processing_time"] = processing_time.total_seconds() if processing_time else None
    return document


def from_document(document: Mapping[str, Any], *, revision: Any) -> Run:
    """Returns the run of a document whose times are datetimes or RFC 3339 strings.

    A missing field gets its default and an unknown field is ignored, because another release may have written the
    document. Raises ValueError (msgspec.ValidationError) when a value has the wrong type.
    """
    return msgspec.convert({**document, "revision": revision}, Run)


def to_json(run: Run) -> str:
    """Returns the run as JSON without fields that have their default, in a third of the time of a document's."""
    try:
        return _ENCODER.encode(_plain(run)).decode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
        return to_text(to_document(run))


def from_json(text: str, *, revision: Any) -> Run:
    """Returns the run of the JSON of `to_json` or of a document. Raises ValueError or RecursionError."""
    try:
        run = _DECODER.decode(text)
    except msgspec.DecodeError:  # also raised for half of a surrogate pair
        return from_document(from_text(text), revision=revision)
    return replace(run, revision=revision)


def _plain(run: Run) -> Run:
    """Returns the run without what is not stored with it."""
    return replace(run, revision=None, clock_offset=_NO_OFFSET)


_NO_OFFSET: timedelta = Run.__struct_defaults__[-1]
"""The very object that msgspec leaves out as the default."""
_DEFAULTS = {
    field.encode_name: field.default
    for field in msgspec.structs.fields(Run)
    if field.default is not msgspec.NODEFAULT and field.name not in ("revision", "clock_offset")
}
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Run)
