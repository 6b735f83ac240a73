"""Reads what an LLM delivered; understands what it can, keeps the rest raw, and never fails a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SOURCE_NAMES = ("source", "source_term", "src", "from", "term")
TARGET_NAMES = ("target", "target_term", "tgt", "to", "translation")
SEGMENT_NAMES = ("segment", "text", "source")
MATCH_NAMES = ("match", "score", "similarity")
MAX_MATCH = 1000
USED_NAMES = ("used", "applied", "flag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the LLM counted them; `cost_usd` None when the model has no prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`memory_flags`: [{segment, match, used}]; `term_pairs`: [{source, target}]; `raw`: what was not understood."""

    text: str
    memory_flags: tuple[Mapping[str, Any], ...] = ()
    term_pairs: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)


def read_result(output: Mapping[str, Any]) -> Result:
    """`output` is {text, memory_flags, term_pairs}, the last two a list of objects, a list of pairs or a mapping."""
    flags, odd_flags = _read_all(output.get("memory_flags"), _memory_flag)
    pairs, odd_pairs = _read_all(output.get("term_pairs"), _term_pair)
    raw = {name: odd for name, odd in (("memory_flags", odd_flags), ("term_pairs", odd_pairs)) if odd}
    return Result(text=output["text"], memory_flags=tuple(flags), term_pairs=tuple(pairs), raw=raw)


def read_usage(usage: Any, *, prices: Mapping[str, float] | None = None) -> Usage:
    """`usage` by either vendor's names; `prices` in USD per million tokens: {input, output}."""
    counts = usage if isinstance(usage, Mapping) else {}
    spent_in = _count(counts.get("input_tokens", counts.get("prompt_tokens")))
    spent_out = _count(counts.get("output_tokens", counts.get("completion_tokens")))
    cost = None
    if prices is not None:
        cost = round((spent_in * prices.get("input", 0.0) + spent_out * prices.get("output", 0.0)) / 1e6, 9)
    return Usage(input_tokens=spent_in, output_tokens=spent_out, cost_usd=cost)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def _read_all(value: Any, read_one: Any) -> tuple[list[Mapping[str, Any]], Any]:
    """(what was understood, what was not)."""
    if value is None:
        return [], None
    if isinstance(value, Mapping):
        items: Sequence[Any] = [[key, entry] for key, entry in value.items()]
    elif isinstance(value, list):
        items = value
    else:
        return [], value
    read = [(read_one(item), item) for item in items]
    understood = [entry for entry, _ in read if entry is not None]
    return understood, [item for entry, item in read if entry is None] or None


def _memory_flag(item: Any) -> Mapping[str, Any] | None:
    """An object, [segment, match, used?], or [segment, {match, used}] (from a mapping)."""
    if isinstance(item, Mapping):
        return _flag(_first(item, SEGMENT_NAMES), _first(item, MATCH_NAMES), _first(item, USED_NAMES))
    if not isinstance(item, list) or not 2 <= len(item) <= 3:
        return None
    segment, match = item[0], item[1]
    if isinstance(match, Mapping):
        return _flag(segment, _first(match, MATCH_NAMES), _first(match, USED_NAMES))
    if isinstance(match, bool):
        return _flag(segment, None, match)
    return _flag(segment, match, item[2] if len(item) == 3 else None)


def _flag(segment: Any, match: Any, used: Any) -> Mapping[str, Any] | None:
    number = isinstance(match, int | float) and not isinstance(match, bool)
    if not isinstance(segment, str) or not (number or match is None) or not (isinstance(used, bool) or used is None):
        return None
    if number and not -MAX_MATCH <= match <= MAX_MATCH:
        return None
    return {"segment": segment, "match": float(match) if number else None, "used": bool(used)}


def _term_pair(item: Any) -> Mapping[str, Any] | None:
    """An object, or [source, target]."""
    if isinstance(item, Mapping):
        source, target = _first(item, SOURCE_NAMES), _first(item, TARGET_NAMES)
    elif isinstance(item, list) and len(item) == 2:
        source, target = item
    else:
        return None
    if not isinstance(source, str) or not isinstance(target, str):
        return None
    return {"source": source, "target": target}


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if name in item), None)
