"""Names a job's parameters as each vendor's protocol does."""

from collections.abc import Mapping
from typing import Any

from shared.adapters.llm.protocol import LlmCall
from shared.domain.parameters import Parameters, is_strict, parameters_of

DEFAULT_MAX_TOKENS = 8192
"""Anthropic's API wants a number; each model that is offered today writes at least so much."""
SCHEMA_NAME = "answer"


def chat_parameters(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """https://developers.openai.com/api/reference/resources/chat"""
    given = parameters_of(content, call.model)
    limit_field = (call.model.token_limit_field if call.model else None) or "max_tokens"
    response_format = {"type": "json_schema", "json_schema": _openai_schema(given)} if given.response_schema else None
    return _without_none(
        {
            "temperature": given.temperature,
            "top_p": given.top_p,
            limit_field: given.max_output_tokens,
            "response_format": response_format,
        }
    )


def responses_parameters(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """https://developers.openai.com/api/reference/resources/responses"""
    given = parameters_of(content, call.model)
    text = {"format": {"type": "json_schema", **_openai_schema(given)}} if given.response_schema else None
    return _without_none(
        {
            "temperature": given.temperature,
            "top_p": given.top_p,
            "max_output_tokens": given.max_output_tokens,
            "text": text,
        }
    )


def messages_parameters(call: LlmCall, content: Mapping[str, Any]) -> dict[str, Any]:
    """https://platform.claude.com/docs/en/build-with-claude/structured-outputs"""
    given = parameters_of(content, call.model)
    answer_format = {"type": "json_schema", "schema": given.response_schema} if given.response_schema else None
    return _without_none(
        {
            "temperature": given.temperature,
            "top_p": given.top_p,
            "max_tokens": given.max_output_tokens or DEFAULT_MAX_TOKENS,
            "output_config": {"format": answer_format} if answer_format else None,
        }
    )


def _openai_schema(given: Parameters) -> dict[str, Any]:
    return {"name": SCHEMA_NAME, "schema": given.response_schema, "strict": is_strict(given.response_schema)}


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
