"""Splits inputs and results that are too large for a run's document into parts, and joins the parts again.

A part is a piece of JSON text. The concatenation of all parts, in order, is the whole JSON value.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from shared.domain.frozen import replace
from shared.domain.json_text import from_text, to_text
from shared.domain.run import INLINE_INPUT_BYTES, Run
from shared.errors import ResultTooLarge, StoreUnavailable

INPUT, RESULT = "input", "result"
"""The two kinds of content that a part can belong to."""
MAX_INLINE_RESULT_BYTES = 256 * 1024
"""A result with more bytes of JSON is stored in parts."""
MAX_RESULT_BYTES = 9 * 1024 * 1024
"""Bytes of JSON. A Firestore commit takes 10 MiB at most, and an LLM's answer may grow when it is converted."""
MAX_PART_CHARACTERS = 200_000
"""A character takes four bytes at most, so a part stays below Firestore's limit of 1 MiB for a document."""
PART_EXPIRY_MARGIN = timedelta(days=3)
"""How much later than its run a part expires in Firestore.

TTL deletes each document within about a day after its expiry, in any order. The margin keeps the parts until the run's
document is deleted.
"""


class PartsMissing(ValueError):
    """Parts that the run's document counts do not exist: the run has just been erased, or it has expired."""


def split_large_input(run: Run) -> tuple[Run, list[str]]:
    """Returns (the run to store, the parts of its input); without parts when the input fits into the document."""
    parts = _split(run.input, max_inline_bytes=INLINE_INPUT_BYTES)
    return (replace(run, input={}, input_parts=len(parts)), parts) if parts else (run, [])


def split_large_result(document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns (the document to store, the parts of its result); without parts when the result fits into the document.

    `result_parts` of the returned document is the number of parts. A run without `result` keeps its `result_parts`: it
    may have been read without a large result. Raises ResultTooLarge when the parts exceed MAX_RESULT_BYTES.
    """
    if document["result"] is None:
        return document, []
    parts = _split(document["result"], max_inline_bytes=MAX_INLINE_RESULT_BYTES)
    if sum(len(part.encode()) for part in parts) > MAX_RESULT_BYTES:
        raise ResultTooLarge
    return {**document, "result": None if parts else document["result"], "result_parts": len(parts)}, parts


def join_parts(parts: Sequence[str | None]) -> Any:
    """Returns the JSON value of the parts, where None stands for a missing part. Raises PartsMissing when there are no
    parts or one of them is missing.
    """
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        raise PartsMissing
    return from_text("".join(found))


@contextmanager
def parts_required() -> Iterator[None]:
    """Raises StoreUnavailable when the block raises PartsMissing."""
    try:
        yield
    except PartsMissing as error:
        raise StoreUnavailable from error


def _split(value: Any, *, max_inline_bytes: int) -> list[str]:
    """Returns the value's JSON in parts; an empty list when the JSON has at most `max_inline_bytes`."""
    text = to_text(value)
    if len(text.encode()) <= max_inline_bytes:
        return []
    return [text[start : start + MAX_PART_CHARACTERS] for start in range(0, len(text), MAX_PART_CHARACTERS)]
