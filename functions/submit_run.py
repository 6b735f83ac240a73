"""Accepts runs. Also serves the list of runs, because Firebase Hosting routes by path and not by method.

https://firebase.google.com/docs/hosting/functions
"""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web import auth, parse, render, sse, submissions
from shared.web.routes import Route, Routes
from shared.web.submissions import Form
from shared.web.user_runs import list_user_runs


async def submit_admin_run(request: Request, services: Services) -> Response:
    """Accepts a translation; answers with a stream of its events unless the client asks for JSON."""
    return await _submit(request, services, submissions.ADMIN_RUN, stream_by_default=True)


async def submit_user_run(request: Request, services: Services) -> Response:
    """Accepts a run of an end client; answers with JSON unless the client asks for a stream."""
    return await _submit(request, services, submissions.USER_RUN)


async def submit_job(request: Request, services: Services) -> Response:
    """Accepts an LLM job; always answers with JSON."""
    return await _submit(request, services, submissions.JOB, streamable=False)


async def submit_trainer_analysis(request: Request, services: Services) -> Response:
    """Accepts a job of the type trainer_question_analysis; always answers with JSON."""
    return await _submit(request, services, submissions.TRAINER_ANALYSIS, streamable=False)


async def submit_any(request: Request, services: Services) -> Response:
    """Serves the function's root. gcloud can post there only, so the form follows from the body's fields."""
    return await _submit(request, services, None, streamable=False)


async def _submit(
    request: Request,
    services: Services,
    form: Form | None,
    *,
    streamable: bool = True,
    stream_by_default: bool = False,
) -> Response:
    caller = await auth.caller(request, services, group=form.group if form else None)
    body = await parse.json_object(request, max_input_bytes=services.max_input_bytes)
    form = form or submissions.form_of(body)
    auth.require_group(caller, form.group)
    key = parse.idempotency_key(request, caller, body)
    submission = await parse.off_loop(request, form.parse, body, services.max_input_bytes)
    run, replayed = await services.submit(caller, submission, key=key)
    headers = render.replay_headers(replayed)
    stream_by_default = stream_by_default and services.streams_url is None
    if streamable and parse.wants_stream(request, by_default=stream_by_default):
        headers = {**headers, **render.content_location(run)}
        return sse.stream(services, run, auth.reauthenticate(request, services), headers=headers)
    wait = parse.wait(request)
    if wait is None:
        return render.submitted(run, streams_url=services.streams_url, headers=headers)
    return await submissions.wait_and_answer(services, run, wait, headers)


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
    """Serves all routes of ROUTES."""
    return await ROUTES.answer(request, wiring.services)
