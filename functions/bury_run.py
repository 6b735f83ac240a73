"""Handles a dead letter of Pub/Sub: keeps the message for operators; its run goes on."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web.push import answer_event, read_push


async def _handle(request: Request, services: Services) -> None:
    push = await read_push(request)
    await services.bury(
        run_id=push.run_id_or_none,
        message_id=push.message_id,
        source=push.source,
        data=push.data,
        attributes=push.attributes,
    )


@functions_framework.aio.http
async def bury_run(request: Request) -> Response:
    """Handles one push of the dead-letter subscription."""
    return await answer_event(request, wiring.services, _handle, source="bury_run")
