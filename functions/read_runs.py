"""Shows runs to their owner: status, result, list, stream; and cancels, for that is asked below a run's own path."""

from collections.abc import Mapping

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.web import auth, parse, render, root_query, sessions, sse
from shared.web.root_query import Target
from shared.web.routes import Endpoint, Route, Routes


async def get_user_run(request: Request, run_uuid: str) -> Response:
    services = wiring.services()
    caller, wait = await auth.caller(request, services), parse.wait(request)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    run = await services.watch.until_terminal(run, within=wait)
    return render.one(run, render.user_run(run, await services.read.input_of(run)), headers=render.wait_headers(wait))


async def list_user_runs(request: Request, given: Mapping[str, str] | None = None) -> Response:
    services = wiring.services()
    query = parse.user_run_query(_filters(request, given), await auth.caller(request, services))
    page = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    shown = [render.user_run(run, await services.read.input_of(run)) for run in page.runs]
    return render.page(page, query, runs=shown)


async def get_job_status(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller, wait = await auth.caller(request, services), parse.wait(request)
    run = await services.read.get(caller, parse.run_id(job_id))
    run = await services.watch.until_terminal(run, within=wait)
    return render.one(run, render.job(run), headers=render.wait_headers(wait))


async def get_job_result(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    return render.job_result(await services.read.get_finished(caller, parse.run_id(job_id)))


async def list_jobs(request: Request, given: Mapping[str, str] | None = None) -> Response:
    services = wiring.services()
    query = parse.job_query(_filters(request, given), await auth.caller(request, services))
    page = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    return render.page(page, query, jobs=[render.job(run) for run in page.runs])


async def cancel_job(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run, cancelled = await services.cancel(caller, parse.run_id(job_id))
    return render.one(run, render.whole(run, await services.read.input_of(run)), cancelled=cancelled)


async def delete_run(request: Request, run_uuid: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run = await services.delete(caller, parse.run_id(run_uuid))
    return render.one(run, render.whole(run, {}))


async def stream_run(request: Request, run_uuid: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    return sse.stream(services, run, auth.reauthenticate(request, services), after=parse.starting_after(request))


async def stream_channel(request: Request, channel: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    wanted = parse.channel(caller, channel)
    after = parse.channel_cursor(wanted, request)
    return sse.stream_channel(services, wanted, auth.reauthenticate(request, services), after=after)


async def list_overdue(request: Request) -> Response:
    services = wiring.services()
    await auth.caller(request, services, group="admins")
    return render.overdue_list(await services.read.overdue())


def _filters(request: Request, given: Mapping[str, str] | None) -> Mapping[str, str]:
    """At the root the body's alone, even when it has none."""
    return request.query_params if given is None else given


async def read_any(request: Request) -> Response:
    """At the function's root, where gcloud posts to: the body says what path and query say elsewhere."""
    await auth.caller(request, wiring.services())
    query = root_query.parse_root_query(await parse.json_object(request, max_input_bytes=0, if_empty=b"{}"))
    return await ENDPOINT_BY_TARGET[query.target](request, query.filters)


ENDPOINT_BY_TARGET: Mapping[Target, Endpoint] = {
    Target.USER_RUN: get_user_run,
    Target.JOB: get_job_status,
    Target.USER_RUNS: list_user_runs,
    Target.JOBS: list_jobs,
}

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
    Route("GET", "/channels/{channel}/stream", stream_channel),
    Route("GET", "/api/admin/overdue", list_overdue),
    Route("POST", "/api/auth/session", sessions.start),
    Route("DELETE", "/api/auth/session", sessions.end),
    Route("GET", "/api/auth/csrf", sessions.csrf_token),
    Route("POST", "", read_any),
    Route("POST", "/read_runs", read_any),
)


@functions_framework.aio.http
async def read_runs(request: Request) -> Response:
    return await ROUTES.answer(request)
