"""Accepts runs: validates, records, publishes. The list of runs is here too: Hosting routes by path, not method."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from functions.read_runs import list_user_runs
from shared import wiring
from shared.web import auth, parse, render, sse, submissions
from shared.web.routes import Route, Routes


async def submit_admin_run(request: Request) -> Response:
    return await _submit(request, submissions.admin_run, stream_by_default=True)


async def submit_user_run(request: Request) -> Response:
    return await _submit(request, submissions.user_run)


async def submit_job(request: Request) -> Response:
    return await _submit(request, submissions.job, streamable=False)


async def submit_trainer_analysis(request: Request) -> Response:
    return await _submit(request, submissions.trainer_analysis, streamable=False)


async def submit_any(request: Request) -> Response:
    """At the function's root, where gcloud posts to."""
    return await _submit(request, submissions.by_fields, streamable=False)


async def _submit(
    request: Request, read: submissions.Parser, *, streamable: bool = True, stream_by_default: bool = False
) -> Response:
    services = wiring.services()
    caller = await auth.caller(request, services)
    max_bytes = services.settings.max_input_bytes
    body = await parse.json_object(request, max_input_bytes=max_bytes)
    key = parse.idempotency_key(request, caller, body)
    submission = read(body, max_bytes)
    auth.require_group(caller, submissions.GROUP_FOR.get(submission.kind))
    run, replayed = await services.submit(caller, submission, key=key)
    if streamable and parse.wants_stream(request, by_default=stream_by_default):
        return sse.stream(
            services, run, auth.reauthenticate(request, services), headers=render.replay_headers(replayed)
        )
    wait = parse.wait(request)
    if wait is None:
        return render.accepted(run, headers=render.replay_headers(replayed))
    run = await services.watch.until_terminal(run, within=wait)
    headers = {**render.replay_headers(replayed), **render.wait_headers(wait)}
    return render.accepted(run, await services.read.input_of(run), headers=headers)


ROUTES = Routes(
    Route("POST", "/llm_user_runs_admin", submit_admin_run),
    Route("POST", "/llm_user_runs", submit_user_run),
    Route("GET", "/llm_user_runs", list_user_runs),
    Route("POST", "/api/llm/jobs/submit", submit_job),
    Route("POST", "/api/llm/trainer-analysis", submit_trainer_analysis),
    Route("POST", "", submit_any),
    Route("POST", "/submit_run", submit_any),
)


@functions_framework.aio.http
async def submit_run(request: Request) -> Response:
    return await ROUTES.answer(request)
