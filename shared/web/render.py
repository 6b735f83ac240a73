"""Builds HTTP responses from the results of the use cases. domain/views.py builds the JSON objects in them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from shared.domain import views
from shared.domain.directory import Model
from shared.domain.run import Run
from shared.domain.status import Kind
from shared.domain.usage_sums import UsageReport, report_object
from shared.usecases.read import Page
from shared.web.cursor import encode_list_cursor
from shared.web.json_response import JsonResponse
from shared.web.list_query import ListQuery

SUBMITTED = "Job submitted successfully. Use job_id to poll for results."
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def submitted(
    run: Run, content: Mapping[str, Any] | None = None, *, streams_url: str | None, headers: Mapping[str, str]
) -> Response:
    """Answers a submission; with `content`, the run's input, the answer shows the whole run."""
    body: dict[str, Any] = {"success": True, "job_id": run.id, "status": run.status}
    if content is not None:
        body.update(views.run_object(run, content))
        headers = {**_retry_headers(run), **headers}
    if run.kind is Kind.JOB:
        body["message"] = SUBMITTED
    else:
        body.update(run_uuid=run.id, created_at=views.timestamp(run.created_at))
    urls = views.urls(run, streams_url=streams_url)
    return JsonResponse({**body, "urls": urls}, headers={"Location": urls["self"], **headers})


def content_location(run: Run) -> dict[str, str]:
    """Returns the header that names the run whose updates a response streams."""
    return {"Content-Location": views.urls(run)["self"]}


def one(run: Run, shown: Mapping[str, Any], *, headers: Mapping[str, str] = NO_HEADERS, **more: Any) -> Response:
    """Answers with one run, as the JSON object `shown` and the fields `more`; Retry-After tells when to poll again."""
    return JsonResponse({"success": True, **shown, **more}, headers={**_retry_headers(run), **headers})


def job_result(run: Run) -> Response:
    """Answers with the result of a completed run."""
    return JsonResponse(views.job_result_object(run))


def page(page: Page, query: ListQuery, **shown: list[dict[str, Any]]) -> Response:
    """Answers with one page of a list. `shown` has one item: {name of the list's field: JSON objects}."""
    next_cursor = encode_list_cursor(page.next_cursor, query.wanted) if page.next_cursor else None
    totals = {"total": page.total, "total_is_at_least": page.total_is_at_least}
    place = {"limit": query.limit, "offset": query.offset, "next_cursor": next_cursor}
    return JsonResponse({"success": True, **shown, **totals, **place})


def model_list(models: Sequence[Model]) -> Response:
    now, by_id = datetime.now(UTC), {model.id: model for model in models}
    return JsonResponse({"success": True, "models": [views.model_object(model, by_id, now) for model in models]})


def usage(report: UsageReport) -> Response:
    """Answers with a report of what an organization's runs have used."""
    return JsonResponse({"success": True, **report_object(report)})


def replay_headers(replayed: bool) -> dict[str, str]:
    """Returns the header that marks the answer to a repeated submission; empty when it is the first."""
    return {"Idempotency-Status": "replayed"} if replayed else {}


def wait_headers(wait: timedelta | None) -> dict[str, str]:
    """Returns the header that confirms `Prefer: wait=N` (RFC 7240, section 3); empty without a wait."""
    return {"Preference-Applied": f"wait={round(wait.total_seconds())}"} if wait is not None else {}


def _retry_headers(run: Run) -> dict[str, str]:
    return {} if run.is_terminal else {"Retry-After": str(views.retry_after(run, datetime.now(UTC)))}
