"""Shows runs to their owner: status, result, list, stream. Also cancels and deletes runs, and sets up webhooks and
browser sessions.

Cancel and delete are here because Firebase Hosting routes by path and not by method, and their paths begin with that
of a run.
"""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.domain import views
from shared.domain.channel import channel_for
from shared.services import Services
from shared.web import auth, list_query, operators, overview, parse, render, sessions, sse, user_runs
from shared.web.root_query import Target, parse_root_query
from shared.web.routes import Route, Routes
from shared.web.usage_query import usage_query
from shared.web.webhooks import WEBHOOK_ROUTES


async def get_user_run(request: Request, services: Services, run_uuid: str) -> Response:
    """Answers with one run, after it has ended when `Prefer: wait=N` asks for that."""
    caller, wait = await auth.caller(request, services), parse.wait(request)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    run = await services.watch.until_terminal(run, within=wait)
    shown = views.user_run_object(run, await services.read.input_of(run))
    return render.one(run, shown, headers=render.wait_headers(wait))


async def get_job_status(request: Request, services: Services, job_id: str) -> Response:
    """Answers with the status of one run, after it has ended when `Prefer: wait=N` asks for that."""
    caller, wait = await auth.caller(request, services), parse.wait(request)
    run = await services.read.get(caller, parse.run_id(job_id))
    run = await services.watch.until_terminal(run, within=wait)
    return render.one(run, views.job_object(run), headers=render.wait_headers(wait))


async def get_job_result(request: Request, services: Services, job_id: str) -> Response:
    """Answers with the result of a completed run. Raises RunNotFinished, RunFailed or RunDeleted."""
    caller = await auth.caller(request, services)
    return render.job_result(await services.read.get_finished(caller, parse.run_id(job_id)))


async def list_jobs(request: Request, services: Services) -> Response:
    """Answers with a page of the caller's jobs, newest first."""
    caller = await auth.caller(request, services)
    return await _jobs(services, list_query.job_query(list_query.from_query(request.query_params), caller))


async def _jobs(services: Services, query: list_query.ListQuery) -> Response:
    page = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    return render.page(page, query, jobs=[views.job_object(run) for run in page.runs])


async def cancel_job(request: Request, services: Services, job_id: str) -> Response:
    """Cancels a run. The field `cancelled` of the answer is False when the run had ended before."""
    caller = await auth.caller(request, services)
    run, cancelled = await services.cancel(caller, parse.run_id(job_id))
    return render.one(run, views.run_object(run, await services.read.input_of(run)), cancelled=cancelled)


async def delete_run(request: Request, services: Services, run_uuid: str) -> Response:
    """Erases the input and the result of a run that has ended. Raises RunOpen."""
    caller = await auth.caller(request, services)
    run = await services.delete(caller, parse.run_id(run_uuid))
    return render.one(run, views.run_object(run, {}))


async def stream_run(request: Request, services: Services, run_uuid: str) -> Response:
    """Answers with the events of one run as a stream, until the run has ended."""
    caller = await auth.caller(request, services)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    after = parse.starting_after(request)
    return sse.stream(services, run, auth.reauthenticate(request, services), after=after)


async def stream_channel(request: Request, services: Services, channel: str) -> Response:
    """Answers with the events of all runs of a channel as a stream without an end."""
    wanted = channel_for(await auth.caller(request, services), channel)
    after = parse.channel_cursor(wanted, request)
    return sse.stream_channel(services, wanted, auth.reauthenticate(request, services), after=after)


async def list_models(request: Request, services: Services) -> Response:
    """Answers with the models that jobs may name, and with those that are switched off for now."""
    await auth.caller(request, services)
    return render.model_list(await services.catalogue.models())


async def get_usage(request: Request, services: Services) -> Response:
    """Answers members of the group `admins` with what the runs of their organization have used and cost."""
    caller = await auth.caller(request, services, group="admins")
    return render.usage(await services.usage(caller, usage_query(request.query_params)))


async def read_any(request: Request, services: Services) -> Response:
    """Serves the function's root. gcloud can post there only, so the body replaces the path and the query."""
    caller = await auth.caller(request, services)
    query = parse_root_query(await parse.json_object(request, max_input_bytes=0, if_empty=b"{}"))
    match query.target:
        case Target.USER_RUN:
            return await get_user_run(request, services, query.run_id)
        case Target.JOB:
            return await get_job_status(request, services, query.run_id)
        case Target.USER_RUNS:
            return await user_runs.page(services, list_query.user_run_query(query.filters, caller))
        case Target.JOBS:
            return await _jobs(services, list_query.job_query(query.filters, caller))


ROUTES = Routes(
    Route("GET", "/llm_user_runs/{run_uuid}", get_user_run),
    Route("DELETE", "/llm_user_runs/{run_uuid}", delete_run),
    Route("GET", "/llm_user_runs/{run_uuid}/stream", stream_run),
    Route("GET", "/api/llm/jobs", list_jobs),
    Route("DELETE", "/api/llm/jobs/{run_uuid}", delete_run),
    Route("GET", "/api/llm/jobs/{job_id}/status", get_job_status),
    Route("GET", "/api/llm/jobs/{job_id}/result", get_job_result),
    Route("GET", "/api/llm/jobs/{run_uuid}/stream", stream_run),
    Route("POST", "/api/llm/jobs/{job_id}/cancel", cancel_job),
    Route("GET", "/api/llm/models", list_models),
    Route("GET", "/channels/{channel}/stream", stream_channel),
    Route("GET", "/api/usage", get_usage),
    Route("GET", "/api/overview", overview.get_overview),
    Route("GET", "/api/overview/runs", overview.list_runs_of_overview),
    Route("GET", "/api/admin/overdue", operators.list_overdue),
    Route("GET", "/api/admin/dead-letters", operators.list_dead_letters),
    Route("POST", "/api/admin/dead-letters/replay", operators.replay_dead_letter),
    Route("GET", "/api/admin/breakers", operators.list_breakers),
    Route("GET", "/api/admin/limits", operators.get_limits),
    *WEBHOOK_ROUTES,
    Route("POST", "/api/auth/session", sessions.start),
    Route("DELETE", "/api/auth/session", sessions.end),
    Route("GET", "/api/auth/csrf", sessions.csrf_token),
    Route("GET", "/api/auth/profile", sessions.profile),
    Route("POST", "", read_any),
    Route("POST", "/read_runs", read_any),
)


@functions_framework.aio.http
async def read_runs(request: Request) -> Response:
    """Serves all routes of ROUTES."""
    return await ROUTES.answer(request, wiring.services)
