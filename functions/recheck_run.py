"""Handles a Cloud Tasks request: advances one run, usually by polling its provider job."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import log, wiring
from shared.web.push import answer_event, read_recheck


@functions_framework.aio.http
async def recheck_run(request: Request) -> Response:
    services = wiring.services()

    async def handle() -> None:
        recheck = await read_recheck(request)
        with log.bound(run_id=recheck.run_id):
            await services.advance(recheck.run_id, checks=recheck.checks)

    return await answer_event(request, services, handle, source="recheck_run")
