"""Splits what is too large to stand in a run's own document, and joins it again."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from shared.domain.run import INLINE_INPUT_BYTES, Run
from shared.errors import ResultTooLarge, StoreUnavailable

INPUT, RESULT = "input", "result"
"""Whose parts they are."""
INLINE_RESULT_BYTES = 256 * 1024
MAX_RESULT_BYTES = 9 * 1024 * 1024
"""As JSON. A commit to Firestore is 10 MiB at most, and an LLM's answer may grow when it is read."""
PART_CHARACTERS = 200_000
"""At most four bytes each: below Firestore's 1 MiB a document."""
OUTLIVE = timedelta(days=3)
"""How much longer than their run parts are kept, where both go by themselves, within a day or so and in any order."""


class PartsMissing(ValueError):
    """They have just been deleted: who reads the run again learns that."""


def without_large_input(run: Run) -> tuple[Run, list[str]]:
    """(the run as stored, the parts of its input when that is too large to be inline)."""
    parts = parts_of(run.input, inline_bytes=INLINE_INPUT_BYTES)
    return (replace(run, input={}, input_parts=len(parts)), parts) if parts else (run, [])


def take_large_result(document: dict[str, Any]) -> list[str]:
    """The parts of a run's result when that is too large to stand in its document, where only their number is left.

    That of a run which was read without its result stays as it is. Raises ResultTooLarge.
    """
    if document["result"] is None:
        return []
    parts = parts_of(document["result"], inline_bytes=INLINE_RESULT_BYTES)
    if sum(len(part.encode()) for part in parts) > MAX_RESULT_BYTES:
        raise ResultTooLarge
    document["result_parts"] = len(parts)
    if parts:
        document["result"] = None
    return parts


def parts_of(value: Any, *, inline_bytes: int) -> list[str]:
    """The value as JSON in parts; none when it is small enough to be inline."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text.encode()) <= inline_bytes:
        return []
    return [text[start : start + PART_CHARACTERS] for start in range(0, len(text), PART_CHARACTERS)]


@contextmanager
def parts_wanted() -> Iterator[None]:
    """For who cannot do without them."""
    try:
        yield
    except PartsMissing as error:
        raise StoreUnavailable from error


def joined(parts: Sequence[str | None]) -> Any:
    """None stands for a part that is not there. Raises PartsMissing."""
    there = [part for part in parts if part is not None]
    if not there or len(there) < len(parts):
        raise PartsMissing
    return json.loads("".join(there))
