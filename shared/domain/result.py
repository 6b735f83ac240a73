"""Reads the output of an LLM: known shapes become a Result, unknown ones stay raw, and none fails a finished run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from shared.domain.money import TokenCounts, cost_nano, has_token_prices, to_usd

# LLM deployments name these fields differently; the first name that an entry has counts.
SOURCE_NAMES = ("source", "source_term", "src", "from", "term")
TARGET_NAMES = ("target", "target_term", "tgt", "to", "translation")
SEGMENT_NAMES = ("segment", "text", "source")
MATCH_NAMES = ("match", "score", "similarity")
USED_NAMES = ("used", "applied", "flag")
MAX_MATCH = 1000
MAX_TOKENS = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly (RFC 8259 section 6)."""


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts as the LLM reported them; a count that is None was not reported.

    OpenAI counts cached tokens as part of `input_tokens`, Anthropic counts cached and cache-written tokens beside them.
    Of a run that has ended, `cost_usd` is what all its attempts cost (see bill.py). It is None when the model has no
    prices.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    """Input tokens that the vendor read from its cache."""
    cache_write_tokens: int | None = None
    """Input tokens that the vendor wrote to its cache."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` that the answer does not show."""
    cost_usd: float | None = None
    first_token_seconds: float | None = None
    """The time from the call to the first text of the answer; None when the LLM did not stream it."""


class Result(Struct, frozen=True, kw_only=True):
    """The answer of an LLM.

    `memory_flags` is [{segment, match: number or None, used: bool}], from a translation memory. `term_pairs` is
    [{source, target}]. `raw` is {memory_flags?, term_pairs?} with the entries whose shape is not known.
    """

    text: str
    memory_flags: tuple[Mapping[str, Any], ...] = ()
    term_pairs: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    model_used: str | None = None
    """The id of the model, or the name of the deployment, that answered in place of the requested one."""
    checks: tuple[Mapping[str, Any], ...] = ()
    """What the checks of a translation found, [{check, ok, detail, source?, target?}]; empty of other runs."""
    repaired: bool = False
    """Whether this is the answer to a second call, with what the checks found in the first answer."""
    cut_off: bool = False
    """Whether the text ends where the model reached its token limit."""


def read_result(output: Mapping[str, Any]) -> Result:
    """Reads {text, memory_flags?, term_pairs?}; the last two are a list of objects, a list of lists or a mapping."""
    flags, unknown_flags = _read_entries(output.get("memory_flags"), _read_memory_flag)
    pairs, unknown_pairs = _read_entries(output.get("term_pairs"), _read_term_pair)
    unknown = {"memory_flags": unknown_flags, "term_pairs": unknown_pairs}
    raw = {name: entries for name, entries in unknown.items() if entries}
    return Result(text=output["text"], memory_flags=tuple(flags), term_pairs=tuple(pairs), raw=raw)


def read_usage(usage: Any, *, prices: Mapping[str, float] | None = None) -> Usage:
    """Reads the `usage` of an answer by OpenAI, Anthropic or a compatible server; values of other types count as 0.

    - {prompt_tokens, completion_tokens, prompt_tokens_details?: {cached_tokens}, completion_tokens_details?:
      {reasoning_tokens}} (https://platform.openai.com/docs/api-reference/chat/object)
    - {input_tokens, output_tokens, input_tokens_details?, output_tokens_details?}, likewise
      (https://platform.openai.com/docs/api-reference/responses/object)
    - {input_tokens, output_tokens, cache_read_input_tokens?, cache_creation_input_tokens?}, where the cached tokens
      are no part of the input tokens (https://docs.claude.com/en/api/messages)

    `prices` is the price list that holds for the run (see money.price_list_at). The cost is None when tokens have a
    price and none are reported.
    """
    counts = usage if isinstance(usage, Mapping) else {}
    input_tokens = _read_token_count(counts.get("input_tokens", counts.get("prompt_tokens")))
    output_tokens = _read_token_count(counts.get("output_tokens", counts.get("completion_tokens")))
    cached_within = _detail(counts, ("prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    is_anthropic = "prompt_tokens" not in counts  # proxies add Anthropic's counts to OpenAI's, which include them
    cached_beside = _optional_count(counts, "cache_read_input_tokens") if is_anthropic else None
    written = _optional_count(counts, "cache_creation_input_tokens") if is_anthropic else None
    tokens = TokenCounts(
        input=max(input_tokens - (cached_within or 0), 0),
        cached_input=(cached_within or 0) + (cached_beside or 0),
        cache_write=written or 0,
        output=output_tokens,
    )
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_within if cached_beside is None else cached_beside,
        cache_write_tokens=written,
        reasoning_tokens=_detail(counts, ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens"),
        cost_usd=_cost(tokens, prices),
    )


def _cost(tokens: TokenCounts, prices: Mapping[str, float] | None) -> float | None:
    if prices is None or (tokens == TokenCounts() and has_token_prices(prices)):
        return None
    return to_usd(cost_nano(tokens, prices))


def _detail(counts: Mapping[str, Any], places: Sequence[str], name: str) -> int | None:
    """Returns the count `name` in the first of the objects `places` that the usage has; None when it has none."""
    details: Mapping[str, Any] = next((counts[place] for place in places if isinstance(counts.get(place), Mapping)), {})
    return _optional_count(details, name)


def _optional_count(counts: Mapping[str, Any], name: str) -> int | None:
    return None if counts.get(name) is None else _read_token_count(counts[name])


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
