"""Which parameters a model takes, and what is sent to it."""

from collections.abc import Mapping
from typing import Any

import pytest

from shared.domain.directory import LlmApi, Model
from shared.domain.parameters import Parameters, is_strict, parameters_of, require_parameters
from shared.errors import InvalidRequest

SCHEMA = {"type": "object"}


def a_model(api: str = LlmApi.OPENAI_CHAT, **fields: Any) -> Model:
    return Model(id="m", name="M", provider="p", api=api, upstream_model="up", **fields)


@pytest.mark.parametrize(
    ("model", "content", "field"),
    [
        (a_model(LlmApi.LLM_JOBS), {"temperature": 0}, "temperature"),
        (a_model(LlmApi.LLM_JOBS), {"top_p": 0}, "top_p"),
        (a_model(LlmApi.LLM_JOBS), {"max_output_tokens": 1}, "max_output_tokens"),
        (a_model(LlmApi.LLM_JOBS), {"response_schema": SCHEMA}, "response_schema"),
        (a_model(unsupported_parameters=["temperature"]), {"temperature": 0}, "temperature"),
        (a_model(max_output_tokens=100), {"max_output_tokens": 101}, "max_output_tokens"),
        (a_model(LlmApi.ANTHROPIC_MESSAGES), {"temperature": 1.1}, "temperature"),
    ],
)
def test_a_parameter_that_the_model_cannot_take_is_refused_by_name(
    model: Model, content: Mapping[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        require_parameters({"full_input": "canary", **content}, model)
    assert refused.value.field == field and field in refused.value.message and "canary" not in refused.value.message
    assert getattr(parameters_of(content, model), field) in (None, 100), "a run of an earlier release does not send it"


def test_what_the_model_takes_and_what_is_null_is_accepted() -> None:
    given = {"temperature": 1, "top_p": 0.5, "max_output_tokens": 100, "response_schema": SCHEMA}
    for api in (LlmApi.OPENAI_CHAT, LlmApi.OPENAI_RESPONSES, LlmApi.ANTHROPIC_MESSAGES):
        require_parameters(given, a_model(api, max_output_tokens=100))
    require_parameters(dict.fromkeys(given), a_model(LlmApi.LLM_JOBS))


def test_the_input_wins_over_the_records_defaults_within_its_limit() -> None:
    model = a_model(parameters={"temperature": 0.2, "max_output_tokens": 50}, max_output_tokens=100)
    assert parameters_of({}, model) == Parameters(temperature=0.2, max_output_tokens=50)
    assert parameters_of({"temperature": 0, "max_output_tokens": 70.0}, model) == Parameters(
        temperature=0, max_output_tokens=70
    )
    assert parameters_of({"temperature": None, "max_output_tokens": 700}, model) == Parameters(
        temperature=0.2, max_output_tokens=100
    )


def test_without_a_default_the_limit_is_sent_and_without_a_model_nothing() -> None:
    assert parameters_of({}, a_model(max_output_tokens=100)) == Parameters(max_output_tokens=100)
    assert parameters_of({}, a_model()) == parameters_of({"temperature": 1}, None) == Parameters()


@pytest.mark.parametrize("value", ["hot", True, -1, [], float("nan"), float("inf")])
def test_values_that_an_earlier_release_stored_unread_are_not_sent(value: Any) -> None:
    content = dict.fromkeys(("temperature", "top_p", "max_output_tokens", "response_schema"), value)
    assert parameters_of(content, a_model()) == Parameters()


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "array", "items": {"type": "object"}}},
                "required": ["a"],
                "additionalProperties": False,
            },
            False,
        ),
        ({"anyOf": [{"type": "string"}, {"properties": {}}]}, False),
        ({"type": "object", "additionalProperties": False, "required": 7}, True),
        ({"type": "object", "additionalProperties": False, "required": [{}]}, False),
    ],
)
def test_a_schema_is_strict_when_each_of_its_objects_lists_all_it_may_have(schema: Any, strict: bool) -> None:
    assert is_strict(schema) is strict
