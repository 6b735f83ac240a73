"""Runs out: the JSON shapes of the contract."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from starlette.responses import JSONResponse, Response

from shared.domain.progress import until_next_check
from shared.domain.run import Event, Failure, Kind, Run
from shared.usecases.read import Page
from shared.web.cursor import encode_list_cursor
from shared.web.parse import ListQuery

SUBMITTED = "Job submitted successfully. Use job_id to poll for results."
MAX_RETRY_AFTER = 120


def time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def urls(run: Run) -> dict[str, str]:
    job = f"/api/llm/jobs/{run.id}"
    own = {"self": f"{job}/status/", "stream": f"{job}/stream/"}
    if run.kind is not Kind.JOB:
        own = {"self": f"/llm_user_runs/{run.id}", "stream": f"/llm_user_runs/{run.id}/stream"}
    return {**own, "result": f"{job}/result/", "cancel": f"{job}/cancel/"}


def accepted(run: Run, content: Mapping[str, Any] | None = None, *, headers: Mapping[str, str]) -> Response:
    """The answer to a submission; with the whole run when its `content` is given."""
    body: dict[str, Any] = {"success": True, "job_id": run.id, "status": run.status}
    if content is not None:
        body.update(whole(run, content))
        headers = {**_come_again(run), **headers}
    if run.kind is Kind.JOB:
        body["message"] = SUBMITTED
    else:
        body.update(run_uuid=run.id, created_at=time(run.created_at))
    return JSONResponse({**body, "urls": urls(run)}, headers=headers)


def replay_headers(replayed: bool) -> dict[str, str]:
    return {"Idempotency-Status": "replayed"} if replayed else {}


def wait_headers(wait: timedelta | None) -> dict[str, str]:
    return {"Preference-Applied": f"wait={round(wait.total_seconds())}"} if wait is not None else {}


def user_run(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """The object of families A and B; `content` is the run's whole input."""
    return {
        "run_uuid": run.id,
        "kind": run.kind,
        "status": run.status,
        "is_complete": run.is_terminal,
        "created_at": time(run.created_at),
        "started_at": time(run.started_at),
        "completed_at": time(run.completed_at),
        "processing_time": _processing_time(run),
        "input_text": content.get("full_input" if run.kind is Kind.JOB else "text"),
        "source_lang": run.source_lang,
        "target_lang": run.target_lang,
        "prior_run_uuid": run.prior_run_id,
        "root_run_uuid": run.root_run_id,
        "organization_id": run.organization_id,
        "deployment": run.deployment,
        "channel": run.channel,
        "result": _result(run),
        "metrics": _metrics(run),
        "error": _error(run.error) if run.error else None,
        **_deletion(run),
    }


def job(run: Run) -> dict[str, Any]:
    """The status object of family C: times, result and error only once it is complete."""
    body: dict[str, Any] = {
        "job_id": run.id,
        "job_type": run.job_type or run.kind,
        "status": run.status,
        "is_complete": run.is_terminal,
        "created_at": time(run.created_at),
        "model": asdict(run.model) if run.model else None,
    }
    if not run.is_terminal:
        return body
    body.update(_deletion(run))
    body.update(
        started_at=time(run.started_at), completed_at=time(run.completed_at), processing_time=_processing_time(run)
    )
    if run.result is not None:
        body["result_data"] = _result_data(run)
    elif run.lacks_result:
        body["result_data"] = {"success": True, "result": None, **_elsewhere(urls(run)["result"])}
    elif run.error is not None:
        body["error_message"] = run.error.message
    return body


def status_text(run: Run) -> str:
    """What a status request answers, for the result cache."""
    return json.dumps({"success": True, **job(run)}, ensure_ascii=False, separators=(",", ":"))


def job_result(run: Run) -> Response:
    names = ("job_id", "job_type", "status", "result_data", "processing_time", "model")
    shown = job(run)
    return JSONResponse({"success": True, **{name: shown[name] for name in names}, "question_id": run.question_id})


def whole(run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    """The run as its own family shows it."""
    return job(run) if run.kind is Kind.JOB else user_run(run, content)


def one(
    run: Run, shown: Mapping[str, Any], *, headers: Mapping[str, str] = MappingProxyType({}), **more: Any
) -> Response:
    return JSONResponse({"success": True, **shown, **more}, headers={**_come_again(run), **headers})


def _come_again(run: Run) -> dict[str, str]:
    return {} if run.is_terminal else {"Retry-After": str(retry_after(run, datetime.now(UTC)))}


def page(page: Page, query: ListQuery, **shown: list[dict[str, Any]]) -> Response:
    following = encode_list_cursor(page.following, query.wanted) if page.following else None
    counts = {"total": page.total, "limit": query.limit, "offset": query.offset, "next_cursor": following}
    return JSONResponse({"success": True, **shown, **counts})


def event(event: Event, run: Run, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "type": event.type,
        "at": time(event.at),
        "run_uuid": run.id,
        "status": _STATUS_AT.get(event.type, "processing"),
        "detail": dict(event.detail),
        "run": whole(run, content),
    }


_STATUS_AT = {
    "run.queued": "pending",
    "run.completed": "completed",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}


def overdue_list(runs: Sequence[Run]) -> Response:
    return JSONResponse({"success": True, "runs": [_overdue(run) for run in runs]})


def _overdue(run: Run) -> dict[str, Any]:
    """For operators: nothing of what the user wrote."""
    return {
        "run_uuid": run.id,
        "kind": run.kind,
        "status": run.status,
        "organization_id": run.organization_id,
        "due_at": time(run.due_at),
        "waiting_for": run.waiting_for,
    }


def retry_after(run: Run, now: datetime) -> int:
    """Seconds until there may be news: until the next re-check, or one while nothing is at work yet."""
    seconds = until_next_check(run, now).total_seconds() if run.sent_at else 1.0
    return min(max(round(seconds + 0.5), 1), MAX_RETRY_AFTER)


def _error(error: Failure) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "retryable": error.retryable}


def _deletion(run: Run) -> dict[str, Any]:
    return {"deleted_at": time(run.deleted_at)} if run.deleted_at else {}


def _processing_time(run: Run) -> float | None:
    return run.processing_time.total_seconds() if run.processing_time is not None else None


def _result(run: Run) -> dict[str, Any] | None:
    if run.lacks_result:
        return {"text": None, "memory_flags": [], "term_pairs": [], **_elsewhere(urls(run)["self"])}
    if run.result is None:
        return None
    lists = {"memory_flags": list(run.result.memory_flags), "term_pairs": list(run.result.term_pairs)}
    raw = {"raw": dict(run.result.raw)} if run.result.raw else {}
    return {"text": run.result.text, **lists, **raw}


def _elsewhere(url: str) -> dict[str, Any]:
    """In a list, in place of a result of which many would be too much."""
    return {"too_large_for_lists": True, "url": url}


def _result_data(run: Run) -> dict[str, Any]:
    shown = _result(run) or {}
    text = shown.pop("text")
    return {"success": True, "result": text, **{name: value for name, value in shown.items() if value}}


def _metrics(run: Run) -> dict[str, Any]:
    return {
        "checks": run.checks,
        "queue_seconds": _seconds(run.created_at, run.started_at),
        "llm_seconds": _seconds(run.sent_at or run.started_at, run.completed_at),
        "input_tokens": run.usage.input_tokens,
        "output_tokens": run.usage.output_tokens,
        "cost_usd": run.usage.cost_usd,
    }


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return round((end - start).total_seconds(), 3) if start and end else None
