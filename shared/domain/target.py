"""Defines where a run is sent: to a model or a deployment, and to which others when that one cannot take it."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from shared.domain.directory import LlmApi, Model, ModelRef, Organization
from shared.domain.model_check import problem_of
from shared.domain.parameters import require_parameters
from shared.domain.status import Service
from shared.errors import InvalidRequest

MAX_FALLBACKS = 3


class Target(Struct, frozen=True, kw_only=True):
    """A model, or a deployment for runs without a model. `api` is its protocol, an LlmApi."""

    api: str
    model: ModelRef | None = None
    deployment: str | None = None

    @property
    def name(self) -> str | None:
        """Returns the id of the model, or else the name of the deployment."""
        return self.model.id if self.model else self.deployment

    @property
    def detail(self) -> Mapping[str, str | None]:
        """Returns {model} or {deployment}, as events tell it."""
        return {"model" if self.model else "deployment": self.name}


class FallbackPlan(Struct, frozen=True, kw_only=True):
    """The targets in the order in which they are tried, and a sentence for each entry of the record that is ignored."""

    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()


def plan_for_model(
    model: Model,
    found: Mapping[str, Model],
    service: Service,
    now: datetime,
    *,
    content: Mapping[str, Any] = MappingProxyType({}),
) -> FallbackPlan:
    """Plans the fallbacks of the model's record; `found` has the records of those that can be read.

    The list is the whole plan: the fallbacks of a fallback are not followed, so two models may name each other. A run
    of the batch service goes only to models that have one, since another would cost more than the client agreed to.
    A job goes only to models that take all parameters of its `content`.
    """
    targets: list[Target] = []
    problems: list[str] = []
    for name in wanted_names(model.fallback):
        other = found.get(name)
        if name == model.id or name in [target.name for target in targets]:
            problems.append(f"{name} is named twice")
        elif other is None or (problem := problem_of(other, now)) is not None:
            problems.append(f"{name} {problem if other else 'is no model that is available'}")
        elif len(targets) == MAX_FALLBACKS:
            problems.append(f"{name} is more than {MAX_FALLBACKS} fallbacks")
        elif _takes(other, service, content):
            targets.append(_target(other, service))
    return FallbackPlan(targets=tuple(targets), problems=tuple(problems))


def _takes(model: Model, service: Service, content: Mapping[str, Any]) -> bool:
    """Returns whether the model has the service and takes the job's parameters; both are no fault of a record."""
    try:
        require_parameters(content, model)
    except InvalidRequest:
        return False
    return service is Service.STANDARD or model.batch_api is not None


def _target(model: Model, service: Service) -> Target:
    ref = ModelRef(id=model.id, name=model.name, provider=model.provider)
    api = model.api if service is Service.STANDARD else model.batch_api or ""
    return Target(api=api, model=ref, deployment=model.deployment)


def plan_for_organization(organization: Organization) -> FallbackPlan:
    """Plans the fallbacks of an organization's deployment. One that is not set up is passed over when it is tried."""
    targets: list[Target] = []
    problems: list[str] = []
    for name in wanted_names(organization.fallback):
        if name == organization.deployment or name in [target.name for target in targets]:
            problems.append(f"{name} is named twice")
        elif len(targets) == MAX_FALLBACKS:
            problems.append(f"{name} is more than {MAX_FALLBACKS} fallbacks")
        else:
            targets.append(Target(api=LlmApi.LLM_JOBS, deployment=name))
    return FallbackPlan(targets=tuple(targets), problems=tuple(problems))


def wanted_names(fallback: object) -> list[str]:
    """Reads a record's `fallback`: a list of names, or one name; anything else is no name."""
    names = [fallback] if isinstance(fallback, str) else fallback
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []
