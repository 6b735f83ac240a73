"""Handles a Cloud Tasks request: advances one run, usually by polling its provider job."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web.push import advance, answer_event, read_recheck


async def _handle(request: Request, services: Services) -> None:
    recheck = await read_recheck(request)
    await advance(services, recheck.run_id, checks=recheck.checks)


@functions_framework.aio.http
async def recheck_run(request: Request) -> Response:
    """Handles one re-check task."""
    return await answer_event(request, wiring.services, _handle, source="recheck_run")
