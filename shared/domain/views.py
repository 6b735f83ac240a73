"""Builds the JSON objects that clients see of a run: pure functions, for responses, streams and the result cache."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from shared.domain.attempt import Attempt
from shared.domain.directory import Model
from shared.domain.event import DELTA, Event, EventType
from shared.domain.failure import Failure
from shared.domain.json_text import to_bytes
from shared.domain.money import price_list_at
from shared.domain.progress import until_next_check
from shared.domain.run import Run
from shared.domain.status import TERMINAL, Kind, Service, Status
from shared.domain.target import plan_for_model
from shared.errors import ConfigurationError

MAX_RETRY_AFTER = 120
_STATUS_AT: Mapping[str, Status] = {
    EventType.QUEUED: Status.PENDING,
    EventType.COMPLETED: Status.COMPLETED,
    EventType.FAILED: Status.FAILED,
    EventType.CANCELLED: Status.CANCELLED,
}


def timestamp(moment: datetime | None) -> str | None:
    """Returns RFC 3339 in UTC with milliseconds, such as 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def urls(run: Run, *, streams_url: str | None = None) -> dict[str, str]:
    """Returns the paths of the run: {self, stream, result, cancel}; with `streams_url`, `stream` is an URL there."""
    job = f"/api/llm/jobs/{run.id}"
    own = {"self": f"{job}/status/", "stream": f"{job}/stream/"}
    if run.kind is not Kind.JOB:
        own = {"self": f"/llm_user_runs/{run.id}", "stream": f"/llm_user_runs/{run.id}/stream"}
    own["stream"] = f"{(streams_url or '').rstrip('/')}{own['stream']}"
    return {**own, "result": f"{job}/result/", "cancel": f"{job}/cancel/"}


def run_object(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the run as its own family of routes shows it; `content` is its input."""
    return job_object(run) if run.kind is Kind.JOB else user_run_object(run, content)


def user_run_object(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the object of families A and B; `content` is the run's input."""
    return {
        "run_uuid": run.id,
        "kind": run.kind,
        "status": run.status,
        "is_complete": run.is_terminal,
        "created_at": timestamp(run.created_at),
        "started_at": timestamp(run.started_at),
        "completed_at": timestamp(run.completed_at),
        "processing_time": _processing_time(run),
        "input_text": content.get("full_input" if run.kind is Kind.JOB else "text"),
        "source_lang": run.source_lang,
        "target_lang": run.target_lang,
        "prior_run_uuid": run.prior_run_id,
        "root_run_uuid": run.root_run_id,
        "organization_id": run.organization_id,
        "deployment": (run.requested or run).deployment,
        "channel": run.channel,
        "result": _result(run),
        "metrics": _metrics(run),
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        "error": _error(run.error) if run.error else None,
        **_model_used(run),
        **_checks(run),
        **_waiting(run),
        **_deletion(run),
    }


def job_object(run: Run) -> dict[str, Any]:
    """Returns the status object of family C; times, result and error are there once the run has ended."""
    body: dict[str, Any] = {
        "job_id": run.id,
        "job_type": run.job_type or run.kind,
        "status": run.status,
        "is_complete": run.is_terminal,
        "created_at": timestamp(run.created_at),
        "model": _requested_model(run),
        "metrics": _metrics(run),
        "attempts": [_attempt(attempt) for attempt in run.attempts],
        **({"service": run.service} if run.service is Service.BATCH else {}),
        **_waiting(run),
    }
    if not run.is_terminal:
        return body
    body.update(
        _deletion(run),
        started_at=timestamp(run.started_at),
        completed_at=timestamp(run.completed_at),
        processing_time=_processing_time(run),
    )
    body.update(_model_used(run))
    if run.result is not None:
        body["result_data"] = _result_data(run)
    elif run.lacks_result:
        body["result_data"] = {"success": True, "result": None, **_elsewhere(urls(run)["result"])}
    elif run.error is not None:
        body["error_message"] = run.error.message
    return body


def job_result_object(run: Run) -> dict[str, Any]:
    """Returns the answer to a request for the result of a completed run."""
    names = ("job_id", "job_type", "status", "result_data", "processing_time", "model")
    shown = job_object(run)
    answer = {name: shown[name] for name in names}
    return {"success": True, **answer, **_model_used(run), "question_id": run.question_id}


def status_content(run: Run) -> bytes:
    """Returns the answer to a status request as JSON, as the result cache keeps it."""
    return to_bytes({"success": True, **job_object(run)})


def ends_run(event: Event) -> bool:
    return _STATUS_AT.get(event.type) in TERMINAL


def event_object(event: Event, run: Run, content: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the data of one update in a stream, with the whole run when `content`, the run's input, is given."""
    shown = {
        "sequence": event.sequence,
        "type": event.type,
        "at": timestamp(event.at),
        "run_uuid": run.id,
        "status": _STATUS_AT.get(event.type, Status.PROCESSING),
        **{name: event.detail[name] for name in (DELTA, "progress") if name in event.detail},
        "detail": {name: value for name, value in event.detail.items() if name != DELTA},
    }
    return shown if content is None else {**shown, "run": run_object(run, content)}


def model_object(model: Model, models: Mapping[str, Model], now: datetime) -> dict[str, Any]:
    """Returns what clients see of a model: its prices at this time, but neither its address nor the name of its key.

    `models` has all records that can be read. `fallback` are the models to which its runs may go, and
    `fallback_problems` says of each other entry of its record why it is ignored.
    """
    plan = plan_for_model(model, models, Service.STANDARD, now)
    return {
        "id": model.id,
        "name": model.name,
        "provider": model.provider,
        "api": model.api,
        "prices": _prices(model, now),
        "enabled": model.enabled,
        "fallback": [target.name for target in plan.targets],
        "fallback_problems": list(plan.problems),
    }


def _prices(model: Model, now: datetime) -> dict[str, float] | None:
    """Returns the price list that holds at this time; None also when an operator wrote what cannot be read."""
    try:
        prices = price_list_at(model.prices, now)
    except ConfigurationError:
        return None
    return dict(prices) if prices else None


def overdue_object(run: Run) -> dict[str, Any]:
    """Returns what operators see of an overdue run: nothing that the user wrote."""
    return {
        "run_uuid": run.id,
        "kind": run.kind,
        "status": run.status,
        "organization_id": run.organization_id,
        "due_at": timestamp(run.due_at),
        "waiting_for": run.waiting_for,
    }


def retry_after(run: Run, now: datetime) -> int:
    """Returns the seconds until the next re-check, or 1 while the LLM is not at work, within 1 to 120."""
    seconds = until_next_check(run, now).total_seconds() if run.sent_at else 1.0
    return min(max(round(seconds + 0.5), 1), MAX_RETRY_AFTER)


def _requested_model(run: Run) -> dict[str, Any] | None:
    model = (run.requested or run).model
    return asdict(model) if model else None


def _model_used(run: Run) -> dict[str, str | None]:
    """Returns which model or deployment answered when it is not the requested one."""
    if run.requested is None or run.status is not Status.COMPLETED:
        return {}
    return {"model_used": run.model.id if run.model else run.deployment}


def _waiting(run: Run) -> dict[str, Any]:
    """Returns why an open run waits, and when it is looked at next."""
    if run.is_terminal:
        return {}
    return {"waiting_for": run.waiting_for, "next_check_at": timestamp(_next_check_at(run))}


def _next_check_at(run: Run) -> datetime | None:
    if run.sent_at is None:
        return run.due_at
    latest = max(run.updated_at, run.sent_at)
    return latest + until_next_check(run, latest)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """Returns one attempt; what is not known of it is left out."""
    shown = {
        "number": attempt.number,
        "started_at": timestamp(attempt.started_at),
        "ended_at": timestamp(attempt.ended_at),
        "outcome": attempt.outcome,
        "deployment": attempt.deployment,
        "model": attempt.model,
        "provider_job_id": attempt.provider_job_id,
        "may_be_billed": attempt.may_be_billed,
        "cost_usd": attempt.cost_usd,
    }
    optional = ("deployment", "model", "provider_job_id", "cost_usd")
    return {name: value for name, value in shown.items() if value is not None or name not in optional}


def _error(error: Failure) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "retryable": error.retryable}


def _deletion(run: Run) -> dict[str, Any]:
    return {"deleted_at": timestamp(run.deleted_at)} if run.deleted_at else {}


def _processing_time(run: Run) -> float | None:
    return run.processing_time.total_seconds() if run.processing_time is not None else None


def _result(run: Run) -> dict[str, Any] | None:
    """Returns the result of a completed run; an open one may have a first answer, which is not final."""
    if run.status is not Status.COMPLETED:
        return None
    if run.lacks_result:
        return {"text": None, "memory_flags": [], "term_pairs": [], **_elsewhere(urls(run)["self"])}
    if run.result is None:
        return None
    lists = {"memory_flags": list(run.result.memory_flags), "term_pairs": list(run.result.term_pairs)}
    raw = {"raw": dict(run.result.raw)} if run.result.raw else {}
    cut_off = {"cut_off": True} if run.result.cut_off else {}
    return {"text": run.result.text, **lists, **raw, **cut_off}


def _checks(run: Run) -> dict[str, Any]:
    """Returns what the checks of a finished translation found, and whether it is the answer to a second call."""
    if run.status is not Status.COMPLETED or run.result is None or not run.result.checks:
        return {}
    return {"checks": list(run.result.checks), "repaired": run.result.repaired}


def _elsewhere(url: str) -> dict[str, Any]:
    """Replaces a large result in a list: a page of a hundred of them would be too large."""
    return {"too_large_for_lists": True, "url": url}


def _result_data(run: Run) -> dict[str, Any]:
    shown = _result(run) or {}
    text = shown.pop("text")
    return {"success": True, "result": text, **{name: value for name, value in shown.items() if value}}


def _metrics(run: Run) -> dict[str, Any]:
    """Returns what the run took; what the LLM did not report is left out where it may lack it."""
    usage = run.usage
    optional = {
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "first_token_seconds": usage.first_token_seconds,
    }
    return {
        "checks": run.checks,
        "queue_seconds": _seconds(run.created_at, run.started_at),
        "llm_seconds": _seconds(run.sent_at or run.started_at, run.completed_at),
        "input_tokens": run.usage.input_tokens,
        "output_tokens": run.usage.output_tokens,
        **{name: value for name, value in optional.items() if value is not None},
        "cost_usd": run.usage.cost_usd,
    }


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None
