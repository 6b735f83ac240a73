"""Calculates what a run may cost before it starts, and what it has cost when it has ended."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from shared.domain.attempt import Attempt
from shared.domain.frozen import are_equal_besides, replace
from shared.domain.money import TokenCounts, cost_nano, to_nano, to_usd
from shared.domain.result import Usage

DEFAULT_MAX_OUTPUT_TOKENS = 8192
"""The longest answer that is expected of a model whose record has no `max_output_tokens`."""
FRAMING_TOKENS = 200
"""Tokens that the message format and short instructions add to an input."""


class Bill(Struct, frozen=True, kw_only=True):
    """Holds what is known of a run's cost beside its attempts."""

    estimate_usd: float | None = None
    """The most that one attempt is expected to cost; None when the run has no prices."""
    reserved_usd: float | None = None
    """What the tenant's budget holds for the open run; None without a budget and after the run's end."""
    is_counted: bool = False
    """Owned by the store: whether the sums of usage have the run."""

    def __eq__(self, other: object) -> bool:
        return are_equal_besides(self, other, is_counted=False)


NO_BILL = Bill()


def estimate_usd(
    prices: Mapping[str, float] | None,
    content: Mapping[str, Any],
    *,
    max_output_tokens: int | None,
    added_bytes: int = 0,
) -> float | None:
    """Returns an upper estimate of the cost of one attempt, None without prices.

    A token stands for one byte of UTF-8 at least, so an input has no more tokens than bytes. The answer is as long as
    the model's record allows. `added_bytes` is what instructions add to the content. Both are counted at the highest
    price that may apply.
    """
    if prices is None:
        return None
    input_price = max(prices.get(name, 0.0) for name in ("input", "cached_input", "cache_write"))
    tokens = TokenCounts(
        input=_bytes_of(content) + added_bytes + FRAMING_TOKENS, output=max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS
    )
    return to_usd(cost_nano(tokens, {**prices, "input": input_price}))


def new_bill(estimate: float | None, *, max_attempts: int, has_budget: bool) -> Bill:
    """Returns the bill of a new run. With a budget it reserves the estimate for each attempt that may be billed."""
    if estimate is None or not has_budget:
        return Bill(estimate_usd=estimate)
    return Bill(estimate_usd=estimate, reserved_usd=to_usd(to_nano(estimate) * max_attempts))


def charged(usage: Usage, attempts: Sequence[Attempt], bill: Bill) -> Usage:
    """Returns the usage of a run that has ended, with the cost of all its attempts.

    An attempt that may have been billed and whose cost is not known counts with its estimate.
    """
    if not attempts:
        return usage if usage.cost_usd is not None or bill.estimate_usd is None else replace(usage, cost_usd=0.0)
    costs = [_cost(attempt, bill) for attempt in attempts if attempt.may_be_billed]
    known = [to_nano(cost) for cost in costs if cost is not None]
    is_priced = bool(known) or bill.estimate_usd is not None
    return replace(usage, cost_usd=to_usd(sum(known)) if is_priced else None)


def _cost(attempt: Attempt, bill: Bill) -> float | None:
    return bill.estimate_usd if attempt.cost_usd is None else attempt.cost_usd


def _bytes_of(content: Mapping[str, Any]) -> int:
    """Returns the bytes of all values; texts, which are nearly all of them, are not copied into JSON."""
    return sum(
        len(value.encode()) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False).encode())
        for value in content.values()
    )
