"""Finds the prices of a run, and from them the bill of a new one."""

from collections.abc import Mapping, Sequence

from shared.domain.bill import Bill, estimate_usd, new_bill
from shared.domain.directory import Model, Organization
from shared.domain.money import price_list_at, with_text
from shared.domain.parameters import parameters_of
from shared.domain.run import Run
from shared.domain.status import Kind, Service
from shared.domain.translation_prompt import max_added_bytes


def prices_of(run: Run, organization: Organization | None, model: Model | None) -> Mapping[str, float] | None:
    """Returns the price list that held when the run was accepted: its model's, or its organization's without a model.

    Raises ConfigurationError when the record's prices cannot be read.
    """
    prices = model.prices if model else organization.prices if organization else None
    in_force = price_list_at(prices, run.created_at, is_batch=run.service is Service.BATCH)
    text = run.input.get("text")
    return with_text(in_force, len(text) if isinstance(text, str) else 0)


def bill_of(run: Run, organization: Organization, models: Sequence[Model | None], *, has_budget: bool) -> Bill:
    """Returns the bill of a new run, which counts with the dearest of its models: its own and its fallbacks.

    `models` is [None] for a run without a model. Raises ConfigurationError, as `prices_of` does.
    """
    estimates = [
        estimate_usd(
            prices_of(run, organization, model),
            run.input,
            max_output_tokens=parameters_of(run.input, model).max_output_tokens,
            added_bytes=max_added_bytes(run) if model and run.kind is not Kind.JOB else 0,
        )
        for model in models
    ]
    estimate = max((estimate for estimate in estimates if estimate is not None), default=None)
    return new_bill(estimate, max_attempts=run.max_attempts, has_budget=has_budget)
