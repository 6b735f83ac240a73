"""Reads the output of an LLM: known shapes become a Result, unknown ones stay raw, and none fails a finished run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# LLM deployments name these fields differently; the first name that an entry has counts.
SOURCE_NAMES = ("source", "source_term", "src", "from", "term")
TARGET_NAMES = ("target", "target_term", "tgt", "to", "translation")
SEGMENT_NAMES = ("segment", "text", "source")
MATCH_NAMES = ("match", "score", "similarity")
USED_NAMES = ("used", "applied", "flag")
MAX_MATCH = 1000
MAX_TOKENS = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly (RFC 8259 section 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as the LLM reported them; `cost_usd` is None when the model has no prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    first_token_seconds: float | None = None
    """The time from the call to the first text of the answer; None when the LLM did not stream it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer of an LLM.

    `memory_flags` is [{segment, match: number or None, used: bool}], from a translation memory. `term_pairs` is
    [{source, target}]. `raw` is {memory_flags?, term_pairs?} with the entries whose shape is not known.
    """

    text: str
    memory_flags: tuple[Mapping[str, Any], ...] = ()
    term_pairs: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_result(output: Mapping[str, Any]) -> Result:
    """Reads {text, memory_flags?, term_pairs?}; the last two are a list of objects, a list of lists or a mapping."""
    flags, unknown_flags = _read_entries(output.get("memory_flags"), _read_memory_flag)
    pairs, unknown_pairs = _read_entries(output.get("term_pairs"), _read_term_pair)
    unknown = {"memory_flags": unknown_flags, "term_pairs": unknown_pairs}
    raw = {name: entries for name, entries in unknown.items() if entries}
    return Result(text=output["text"], memory_flags=tuple(flags), term_pairs=tuple(pairs), raw=raw)


def read_usage(usage: Any, *, prices: Mapping[str, float] | None = None) -> Usage:
    """Reads {input_tokens, output_tokens} or OpenAI's {prompt_tokens, completion_tokens}; other values count as 0.

    `prices` is {input, output} in USD per million tokens.
    """
    counts = usage if isinstance(usage, Mapping) else {}
    input_tokens = _read_token_count(counts.get("input_tokens", counts.get("prompt_tokens")))
    output_tokens = _read_token_count(counts.get("output_tokens", counts.get("completion_tokens")))
    cost = None
    if prices is not None:
        cost = round((input_tokens * prices.get("input", 0.0) + output_tokens * prices.get("output", 0.0)) / 1e6, 9)
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost)


def _read_token_count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS else 0


def _read_entries(
    value: Any, read_entry: Callable[[Any], Mapping[str, Any] | None]
) -> tuple[list[Mapping[str, Any]], Any]:
    """Returns (entries that `read_entry` understands, the rest as it came or None). A mapping becomes [key, value]s."""
    if value is None:
        return [], None
    if isinstance(value, Mapping):
        items: Sequence[Any] = [[key, entry] for key, entry in value.items()]
    elif isinstance(value, list):
        items = value
    else:
        return [], value
    entries = [(read_entry(item), item) for item in items]
    known = [entry for entry, _ in entries if entry is not None]
    return known, [item for entry, item in entries if entry is None] or None


def _read_memory_flag(item: Any) -> Mapping[str, Any] | None:
    """Reads an object, [segment, match, used?], [segment, used], or [segment, {match, used}] from a mapping."""
    if isinstance(item, Mapping):
        return _build_memory_flag(
            _first_present(item, SEGMENT_NAMES), _first_present(item, MATCH_NAMES), _first_present(item, USED_NAMES)
        )
    if not isinstance(item, list) or not 2 <= len(item) <= 3:
        return None
    segment, match = item[0], item[1]
    if isinstance(match, Mapping):
        return _build_memory_flag(segment, _first_present(match, MATCH_NAMES), _first_present(match, USED_NAMES))
    if isinstance(match, bool):
        return _build_memory_flag(segment, None, match)
    return _build_memory_flag(segment, match, item[2] if len(item) == 3 else None)


def _build_memory_flag(segment: Any, match: Any, used: Any) -> Mapping[str, Any] | None:
    """Returns {segment, match, used}, or None when a value has the wrong type or `match` exceeds MAX_MATCH."""
    is_number = isinstance(match, int | float) and not isinstance(match, bool)
    if not isinstance(segment, str) or not (is_number or match is None) or not (isinstance(used, bool) or used is None):
        return None
    if is_number and not -MAX_MATCH <= match <= MAX_MATCH:
        return None
    return {"segment": segment, "match": float(match) if is_number else None, "used": bool(used)}


def _read_term_pair(item: Any) -> Mapping[str, Any] | None:
    """Reads an object or [source, target]."""
    if isinstance(item, Mapping):
        source, target = _first_present(item, SOURCE_NAMES), _first_present(item, TARGET_NAMES)
    elif isinstance(item, list) and len(item) == 2:
        source, target = item
    else:
        return None
    if not isinstance(source, str) or not isinstance(target, str):
        return None
    return {"source": source, "target": target}


def _first_present(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Returns the value of the first of `names` that the item has, or None."""
    return next((item[name] for name in names if name in item), None)
