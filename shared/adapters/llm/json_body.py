"""Parses the JSON of an LLM, so that each value that it can hold can be stored."""

import json
from math import isfinite
from typing import Any

from shared.domain.fields import is_nested_too_deeply


def _parse_finite_float(digits: str) -> float | None:
    value = float(digits)
    return value if isfinite(value) else None


_DECODER = json.JSONDecoder(parse_float=_parse_finite_float, parse_constant=lambda name: None)
"""json.loads would make one for each value."""


def parse_json(content: bytes) -> Any:
    """Returns the JSON value, or None when the content is not JSON or is nested too deeply.

    NaN and infinite numbers become None. An unpaired surrogate becomes a question mark: JSON can escape one, and no
    UTF-8 store can keep it.
    """
    try:
        value = _DECODER.decode(content.decode(json.detect_encoding(content), "surrogatepass"))
        if b"\\ud" in content or b"\\uD" in content:
            value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return None if is_nested_too_deeply(value) else value
