"""Defines where a run is sent: to a model or a deployment, and to which others when that one cannot take it."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.directory import LlmApi, Model, ModelRef, Organization
from shared.domain.status import Service

MAX_FALLBACKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackPlan:
    """The targets in the order in which they are tried, and a sentence for each entry of the record that is ignored."""

    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()


def plan_for_model(model: Model, found: Mapping[str, Model], service: Service) -> FallbackPlan:
    """Plans the fallbacks of the model's record; `found` has the records of those that exist.

    The list is the whole plan: the fallbacks of a fallback are not followed, so two models may name each other. A run
    of the batch service goes only to models that have one, since another would cost more than the client agreed to.
    """
    targets: list[Target] = []
    problems: list[str] = []
    for name in wanted_names(model.fallback):
        other = found.get(name)
        if name == model.id or name in [target.name for target in targets]:
            problems.append(f"{name} is named twice")
        elif other is None or not other.enabled:
            problems.append(f"{name} is no model that is available")
        elif len(targets) == MAX_FALLBACKS:
            problems.append(f"{name} is more than {MAX_FALLBACKS} fallbacks")
        else:
            targets.append(_target(other, service))
    usable = [target for target in targets if target.api]
    return FallbackPlan(targets=tuple(usable), problems=tuple(problems))


def _target(model: Model, service: Service) -> Target:
    """Returns the model as a target, whose `api` is empty when it does not have the service."""
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
