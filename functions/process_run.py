"""Told by Pub/Sub of a run: sends it to the LLM, or does whatever else it wants next."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import log, wiring
from shared.web import health
from shared.web.push import answer_event, read_push


@functions_framework.aio.http
async def process_run(request: Request) -> Response:
    if health.is_check(request):
        return await health.answer(request)
    services = wiring.services()

    async def handle() -> None:
        push = await read_push(request)
        with log.bound(run_id=push.run_id):
            await services.advance(push.run_id)

    return await answer_event(request, services, handle, source="process_run")
