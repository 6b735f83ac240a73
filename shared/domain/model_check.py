"""Says what is wrong with the record of a model, so that runs do not go to it as a fallback and operators see it."""

from collections.abc import Mapping
from datetime import datetime

from shared.domain.directory import LlmApi, Model
from shared.domain.money import price_list_at
from shared.errors import ConfigurationError


def problem_of(model: Model, now: datetime) -> str | None:
    """Returns what keeps runs from the model, as the end of a sentence; None when nothing does."""
    if not model.enabled:
        return "is no model that is available"
    if not {model.api, model.batch_api} <= {*LlmApi, None}:
        return "has a protocol that is not known"
    if not _has_known_types(model):
        return "has fields of a wrong type"
    try:
        price_list_at(model.prices, now)
    except ConfigurationError:
        return "has prices that cannot be read"
    return None


def _has_known_types(model: Model) -> bool:
    texts = (model.name, model.provider, model.upstream_model)
    optional_texts = (model.base_url, model.deployment, model.secret, model.token_limit_field, model.auth)
    limit = model.max_output_tokens
    return (
        all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in optional_texts)
        and (limit is None or (isinstance(limit, int) and limit > 0))
        and isinstance(model.parameters or {}, Mapping)
        and isinstance(model.unsupported_parameters, list | tuple)
    )
