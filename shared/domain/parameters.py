"""The parameters with which a job asks a model: read from `input_data`, checked against the model, completed by it.

`input_data` may have `temperature`, `top_p`, `max_output_tokens` and `response_schema` (a JSON schema for the answer).
Whatever else it has, and whatever its model cannot take, is refused by name at submit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from shared.domain.directory import LlmApi, Model
from shared.domain.fields import Fields
from shared.errors import InvalidRequest

NAMES = ("temperature", "top_p", "max_output_tokens", "response_schema")
MAX_TEMPERATURE = 2.0
MAX_OUTPUT_TOKENS = 2_000_000
"""More than any model writes; the limit of a model is `max_output_tokens` of its record."""
APIS_WITHOUT_PARAMETERS = frozenset({LlmApi.LLM_JOBS})
MAX_TEMPERATURE_OF: Mapping[str, float] = {LlmApi.ANTHROPIC_MESSAGES: 1.0}
"""https://platform.claude.com/docs/en/api/messages/create"""


class Parameters(Struct, frozen=True, kw_only=True):
    """Holds the parameters that are sent to the model; None leaves the choice to the vendor."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    response_schema: Mapping[str, Any] | None = None


def check_parameters(fields: Fields) -> None:
    """Reads the parameters of `input_data`. Raises InvalidRequest for a value that no model takes."""
    fields.optional_number("temperature", minimum=0, maximum=MAX_TEMPERATURE)
    fields.optional_number("top_p", minimum=0, maximum=1)
    fields.optional_whole_number("max_output_tokens", minimum=1, maximum=MAX_OUTPUT_TOKENS)
    schema = fields.optional_mapping("response_schema")
    if schema is not None and schema.get("type") != "object":
        raise InvalidRequest('response_schema must be a JSON schema with "type": "object"', field="response_schema")


def require_parameters(content: Mapping[str, Any], model: Model) -> None:
    """Raises InvalidRequest when the job's input has a parameter that the model cannot take, or a value beyond it."""
    refused = _refused_by(model)
    for name in NAMES:
        if content.get(name) is not None and name in refused:
            raise InvalidRequest(f"{name} cannot be set for this model", field=name)
    limit = model.max_output_tokens
    if limit is not None and (content.get("max_output_tokens") or 0) > limit:
        raise InvalidRequest(f"max_output_tokens is at most {limit} for this model", field="max_output_tokens")
    highest = MAX_TEMPERATURE_OF.get(model.api, MAX_TEMPERATURE)
    if (content.get("temperature") or 0) > highest:
        raise InvalidRequest(f"temperature is at most {highest:g} for this model", field="temperature")


def parameters_of(content: Mapping[str, Any], model: Model | None) -> Parameters:
    """Returns the parameters of a call: those of the job's input, else the defaults of the model's record.

    The answer's length is bounded by the record's `max_output_tokens` in any case. A value that `require_parameters`
    would refuse is left out: an earlier release accepted any field, and the model may have changed since.
    """
    if model is None:
        return Parameters()
    refused = _refused_by(model)
    given = {**(model.parameters or {}), **{name: value for name, value in content.items() if value is not None}}
    usable = {name: given.get(name) for name in NAMES if name not in refused}
    tokens, limit = _whole_number(usable.get("max_output_tokens")), model.max_output_tokens
    schema = usable.get("response_schema")
    return Parameters(
        temperature=_number(usable.get("temperature"), MAX_TEMPERATURE_OF.get(model.api, MAX_TEMPERATURE)),
        top_p=_number(usable.get("top_p"), 1.0),
        max_output_tokens=min(tokens, limit) if tokens and limit else tokens or limit,
        response_schema=schema if isinstance(schema, Mapping) else None,
    )


def is_strict(schema: Any) -> bool:
    """Returns whether OpenAI can hold an answer strictly to the schema: each object lists all it may have.

    https://developers.openai.com/api/docs/guides/structured-outputs
    """
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        is_object = schema.get("type") == "object" or isinstance(properties, Mapping)
        names = set(properties) if isinstance(properties, Mapping) else set()
        required = [str(name) for name in _list(schema.get("required"))]
        is_complete = schema.get("additionalProperties") is False and names == set(required)
        return (is_complete or not is_object) and all(is_strict(value) for value in schema.values())
    return all(is_strict(value) for value in _list(schema))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _refused_by(model: Model) -> Sequence[str]:
    return NAMES if model.api in APIS_WITHOUT_PARAMETERS else tuple(model.unsupported_parameters)


def _number(value: Any, maximum: float) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= maximum else None


def _whole_number(value: Any) -> int | None:
    number = _number(value, MAX_OUTPUT_TOKENS)
    return int(number) if number and number == int(number) else None
