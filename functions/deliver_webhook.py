"""Handles a Cloud Tasks request: tries one delivery of a webhook."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from shared import wiring
from shared.services import Services
from shared.web.delivery_task import read_delivery_task
from shared.web.push import answer_event


async def _handle(request: Request, services: Services) -> None:
    await services.deliver_webhook(await read_delivery_task(request))


@functions_framework.aio.http
async def deliver_webhook(request: Request) -> Response:
    """Handles one task of the queue of webhooks."""
    return await answer_event(request, wiring.services, _handle, source="deliver_webhook")
