"""Told by Cloud Tasks that it is time: asks the LLM how the run's provider job is doing."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import log, wiring
from shared.web import health
from shared.web.push import answer_event, read_recheck


@functions_framework.aio.http
async def recheck_run(request: Request) -> Response:
    if health.is_check(request):
        return await health.answer(request)
    services = wiring.services()

    async def handle() -> None:
        recheck = await read_recheck(request)
        with log.bound(run_id=recheck.run_id):
            await services.advance(recheck.run_id, checks=recheck.checks)

    return await answer_event(request, services, handle, source="recheck_run")
