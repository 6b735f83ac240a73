"""Reads the bodies of the routes that submit, one parser per route, and makes a new run from a valid submission."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

from msgspec import Struct

from shared.domain.checked_translation import required_terms
from shared.domain.directory import LlmApi, Model, ModelRef, Organization, Profile
from shared.domain.event import Event, EventType
from shared.domain.fields import Fields, require_utf8
from shared.domain.notebook import render_notebook
from shared.domain.parameters import check_parameters
from shared.domain.run import SHARDS, Run
from shared.domain.status import JOB_TYPES, Kind, Service, Status
from shared.domain.target import Target
from shared.domain.webhook import WebhookTarget
from shared.domain.webhook_fields import optional_webhook
from shared.errors import ConfigurationError, InputTooLarge, InvalidRequest

MAX_TEXT_LENGTH = 1500
MAX_NAME_LENGTH = 255
MAX_REFERENCE_FILES = 20
MAX_DEADLINE_SECONDS = 24 * 3600


class Submission(Struct, frozen=True, kw_only=True):
    """A valid request for a run. A field that is None gets its value from the prior run or from the organization."""

    kind: Kind
    input: Mapping[str, Any]
    """Of an admin run and a user run: {text}. Of a job: {system_message?, full_input} and parameters of the model."""
    prior_run_id: str | None = None
    end_client_id: str | None = None
    phrase_client_id: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    style_guide: str | None = None
    reference_file_ids: tuple[str, ...] = ()
    channel: str | None = None
    webhook: WebhookTarget | None = None
    """The submit's own webhook; its URL is not checked yet (see read_address)."""
    job_type: str | None = None
    model_id: str | None = None
    question_id: str | None = None
    service: Service = Service.STANDARD
    deadline: timedelta | None = None
    """The time from acceptance until the unfinished run fails; None takes that of RunPolicy."""


class RunPolicy(Struct, frozen=True, kw_only=True):
    """The operator's time limits for every run."""

    deadlines: Mapping[str, timedelta]
    """{job type, kind or "batch": deadline}; `default` is the deadline of all others."""
    retention: timedelta
    """How long a run can be read after its deadline."""
    pending_grace: timedelta
    """How long a new run may wait for its message before the sweeper publishes it again."""
    repairs: int = 1
    """How often a chat model may be asked to repair a translation in which checks failed."""
    max_attempts: int = 3
    """How many attempts may be billed, unless the model's record says otherwise."""

    def deadline(self, submission: Submission) -> timedelta:
        """Returns the deadline of the submission itself, else of its service, job type or kind, else the default."""
        if submission.deadline is not None:
            return submission.deadline
        kind = submission.job_type or submission.kind
        names = [Service.BATCH, kind] if submission.service is Service.BATCH else [kind]
        return next((self.deadlines[name] for name in names if name in self.deadlines), self.deadlines["default"])


def admin_run(body: Mapping[str, Any]) -> Submission:
    """Reads the body of POST /llm_user_runs_admin. Raises InvalidRequest."""
    fields = Fields(body)
    submission = Submission(
        kind=Kind.ADMIN_RUN,
        input={"text": fields.text("text", max_length=MAX_TEXT_LENGTH)},
        source_lang=fields.language("source_lang"),
        target_lang=fields.language("target_lang"),
        prior_run_id=fields.optional_uuid("prior_run_uuid"),
        phrase_client_id=fields.optional_text("phrase_clients_id", max_length=MAX_NAME_LENGTH),
        style_guide=fields.optional_text("style_guide", max_length=MAX_NAME_LENGTH),
        reference_file_ids=fields.strings("reference_file_ids", maximum=MAX_REFERENCE_FILES),
        channel=fields.optional_text("channel", max_length=MAX_NAME_LENGTH),
        webhook=optional_webhook(fields),
    )
    fields.reject_unknown_fields()
    if submission.source_lang == submission.target_lang:
        raise InvalidRequest("target_lang is the same language as source_lang", field="target_lang")
    return submission


def user_run(body: Mapping[str, Any]) -> Submission:
    """Reads the body of POST /llm_user_runs. Raises InvalidRequest."""
    fields = Fields(body)
    submission = Submission(
        kind=Kind.USER_RUN,
        input={"text": fields.text("input_text", max_length=MAX_TEXT_LENGTH)},
        prior_run_id=fields.optional_uuid("prior_run_uuid"),
        end_client_id=fields.optional_text("end_client_id", max_length=MAX_NAME_LENGTH),
        channel=fields.optional_text("channel", max_length=MAX_NAME_LENGTH),
        webhook=optional_webhook(fields),
    )
    fields.reject_unknown_fields()
    return submission


def job(body: Mapping[str, Any], *, max_input_bytes: int) -> Submission:
    """Reads the body of POST /api/llm/jobs/submit/.

    Raises InvalidRequest, and InputTooLarge when `input_data` has more than `max_input_bytes` as JSON in UTF-8.
    """
    fields = Fields(body)
    job_type = fields.choice("job_type", JOB_TYPES)
    seconds = fields.optional_whole_number("deadline_seconds", minimum=1, maximum=MAX_DEADLINE_SECONDS)
    submission = Submission(
        kind=Kind.JOB,
        job_type=job_type,
        model_id=fields.text("model_id", max_length=MAX_NAME_LENGTH),
        input=_input_data(fields.mapping("input_data"), job_type, max_input_bytes),
        question_id=fields.optional_text("question_id", max_length=MAX_NAME_LENGTH),
        channel=fields.optional_text("channel", max_length=MAX_NAME_LENGTH),
        webhook=optional_webhook(fields),
        service=Service(fields.optional_choice("service", tuple(Service)) or Service.STANDARD),
        deadline=timedelta(seconds=seconds) if seconds else None,
    )
    fields.reject_unknown_fields()
    return submission


def trainer_analysis(body: Mapping[str, Any], *, max_input_bytes: int) -> Submission:
    """Reads the body of POST /api/llm/trainer-analysis/. Raises InvalidRequest and InputTooLarge, as `job` does."""
    fields = Fields(body)
    input_data = {name: fields.text(name) for name in ("system_message", "full_input")}
    submission = Submission(
        kind=Kind.JOB,
        job_type="trainer_question_analysis",
        model_id=fields.text("model_id", max_length=MAX_NAME_LENGTH),
        question_id=fields.text("question_id", max_length=MAX_NAME_LENGTH),
        input=_input_data(input_data, "trainer_question_analysis", max_input_bytes),
        webhook=optional_webhook(fields),
    )
    fields.reject_unknown_fields()
    return submission


def _input_data(data: Mapping[str, Any], job_type: str, max_bytes: int) -> Mapping[str, Any]:
    """Returns the input of a job: {system_message?, full_input}, parameters of the model, and `instructions`.

    The limit counts what the run stores. Of a notebook that is its text, without the images in it.
    """
    job_input = _review_input(data, max_bytes) if job_type == "review_colab" else data
    if len(require_utf8("input_data", json.dumps(job_input, ensure_ascii=False)).encode()) > max_bytes:
        raise InputTooLarge(f"input_data is larger than {max_bytes} bytes")
    fields = Fields(job_input)
    fields.optional_text("system_message", max_length=max_bytes)
    fields.text("full_input", max_length=max_bytes)
    check_parameters(fields)
    if job_type == "review_colab":
        fields.raw("instructions")
    fields.reject_unknown_fields()
    return job_input


def _review_input(data: Mapping[str, Any], max_bytes: int) -> Mapping[str, Any]:
    """Reads {instructions?, and either notebook or full_input}; returns `full_input` with the instructions first."""
    if ("full_input" in data) == ("notebook" in data):
        raise InvalidRequest("input_data takes either notebook or full_input", field="input_data")
    fields = Fields(data)
    instructions = fields.optional_text("instructions", max_length=max_bytes)
    if "notebook" in data:
        text = require_utf8("notebook", render_notebook(fields.mapping("notebook")))
    else:
        text = fields.text("full_input", max_length=max_bytes)
    other_fields = {name: value for name, value in data.items() if name != "notebook"}
    return {**other_fields, "full_input": f"{instructions}\n\n{text}" if instructions else text}


def new_run(
    submission: Submission,
    *,
    run_id: str,
    caller: Profile,
    organization: Organization,
    model: Model | None,
    prior: Run | None,
    policy: RunPolicy,
    now: datetime,
    fallbacks: tuple[Target, ...] = (),
    webhooks: tuple[WebhookTarget, ...] = (),
) -> Run:
    """Returns the run to store: pending, with its first event.

    `prior` is the run that this one repeats; `model` is None for translations by the organization's deployment.
    Languages that a translation's submission does not name come from the prior run, then from the organization. Raises
    ConfigurationError when a model is to translate into a language that nobody names.
    """
    deadline_at = now + policy.deadline(submission)
    is_job = submission.kind is Kind.JOB
    translation = {} if is_job else _translation(submission, organization, prior)
    if model is not None and not is_job and translation["target_lang"] is None:
        raise ConfigurationError("Your organization has no target language; ask your administrator.")
    return Run(
        id=run_id,
        kind=submission.kind,
        status=Status.PENDING,
        user_id=caller.user_id,
        organization_id=organization.id,
        tenant_id=caller.organization_id,
        channel=submission.channel or f"user:{caller.user_id}",
        api=_api(model, submission.service),
        service=submission.service,
        created_at=now,
        updated_at=now,
        deadline_at=deadline_at,
        expires_at=deadline_at + policy.retention,
        due_at=min(now + policy.pending_grace, deadline_at),
        shard=crc32(run_id.encode()) % SHARDS,
        root_run_id=prior.root_run_id if prior else run_id,
        prior_run_id=prior.id if prior else None,
        prior_provider_job_id=prior.provider_job_id if prior else None,
        input=submission.input,
        job_type=submission.job_type,
        question_id=submission.question_id,
        model=ModelRef(id=model.id, name=model.name, provider=model.provider) if model else None,
        deployment=model.deployment if model else organization.deployment,
        fallbacks=fallbacks,
        repairs=0 if is_job or model is None else policy.repairs,
        max_attempts=(model.max_attempts if model else None) or policy.max_attempts,
        reference_file_ids=submission.reference_file_ids,
        **translation,
        events=(Event(sequence=1, type=EventType.QUEUED, at=now),),
        webhooks=webhooks,
    )


def _api(model: Model | None, service: Service) -> str:
    """Returns the protocol of the run. Raises InvalidRequest when the model does not have the service."""
    if model is None:
        return LlmApi.LLM_JOBS
    if service is Service.STANDARD:
        return model.api
    if model.batch_api is None:
        raise InvalidRequest("service must be standard, because this model has no batch service", field="service")
    return model.batch_api


def _translation(submission: Submission, organization: Organization, prior: Run | None) -> dict[str, Any]:
    """Returns the fields of a run that translates; the submission's own values come first.

    Further languages come from the prior run, then from the organization, and all else from the organization.
    """
    languages = {
        "source_lang": submission.source_lang or (prior and prior.source_lang) or organization.source_lang,
        "target_lang": submission.target_lang or (prior and prior.target_lang) or organization.target_lang,
    }
    return {
        **languages,
        "style_guide": submission.style_guide or organization.style_guide,
        "phrase_client_id": submission.phrase_client_id or organization.phrase_client_id,
        "terms": required_terms(submission.input, organization, **languages),
    }
