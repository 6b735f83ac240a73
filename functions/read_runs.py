"""Shows runs to their owner: status, result, list, stream; and cancels, for that is asked below a run's own path."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.web import auth, parse, render, sessions, sse
from shared.web.routes import Route, Routes


async def get_user_run(request: Request, run_uuid: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    return render.one(run, render.user_run(run, await services.read.input_of(run)))


async def list_user_runs(request: Request) -> Response:
    services = wiring.services()
    query = parse.user_run_query(request, await auth.caller(request, services))
    page = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    shown = [render.user_run(run, await services.read.input_of(run)) for run in page.runs]
    return render.page(page, query, runs=shown)


async def get_job_status(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run = await services.read.get(caller, parse.run_id(job_id))
    return render.one(run, render.job(run))


async def get_job_result(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    return render.job_result(await services.read.get_finished(caller, parse.run_id(job_id)))


async def list_jobs(request: Request) -> Response:
    services = wiring.services()
    query = parse.job_query(request, await auth.caller(request, services))
    page = await services.read.page(query.wanted, limit=query.limit, offset=query.offset, after=query.after)
    return render.page(page, query, jobs=[render.job(run) for run in page.runs])


async def cancel_job(request: Request, job_id: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run, cancelled = await services.cancel(caller, parse.run_id(job_id))
    return render.one(run, render.whole(run, await services.read.input_of(run)), cancelled=cancelled)


async def stream_run(request: Request, run_uuid: str) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    run = await services.read.get(caller, parse.run_id(run_uuid))
    return sse.stream(services, run, after=parse.starting_after(request))


async def list_overdue(request: Request) -> Response:
    services = wiring.services()
    await auth.caller(request, services, group="admins")
    return render.overdue_list(await services.read.overdue())


ROUTES = Routes(
    Route("GET", "/llm_user_runs/{run_uuid}", get_user_run),
    Route("GET", "/llm_user_runs/{run_uuid}/stream", stream_run),
    Route("GET", "/api/llm/jobs", list_jobs),
    Route("GET", "/api/llm/jobs/{job_id}/status", get_job_status),
    Route("GET", "/api/llm/jobs/{job_id}/result", get_job_result),
    Route("GET", "/api/llm/jobs/{run_uuid}/stream", stream_run),
    Route("POST", "/api/llm/jobs/{job_id}/cancel", cancel_job),
    Route("GET", "/api/admin/overdue", list_overdue),
    Route("POST", "/api/auth/session", sessions.start),
    Route("DELETE", "/api/auth/session", sessions.end),
    Route("GET", "/api/auth/csrf", sessions.csrf_token),
)


@functions_framework.aio.http
async def read_runs(request: Request) -> Response:
    return await ROUTES.answer(request)
