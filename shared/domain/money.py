"""Converts amounts of money between USD and nano-USD, and reads prices.

Sums are made of whole nano-USD, because a sum of floats collects rounding errors. Runs and responses show USD as a
number with at most nine decimals, which stands for exactly one number of nano-USD up to four million USD.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from math import isfinite
from typing import Any

from msgspec import Struct

from shared.errors import ConfigurationError

NANO_PER_USD = 10**9
NANO_PER_MILLIONTH = NANO_PER_USD // 10**6
"""One token at one USD per million tokens costs so many nano-USD."""
MAX_COST = 2**52
"""Of one answer, in nano-USD. More can only be an absurd count of tokens, and stores take 64 bits for a sum."""
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
PRICE_NAMES = ("input", "output", "cached_input", "cache_write", "job", "character", "batch")
WRONG_PRICES = "The prices of this model or organization are wrong; ask your administrator."


class TokenCounts(Struct, frozen=True, kw_only=True):
    """The tokens of one answer by price. No token is counted twice."""

    input: int = 0
    """Input tokens that no cache had."""
    cached_input: int = 0
    """Input tokens that the vendor read from its cache."""
    cache_write: int = 0
    """Input tokens that the vendor wrote to its cache."""
    output: int = 0
    """Output tokens, reasoning included."""


def to_nano(usd: float) -> int:
    """Returns the amount in whole nano-USD."""
    return int((Decimal(repr(usd)) * NANO_PER_USD).to_integral_value(ROUND_HALF_UP))


def to_usd(nano: int) -> float:
    """Returns the amount in USD as the nearest float; `to_nano` returns the same amount again."""
    return nano / NANO_PER_USD


def price_list_at(prices: Any, moment: datetime, *, is_batch: bool = False) -> Mapping[str, float] | None:
    """Returns the price list that holds at that time, None when there is none.

    `prices` is one price list, or several with the day or time `from` which each one holds (see Model.prices). With
    `is_batch`, the list's tokens cost `batch` times as much, as in a vendor's batch API; the result then has this
    factor as `rate`. Raises ConfigurationError when the prices cannot be read.
    """
    if prices is None:
        return None
    lists = [prices] if isinstance(prices, Mapping) else prices
    if not isinstance(lists, Sequence) or not all(isinstance(entry, Mapping) for entry in lists):
        raise ConfigurationError(WRONG_PRICES)
    dated = [(_start(entry.get("from")), number, entry) for number, entry in enumerate(lists)]
    in_force = [one for one in dated if one[0] <= moment]
    if not in_force:
        return None
    _, _, entry = max(in_force, key=lambda one: one[:2])
    chosen = {name: _price(entry[name]) for name in PRICE_NAMES if entry.get(name) is not None}
    return {**chosen, "rate": chosen.get("batch", 1.0)} if is_batch else chosen


def with_text(prices: Mapping[str, float] | None, characters: int) -> Mapping[str, float] | None:
    """Returns the price list with the price of a text of so many characters added to `job`, the price of one job."""
    if prices is None or "character" not in prices:
        return prices
    text = Decimal(repr(prices["character"])) * characters / 10**6
    return {**prices, "job": float(Decimal(repr(prices.get("job", 0.0))) + text), "character": 0.0}


def cost_nano(tokens: TokenCounts, prices: Mapping[str, float]) -> int:
    """Returns what an answer with these tokens costs. `cached_input` and `cache_write` cost as `input` by default."""
    amounts = {
        "input": tokens.input,
        "cached_input": tokens.cached_input,
        "cache_write": tokens.cache_write,
        "output": tokens.output,
    }
    fresh = prices.get("input", 0.0)
    defaults = {"input": fresh, "cached_input": fresh, "cache_write": fresh, "output": 0.0}
    per_token = sum(
        (Decimal(repr(prices.get(name, defaults[name]))) * count for name, count in amounts.items()), Decimal(0)
    )
    cost = per_token * NANO_PER_MILLIONTH * Decimal(repr(prices.get("rate", 1.0)))
    cost += Decimal(repr(prices.get("job", 0.0))) * NANO_PER_USD
    return min(int(cost.to_integral_value(ROUND_HALF_UP)), MAX_COST)


def has_token_prices(prices: Mapping[str, float]) -> bool:
    return any(prices.get(name) for name in ("input", "output", "cached_input", "cache_write"))


def _start(value: Any) -> datetime:
    """Returns from when on a price list holds: a time, or midnight UTC of a day; None is the beginning of time."""
    try:
        moment = BEGINNING if value is None else _moment(value)
    except ValueError:
        raise ConfigurationError(WRONG_PRICES) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    raise ValueError


def _price(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value) or value < 0:
        raise ConfigurationError(WRONG_PRICES)
    return float(value)
