"""Accepts a run: checks it against the directory, records it in one commit, then publishes it to the queue."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from shared import log, tracing
from shared.domain.budget import Budget, read_budget
from shared.domain.channel import channel_for
from shared.domain.directory import Model, Organization, Profile
from shared.domain.frozen import replace
from shared.domain.idempotency import IdempotencyRecord
from shared.domain.limits import Limits
from shared.domain.parameters import require_parameters
from shared.domain.run import Run
from shared.domain.run_prices import bill_of
from shared.domain.status import Kind
from shared.domain.submission import RunPolicy, Submission, new_run
from shared.domain.target import FallbackPlan, plan_for_model, plan_for_organization, wanted_names
from shared.errors import (
    BudgetExhausted,
    ConfigurationError,
    Forbidden,
    IdempotencyConflict,
    InvalidRequest,
    QueueUnavailable,
    RunNotFound,
)
from shared.ports import Clock, Directory, RunQueue, RunStore
from shared.usecases.webhook_targets import WebhookTargets

IDEMPOTENCY_LIFETIME = timedelta(hours=24)


class IdempotencyKey(Struct, frozen=True, kw_only=True):
    """Holds hashes of a client's key (with user and route) and of the body that came with it."""

    key_hash: str
    body_hash: str


class SubmitRun(Struct, frozen=True, kw_only=True):
    store: RunStore
    queue: RunQueue
    directory: Directory
    clock: Clock
    policy: RunPolicy
    limits: Limits
    webhooks: WebhookTargets
    new_id: Callable[[], str]

    async def __call__(
        self, caller: Profile, submission: Submission, *, key: IdempotencyKey | None = None
    ) -> tuple[Run, bool]:
        """Returns the run, and whether it was recorded by an earlier request with the same key.

        Raises a CallerError, and then nothing was recorded.
        """
        if submission.channel is not None:
            channel_for(caller, submission.channel)
        now = self.clock.now()
        organization = await self._organization(caller, submission)
        _require_own_resources(submission, organization)
        model = await self._model(submission, organization)
        others = await self._other_models(model)
        plan = _fallback_plan(submission, organization, model, others, now)
        run = new_run(
            submission,
            run_id=self.new_id(),
            caller=caller,
            organization=organization,
            model=model,
            fallbacks=plan.targets,
            prior=await self._prior(caller, submission, now),
            policy=self.policy,
            now=now,
            webhooks=await self.webhooks(caller.organization_id, submission.webhook),
        )
        budget = read_budget(organization.budget)
        planned = [others[target.model.id] for target in plan.targets if target.model]
        bill = bill_of(run, organization, [model, *planned], has_budget=budget is not None)
        run = replace(run, traceparent=tracing.current(), bill=bill)
        earlier = await self._create(run, _record(key, run) if key else None, budget)
        if earlier is not None:
            return await self._replay(earlier, key), True
        log.info("run accepted", run_id=run.id, kind=run.kind)
        await self._publish(run)
        return run, False

    async def _create(
        self, run: Run, idempotency: IdempotencyRecord | None, budget: Budget | None
    ) -> IdempotencyRecord | None:
        try:
            return await self.store.create(run, idempotency=idempotency, limits=replace(self.limits, budget=budget))
        except BudgetExhausted:
            log.warning("budget exhausted", organization_id=run.tenant_id, user_id=run.user_id)
            raise

    async def _replay(self, earlier: IdempotencyRecord, key: IdempotencyKey | None) -> Run:
        if key is None or earlier.body_hash != key.body_hash:
            raise IdempotencyConflict
        return await self.store.get(earlier.run_id)

    async def _publish(self, run: Run) -> None:
        """Makes the run start at once. When this fails the sweeper publishes the run later."""
        try:
            await self.queue.publish(run.id, lane=run.lane)
        except QueueUnavailable as error:
            log.warning("run not published; the sweeper will", run_id=run.id, code=error.code)

    async def _organization(self, caller: Profile, submission: Submission) -> Organization:
        own = await self.directory.organization(caller.organization_id)
        if own is None:
            raise ConfigurationError("Your organization is not set up; ask your administrator.")
        wanted = submission.end_client_id
        if wanted is None or wanted == own.id:
            return own
        client = await self.directory.organization(wanted)
        if client is None or client.parent_id != own.id:
            raise Forbidden("end_client_id is not your organization or one of its end clients.", field="end_client_id")
        return _with_defaults_of(own, client)

    async def _model(self, submission: Submission, organization: Organization) -> Model | None:
        """Returns the model that a job names, or that translates for the organization; None for its deployment."""
        if submission.kind is not Kind.JOB:
            return await self._translation_model(organization)
        assert submission.model_id is not None
        model = await self.directory.model(submission.model_id)
        if model is None or not model.enabled:
            raise InvalidRequest("model_id names no model that is available", field="model_id")
        require_parameters(submission.input, model)
        return model

    async def _translation_model(self, organization: Organization) -> Model | None:
        if organization.translation_model is None:
            return None
        model = await self.directory.model(organization.translation_model)
        if model is None or not model.enabled:
            raise ConfigurationError("The model that translates for your organization is not set up.")
        return model

    async def _other_models(self, model: Model | None) -> Mapping[str, Model]:
        """Returns {id: model} of those that the model's record names as fallbacks, as far as they can be read."""
        names = wanted_names(model.fallback) if model else []
        found = [await self._model_if_readable(name) for name in names]
        return {other.id: other for other in found if other is not None}

    async def _model_if_readable(self, model_id: str) -> Model | None:
        try:
            return await self.directory.model(model_id)
        except ConfigurationError:
            return None

    async def _prior(self, caller: Profile, submission: Submission, now: datetime) -> Run | None:
        """Returns the caller's prior run, which may be deleted but not expired. Raises RunNotFound."""
        if submission.prior_run_id is None:
            return None
        try:
            prior = await self.store.get(submission.prior_run_id, with_result=False)
        except RunNotFound:
            prior = None
        if prior is None or prior.user_id != caller.user_id or now >= prior.expires_at:
            raise RunNotFound("prior_run_uuid names no run of yours.", field="prior_run_uuid")
        return prior


def _record(key: IdempotencyKey, run: Run) -> IdempotencyRecord:
    return IdempotencyRecord(
        key_hash=key.key_hash, body_hash=key.body_hash, run_id=run.id, expires_at=run.created_at + IDEMPOTENCY_LIFETIME
    )


def _fallback_plan(
    submission: Submission,
    organization: Organization,
    model: Model | None,
    others: Mapping[str, Model],
    now: datetime,
) -> FallbackPlan:
    """Returns where the run may go next. An entry of a record that cannot be used is logged and left out."""
    if model is None:
        plan = plan_for_organization(organization)
    else:
        plan = plan_for_model(model, others, submission.service, now, content=submission.input)
    for problem in plan.problems:
        log.warning("fallback ignored", record=model.id if model else organization.id, problem=problem)
    return plan


def _require_own_resources(submission: Submission, organization: Organization) -> None:
    """Raises Forbidden for a phrase client or a reference file that is not the organization's."""
    phrase_clients = {None, organization.phrase_client_id, *organization.phrase_client_ids}
    if submission.phrase_client_id not in phrase_clients:
        raise Forbidden("phrase_clients_id is no phrase client of your organization.", field="phrase_clients_id")
    if not set(submission.reference_file_ids) <= set(organization.reference_files):
        raise Forbidden("reference_file_ids names a file that is not your organization's.", field="reference_file_ids")


def _with_defaults_of(parent: Organization, client: Organization) -> Organization:
    """Returns the end client's record with what it lacks, and with the budget of the organization that pays."""
    return replace(
        client,
        phrase_client_id=client.phrase_client_id or parent.phrase_client_id,
        phrase_client_ids=client.phrase_client_ids or parent.phrase_client_ids,
        reference_files=client.reference_files or parent.reference_files,
        term_pairs=client.term_pairs or parent.term_pairs,
        style_guide=client.style_guide or parent.style_guide,
        translation_model=client.translation_model or parent.translation_model,
        source_lang=client.source_lang or parent.source_lang,
        target_lang=client.target_lang or parent.target_lang,
        prices=client.prices or parent.prices,
        budget=parent.budget,
    )
