"""Handles a Pub/Sub message: advances one run, usually by sending it to the LLM."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web.push import advance, answer_event, read_push


async def _handle(request: Request, services: Services) -> None:
    push = await read_push(request)
    await advance(services, push.run_id)


@functions_framework.aio.http
async def process_run(request: Request) -> Response:
    """Handles one push of the subscription to new runs."""
    return await answer_event(request, wiring.services, _handle, source="process_run")
