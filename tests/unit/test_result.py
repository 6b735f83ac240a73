"""Memory flags and term pairs are read in whatever shape they come, and never fail a finished run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.result import Usage, read_result, read_usage
from tests.unit.test_submission import JSON


@pytest.mark.parametrize(
    "pairs",
    [
        [{"source": "a", "target": "b"}],
        [["a", "b"]],
        {"a": "b"},
        [{"src": "a", "tgt": "b"}],
        [{"from": "a", "to": "b"}],
    ],
)
def test_term_pairs_come_as_objects_pairs_or_a_mapping(pairs: Any) -> None:
    result = read_result({"text": "t", "term_pairs": pairs})
    assert result.term_pairs == ({"source": "a", "target": "b"},) and result.raw == {}


@pytest.mark.parametrize(
    "flags",
    [
        [{"segment": "s", "match": 0.9, "used": True}],
        [["s", 0.9, True]],
        {"s": {"match": 0.9, "used": True}},
        [{"text": "s", "score": 0.9, "applied": True}],
    ],
)
def test_memory_flags_come_as_objects_lists_or_a_mapping(flags: Any) -> None:
    result = read_result({"text": "t", "memory_flags": flags})
    assert result.memory_flags == ({"segment": "s", "match": 0.9, "used": True},) and result.raw == {}


@pytest.mark.parametrize("match", [10**30, -1e9, 5000])
def test_a_match_beyond_all_measure_is_kept_raw(match: Any) -> None:
    result = read_result({"text": "t", "memory_flags": [["s", match]]})
    assert result.memory_flags == () and result.raw == {"memory_flags": [["s", match]]}


def test_an_output_that_is_not_understood_is_kept_raw_beside_the_reading() -> None:
    result = read_result({"text": "t", "term_pairs": [["a", "b"], 7], "memory_flags": "none"})
    assert result.term_pairs == ({"source": "a", "target": "b"},)
    assert result.raw == {"term_pairs": [7], "memory_flags": "none"}


@given(flags=JSON, pairs=JSON)
def test_nothing_that_json_can_say_fails_a_result(flags: Any, pairs: Any) -> None:
    result = read_result({"text": "t", "memory_flags": flags, "term_pairs": pairs})
    assert all(set(pair) == {"source", "target"} for pair in result.term_pairs)
    assert all(isinstance(flag["used"], bool) for flag in result.memory_flags)


@given(usage=JSON | st.dictionaries(st.sampled_from(["input_tokens", "prompt_tokens", "output_tokens"]), JSON))
def test_usage_is_read_tolerantly(usage: Any) -> None:
    assert read_usage(usage).input_tokens >= 0


def test_costs_are_in_dollars_at_prices_per_million_tokens() -> None:
    usage = read_usage({"prompt_tokens": 1000, "completion_tokens": 500}, prices={"input": 2.0, "output": 8.0})
    assert usage == Usage(input_tokens=1000, output_tokens=500, cost_usd=0.006)
