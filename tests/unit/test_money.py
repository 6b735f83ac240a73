"""Prices, costs and estimates: exact, dated, and never too low."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.attempt import Attempt, Outcome
from shared.domain.bill import Bill, charged, estimate_usd
from shared.domain.money import price_list_at, to_nano, to_usd, with_text
from shared.domain.result import Usage, read_usage
from shared.errors import ConfigurationError

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
PRICES = {"input": 2.0, "cached_input": 0.5, "cache_write": 2.5, "output": 8.0}
OLD, NEW = {"input": 9.0}, {"from": "2026-03-14", "input": 2.0}


@given(st.integers(min_value=0, max_value=4 * 10**15))
def test_an_amount_is_the_same_after_the_way_to_usd_and_back(nano: int) -> None:
    assert to_nano(to_usd(nano)) == nano


def test_a_sum_of_many_small_amounts_is_exact() -> None:
    assert to_usd(sum(to_nano(0.1) for _ in range(1000))) == 100.0


@pytest.mark.parametrize(
    ("usage", "shown", "cost"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 10}, (100, 10, None, None), 0.00028),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            (100, 10, 40, 6),
            0.00022,
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
            (100, 10, 0, 0),
            0.00028,
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 10,
                "cache_read_input_tokens": 40,
                "cache_creation_input_tokens": 20,
            },
            (100, 10, 40, None),
            0.00035,
        ),
        (
            {
                "prompt_tokens": 160,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 40},
                "cache_read_input_tokens": 40,
                "cache_creation_input_tokens": 20,
            },
            (160, 10, 40, None),
            0.00034,
        ),
        ({"input_tokens": 5, "output_tokens": 5, "input_tokens_details": "many"}, (5, 5, None, None), 0.00005),
    ],
    ids=["chat", "chat-details", "responses", "anthropic", "proxy-of-anthropic", "odd"],
)
def test_each_vendors_usage_is_read_and_priced(usage: Any, shown: tuple[Any, ...], cost: float) -> None:
    read = read_usage(usage, prices=PRICES)
    assert (read.input_tokens, read.output_tokens, read.cached_tokens, read.reasoning_tokens) == shown
    assert read.cost_usd == cost


@pytest.mark.parametrize(("prices", "cost"), [(PRICES, None), ({"job": 0.02}, 0.02), (None, None)])
def test_an_answer_without_usage_has_a_cost_only_when_tokens_have_no_price(prices: Any, cost: float | None) -> None:
    assert read_usage(None, prices=prices).cost_usd == cost


def test_an_absurd_count_of_tokens_costs_what_a_store_can_sum() -> None:
    cost = read_usage({"input_tokens": 2**53 - 1}, prices={"input": 1e6}).cost_usd
    assert cost is not None and to_nano(cost) * 1000 < 2**63


@pytest.mark.parametrize(
    ("prices", "moment", "expected"),
    [
        ([OLD, NEW], NOW - timedelta(days=1), {"input": 9.0}),
        ([OLD, NEW], datetime(2026, 3, 14, tzinfo=UTC), {"input": 2.0}),
        ([NEW, OLD], NOW, {"input": 2.0}),
        ([NEW], NOW - timedelta(days=1), None),
        ({"from": NOW, "input": 1}, NOW, {"input": 1.0}),
        ({"from": date(2026, 3, 14), "input": 1}, NOW, {"input": 1.0}),
        ({"from": "2026-03-14T13:00:00Z", "input": 1}, NOW, None),
        ({"input": 1, "output": None, "note": "list price"}, NOW, {"input": 1.0}),
        (None, NOW, None),
    ],
)
def test_the_latest_list_that_has_begun_holds(prices: Any, moment: datetime, expected: Any) -> None:
    assert price_list_at(prices, moment) == expected


@pytest.mark.parametrize("prices", ["cheap", 3, [3], {"input": True}, {"output": float("nan")}, {"from": 3}])
def test_prices_that_cannot_be_read_are_a_configuration_error(prices: Any) -> None:
    with pytest.raises(ConfigurationError):
        price_list_at(prices, NOW)


def test_tokens_in_a_batch_cost_their_part_and_a_job_its_whole_price() -> None:
    prices = price_list_at({"input": 2, "output": 8, "batch": 0.5, "job": 0.01}, NOW, is_batch=True)
    assert read_usage({"input_tokens": 100, "output_tokens": 10}, prices=prices).cost_usd == 0.01014


def test_a_price_for_characters_becomes_part_of_the_price_of_the_job() -> None:
    assert with_text({"job": 0.001, "character": 20.0}, 50) == {"job": 0.002, "character": 0.0}
    assert with_text({"input": 1.0}, 50) == {"input": 1.0}


@given(
    st.text(max_size=200),
    st.integers(min_value=0, max_value=500),
    st.integers(min_value=0, max_value=500),
    st.sampled_from(["cached", "written", "fresh"]),
)
def test_no_answer_to_an_input_costs_more_than_its_estimate(text: str, output: int, saved: int, how: str) -> None:
    """An input has at most as many tokens as bytes, however the vendor caches them."""
    tokens = len(text.encode())
    usage = {"input_tokens": tokens, "output_tokens": output}
    if how != "fresh":
        name = {"cached": "cache_read_input_tokens", "written": "cache_creation_input_tokens"}[how]
        usage = {**usage, "input_tokens": max(tokens - saved, 0), name: min(saved, tokens)}
    estimate = estimate_usd(PRICES, {"full_input": text}, max_output_tokens=500)
    cost = read_usage(usage, prices=PRICES).cost_usd
    assert estimate is not None and (cost is None or cost <= estimate)


def attempt(outcome: Outcome, *, may_be_billed: bool, cost: float | None = None) -> Attempt:
    return Attempt(number=1, started_at=NOW, outcome=outcome, may_be_billed=may_be_billed, cost_usd=cost)


def test_a_run_costs_what_is_known_and_the_estimate_of_attempts_whose_cost_is_not() -> None:
    attempts = (
        attempt(Outcome.RATE_LIMITED, may_be_billed=False),
        attempt(Outcome.TIMEOUT, may_be_billed=True),
        attempt(Outcome.COMPLETED, may_be_billed=True, cost=0.002),
    )
    assert charged(Usage(cost_usd=0.002), attempts, Bill(estimate_usd=0.01)).cost_usd == 0.012
    assert charged(Usage(cost_usd=0.002), attempts, Bill()).cost_usd == 0.002
    assert charged(Usage(), attempts[:1], Bill(estimate_usd=0.01)).cost_usd == 0.0
    assert charged(Usage(), attempts[:2], Bill()).cost_usd is None
    assert charged(Usage(), (), Bill(estimate_usd=0.01)).cost_usd == 0.0
