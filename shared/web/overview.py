"""Serves the overview of runs over time, and the lists of runs that its points lead to."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from shared.domain import views
from shared.domain.directory import Profile
from shared.domain.fields import Fields
from shared.domain.money import to_usd
from shared.domain.run import Run
from shared.domain.status import Status
from shared.domain.tally import Tally
from shared.errors import InvalidRequest
from shared.services import Services
from shared.usecases.overview import Overview, Scope, Search, Span
from shared.web import auth
from shared.web.cursor import EARLIEST, LATEST, decode_position, encode_position
from shared.web.json_response import JsonResponse
from shared.web.list_query import DEFAULT_LIMIT, MAX_LIMIT, number_of

ADMINS = "admins"
PERCENTILES = {"p50_seconds": 0.5, "p95_seconds": 0.95, "p99_seconds": 0.99}
DEFAULT_PERIOD = timedelta(days=1)


async def get_overview(request: Request, services: Services) -> Response:
    """Answers with counts, failures, durations and cost over time, of the caller's runs or of the organization's."""
    caller = await auth.caller(request, services)
    fields = _fields(request.query_params)
    scope, span = _scope(fields, caller), Span(fields.optional_choice("span", tuple(Span)) or Span.DAY)
    shown = _overview(await services.overview(caller, scope, span))
    return JsonResponse({"success": True, "scope": scope, "span": span, **shown})


async def list_runs_of_overview(request: Request, services: Services) -> Response:
    """Answers with the runs of a period that fit, newest first, without anything that users and LLMs wrote."""
    caller = await auth.caller(request, services)
    fields = _fields(request.query_params)
    wanted = _search(fields, caller, services)
    cursor = fields.optional_text("cursor")
    limit = min(fields.optional_whole_number("limit", minimum=1) or DEFAULT_LIMIT, MAX_LIMIT)
    found = await services.overview.runs(caller, wanted, after=decode_position(cursor) if cursor else None, limit=limit)
    runs = [_run(run, caller) for run in found.runs]
    next_cursor = encode_position(found.next_cursor) if found.next_cursor else None
    return JsonResponse({"success": True, "runs": runs, "next_cursor": next_cursor})


def _fields(parameters: Mapping[str, str]) -> Fields:
    """Returns the parameters of a URL query; empty ones are left out."""
    kept = {name: text for name, text in parameters.items() if text}
    return Fields({name: number_of(text) if name == "limit" else text for name, text in kept.items()})


def _scope(fields: Fields, caller: Profile) -> Scope:
    """Raises Forbidden when a member asks for the organization's runs."""
    scope = Scope(fields.optional_choice("scope", tuple(Scope)) or Scope.OWN)
    if scope is Scope.ORGANIZATION:
        auth.require_group(caller, ADMINS)
    return scope


def _search(fields: Fields, caller: Profile, services: Services) -> Search:
    scope, now = _scope(fields, caller), services.overview.clock.now()
    until = _moment(fields, "to") or now
    since = _moment(fields, "from") or until - DEFAULT_PERIOD
    if since > until:
        raise InvalidRequest("from is later than to", field="from")
    status = fields.optional_choice("status", tuple(Status))
    names = {name: fields.optional_text(name, max_length=255) for name in ("model", "deployment", "error")}
    return Search(scope=scope, since=since, until=until, status=Status(status) if status else None, **names)


def _moment(fields: Fields, name: str) -> datetime | None:
    text = fields.optional_text(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and EARLIEST < moment < LATEST:
            return moment.astimezone(UTC)
    except ValueError:
        pass
    raise InvalidRequest(f"{name} must be a time such as 2026-03-14T09:00:00Z", field=name)


def _overview(overview: Overview) -> dict[str, Any]:
    return {
        "is_whole": overview.is_whole,
        "total": _tally(overview.total),
        "points": [
            {"from": views.timestamp(point.since), "to": views.timestamp(point.until), **_tally(point.tally)}
            for point in overview.points
        ],
        "models": [{"id": name, **_tally(tally)} for name, tally in overview.models],
        "deployments": [{"id": name, **_tally(tally)} for name, tally in overview.deployments],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    failures = sorted(tally.failures.items(), key=lambda item: (-item[1], item[0]))
    return {
        "runs": tally.runs,
        "failed": tally.failed,
        "cost_usd": to_usd(tally.cost),
        **{name: _rounded(tally.percentile(share)) for name, share in PERCENTILES.items()},
        "failures": [{"code": code, "runs": runs} for code, runs in failures],
    }


def _rounded(seconds: float | None) -> float | None:
    """Returns two significant digits; a percentile of a histogram has no more."""
    return None if seconds is None else float(f"{seconds:.2g}")


def _run(run: Run, caller: Profile) -> dict[str, Any]:
    ended_seconds = (run.completed_at - run.created_at).total_seconds() if run.completed_at else None
    return {
        "run_uuid": run.id,
        "kind": run.kind,
        "job_type": run.job_type,
        "status": run.status,
        "user_id": run.user_id,
        "is_own": run.user_id == caller.user_id,
        "created_at": views.timestamp(run.created_at),
        "seconds": ended_seconds,
        "model": run.model.id if run.model else None,
        "deployment": run.deployment,
        "cost_usd": run.usage.cost_usd,
        "error_code": run.error.code if run.error else None,
        "waiting_for": run.waiting_for,
    }
